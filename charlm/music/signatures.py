"""Key signatures and time signatures of ABC notation."""

import re
from fractions import Fraction

from charlm.music.tune import AbcError, Metre

SHARPS = "FCGDAEB"  # the order in which a key signature takes them; flats in the opposite one
MODES = {  # sharps of the key of C in each mode
    "major": 0, "ionian": 0, "mixolydian": -1, "dorian": -2, "minor": -3, "aeolian": -3,
    "phrygian": -4, "locrian": -5, "lydian": 1,
}  # fmt: skip
BY_LETTERS = {"m": -3} | {mode[:3]: sharps for mode, sharps in MODES.items()}
METRES = {"C": 4, "C|": 2}  # beats; both have a whole note in a bar


def key_signature(text: str, at: int = 0) -> dict[str, int]:
    """Returns the semitones by which a key raises or lowers each letter.

    >>> key_signature("A Dorian")
    {'F': 1}

    Raises:
        AbcError: there is no such key.
    """
    if text in ("", "none", "None"):
        return {}
    words = " ".join(text.split())
    found = re.fullmatch(r"([A-G])([#b]?) ?([A-Za-z]*)((?: [a-z]+(?:=\S*)?)*)", words)
    mode = found[3] if found and found[3] in ("", "m") else found and found[3][:3].lower()
    if not found or (mode or "maj") not in BY_LETTERS or len(found[3]) == 2:
        raise AbcError(at, f"expected a key such as G Major or A Dorian, found {text!r:.40}")
    sharps = SHARPS.index(found[1]) - 1 + BY_LETTERS[mode or "maj"]
    sharps += {"#": 7, "b": -7, "": 0}[found[2]]
    if not -7 <= sharps <= 7:
        raise AbcError(at, f"expected a key of at most 7 sharps or flats, found {text!r:.40}")
    letters = SHARPS[:sharps] if sharps > 0 else SHARPS[::-1][:-sharps]
    return dict.fromkeys(letters, 1 if sharps > 0 else -1)


def usual_key(text: str, at: int = 0) -> dict[str, int]:
    """Returns what `key_signature` does, but refuses a mode that is misspelt, such as Majoo.

    The standard reads only three letters of a mode, so to `key_signature` such a key is right.
    """
    found = re.match(r"[A-G][#b]? ?([A-Za-z]*)", text)
    name = found[1].lower() if found else ""
    if len(name) > 2 and not any(mode.startswith(name) for mode in MODES):
        raise AbcError(at, f"expected a key such as G Major or A Dorian, found {text!r:.40}")
    return key_signature(text, at)


def unit(text: str, at: int = 0) -> Fraction:
    """Reads the value of L:, the unit of note lengths, such as 1/8.

    Raises:
        AbcError: there is no such unit.
    """
    found = re.fullmatch(r"1/(\d{1,3})|1", text, re.ASCII)
    number = int(found[1] or 1) if found else 0
    if not number or number & (number - 1):
        raise AbcError(at, f"expected a unit of lengths such as 1/8, found {text!r:.40}")
    return Fraction(1, number)


def metre(text: str, at: int = 0) -> Metre:
    """Reads the value of M:, such as 6/8, C or none.

    Raises:
        AbcError: there is no such metre.
    """
    if text in METRES:
        return Metre(at, Fraction(1), METRES[text])
    if text.lower() == "none":
        return Metre(at, None)
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text, re.ASCII)
    if not found or 0 in map(int, found.groups()) or int(found[2]) & (int(found[2]) - 1):
        raise AbcError(at, f"expected a metre such as 6/8, C or none, found {text!r:.40}")
    return Metre(at, Fraction(int(found[1]), int(found[2])), int(found[1]))


def unit_of_metre(metre: Metre) -> Fraction:
    """Returns the unit of lengths if no field L: gives one (ABC standard 2.1, section 3.1.7)."""
    short = metre.length is not None and metre.length < Fraction(3, 4)
    return Fraction(1, 16 if short else 8)
