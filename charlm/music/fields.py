"""Leaves out parts of a tune in ABC notation: all but some fields, and ornaments."""

import re

from charlm.music.signatures import metre as metre_of
from charlm.music.signatures import unit_of_metre
from charlm.music.symbols import DECORATIONS, FIELD, FIELDS
from charlm.music.tune import AbcError

KNOWN = "ABCDFGHIKLMNOPQRSTXZ"  # fields of a header
MUSICAL = "KLM"  # fields that change how notes are read
ORNAMENTS = re.compile(  # grace notes with accidentals stay, because these hold for the bar
    rf'(\[[KLM]:[^\]\n]*\]|!(?!(?:{DECORATIONS})!)[^!\n]+!)|(?:\[(?![KLM]:)[A-Za-z]:[^\]\n]*\]|"[^"\n]*"|!(?:{DECORATIONS})!|'
    r"\{[^}\n^_=]*\}|%.*|y\d*|[`)\\~.!uvHLMOPST$*]|\((?!\d))+"
)
NEEDS_METRE = re.compile(r"Z|\([579](?!:\d)")  # rests of whole bars, and tuplets of so many notes
BAR_SIGNS = "|:[]"


def only_fields(tune: str, fields: str) -> str:
    """Returns a tune with some fields of its header and without ornaments.

    Grace notes, decorations, chord symbols, slurs, words and comments are left out; notes and bars
    stay as they are. The field K: is always kept, and L: and M: where lengths would change without
    them.

    Args:
        tune: the tune.
        fields: letters of fields, such as "MK".
    """
    head, key, music = _parts(tune)
    values = {line[0]: line[2:].strip() for line in reversed(head)}
    chosen = {*fields, *("M" if any(map(NEEDS_METRE.search, music)) else "")}
    kept = [line for line in head if line[0] in chosen]
    metre, shown = values.get("M", "none"), values.get("M", "none") if "M" in chosen else "none"
    unit = values.get("L") or _default(metre)
    if "L" not in chosen and unit != _default(shown):
        kept.append(f"L:{unit}")
    lines = [*kept, key]
    for line in music:
        found = FIELD.match(line)
        if not found or found[1] not in FIELDS:
            lines.append(ORNAMENTS.sub(_apart, line))
        elif found[1] in MUSICAL:
            lines.append(found[0])
    return "\n".join(line for line in map(str.strip, lines) if line) + "\n"


def header(tune: str) -> dict[str, str]:
    """Returns the fields of a tune's header; of several of a kind, the first."""
    head, key, _ = _parts(tune)
    return {line[0]: line[2:].strip() for line in reversed([*head, key]) if line}


def numbered(tune: str, number: int, title: str) -> str:
    """Returns a tune with this number, X:, and with a title, T:, if it has none.

    Other programs need both.
    """
    head, key, music = _parts(tune)
    head = [line for line in head if line[0] != "X"]
    if not any(line[0] == "T" for line in head):
        head.insert(0, f"T:{title}")
    return "\n".join([f"X:{number}", *head, key, *music]).rstrip() + "\n"


def _parts(tune):
    """Returns the header's lines but the last, the last, which is K:, and the lines of music."""
    lines = [line.rstrip() for line in tune.split("\n")]
    key = next((k for k, line in enumerate(lines) if line.startswith("K:")), len(lines))
    head = [found[0] for line in lines[:key] if (found := FIELD.match(line))]
    found = FIELD.match("".join(lines[key : key + 1]))
    return head, found[0].rstrip() if found else "", lines[key + 1 :]


def _apart(found):
    """Returns what takes the place of ornaments: a blank between bar lines, which it divides."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return found[1] or (" " if before and after and {before, after} <= {*BAR_SIGNS} else "")


def _default(value: str) -> str:
    """Returns the unit of lengths in a metre if no field L: gives one."""
    try:
        return str(unit_of_metre(metre_of(value)))
    except AbcError:
        return ""
