"""Regular expressions for the symbols of ABC notation."""

import re

DECORATIONS = (
    "trill[()]?|(?:lower|upper)?mordent|pralltriller|roll|(?:inverted)?turnx?|arpeggio|accent|"
    "emphasis|(?:inverted)?fermata|tenuto|[0-5+>^]|plus|snap|slide|wedge|upbow|downbow|open|thumb|"
    "breath|p{1,4}|m[pf]|f{1,4}|sfz|(?:crescendo|diminuendo|[<>])[()]|segno|coda|D\\.[SC]\\.|dacoda|"
    "dacapo|fine|(?:short|medium|long)phrase"
)
NOTE = re.compile(r"(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']{0,9})")
LENGTH = re.compile(r"(\d{0,4})(/{0,7})(\d{0,4})(?![\d/])", re.ASCII)
BAR = re.compile(r":*\|[\]|:]*|::+|\[\|")  # a bar line, with dots for repeats
ENDING = re.compile(r"\[?(\d{1,2}(?:[-,]\d{1,2})*)(?!\d)", re.ASCII)
FIELD = re.compile(r"([A-Za-z]):([^%]*)")
FIELDS = "IKLMmNPQRrsTUVWw"  # that may stand between lines of music
NUMBER = re.compile("^X:", re.MULTILINE)
INLINE = re.compile(r"\[([IKLMmNPQRrUV]):([^\]\n]*)\]")
SKIPPED = re.compile(
    rf'"[^"\n]*"|!(?:{DECORATIONS})!|%.*|[ \t\n`)\\~.!uvHLMOPSTy$*]|\((?!\d)', re.ASCII
)
BROKEN = re.compile(r"[<>]{1,3}")
GRACES = re.compile(r"\{/?([^}\n]*)\}")
TUPLET = re.compile(r"\((\d)(?::(\d{0,2}))?(?::(\d{0,2}))?(?![:\d])", re.ASCII)
