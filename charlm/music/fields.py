"""Leaves out parts of a tune in ABC notation: all but some fields, and ornaments."""

import re
from fractions import Fraction

from charlm.music.notation import DECORATIONS, FIELD, unit_of_metre
from charlm.music.signatures import metre
from charlm.music.tune import AbcError

KNOWN = "ABCDFGHIKLMNOPQRSTVXZ"  # fields of a header
MUSICAL = "KLM"  # fields that change how notes are read
ORNAMENTS = re.compile(
    rf'(\[[KLM]:[^\]\n]*\])|\[[A-Za-z]:[^\]\n]*\]|"[^"\n]*"|!(?:{DECORATIONS})!|\{{[^}}\n]*\}}|%.*|'
    r"[`)\\~.!uvHLMOPSTy$*]|\((?!\d)"
)


def only_fields(tune: str, fields: str) -> str:
    """Returns a tune with some fields of its header and without ornaments.

    Grace notes, decorations, chord symbols, slurs, words and comments are left out; notes and bars
    stay as they are. The field L: is kept where lengths would change without it, and K: always.

    Args:
        tune: the tune.
        fields: letters of fields, such as "MK".
    """
    head, key, music = _parts(tune)
    kept = [line for line in head if line[0] in fields]
    values = {line[0]: line[2:].strip() for line in reversed(head)}
    unit, shown = values.get("L"), values.get("M", "none") if "M" in fields else "none"
    if unit and "L" not in fields and unit != str(_default(shown)):
        kept.append(f"L:{unit}")
    lines = [*kept, key]
    for line in music:
        found = FIELD.match(line)
        if not found:
            lines.append(ORNAMENTS.sub(lambda m: m[1] or "", line))
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
    lines = [line.rstrip() for line in tune.splitlines()]
    key = next((k for k, line in enumerate(lines) if line.startswith("K:")), len(lines))
    head = [found[0] for line in lines[:key] if (found := FIELD.match(line))]
    return head, "".join(lines[key : key + 1]), lines[key + 1 :]


def _default(value: str) -> Fraction:
    """Returns the unit of lengths in a metre if no field L: gives one."""
    try:
        return unit_of_metre(metre(value))
    except AbcError:
        return Fraction(0)
