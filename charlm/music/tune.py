"""The tunes of a file; and a tune that was read: its fields, notes, bar lines and metres."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from charlm.music.symbols import NUMBER


class AbcError(ValueError):
    """The text is not a valid tune in ABC notation.

    Args:
        at: the place of the character in the text.
        reason: what was expected, and what was found.
    """

    def __init__(self, at: int, reason: str):
        super().__init__(reason)
        self.at, self.reason = at, reason


@dataclass(frozen=True)
class Note:
    """A note, a chord or a rest."""

    at: int
    """Its place in the text."""
    pitches: tuple[int, ...]
    """MIDI numbers, 60 for middle C; none for a rest."""
    length: Fraction
    """Part of a whole note."""
    tied: tuple[int, ...] = ()
    """The pitches among them that sound on in the next note."""
    graces: tuple[int, ...] = ()
    """MIDI numbers of the grace notes before it, which take none of the bar's time."""


@dataclass(frozen=True)
class Bar:
    """A bar line, and what follows it directly."""

    at: int
    """Its place in the text."""
    sign: str
    """As written, for example "|", ":|" or "||"."""
    ending: str = ""
    """The numbers of the repeats in which the bars after it are played; "" for all."""


@dataclass(frozen=True)
class Metre:
    """A time signature that begins here."""

    at: int
    length: Fraction | None
    """The length of a bar, as a part of a whole note; None for free metre."""
    beats: int = 4
    """The upper number."""


@dataclass(frozen=True)
class Tune:
    """A tune that was read."""

    fields: dict[str, str]
    """The fields of the header; of several of a kind, the first."""
    events: list[Note | Bar | Metre] = field(default_factory=list)
    """The music, in order; begins with the metre."""


def turns(ending: str) -> frozenset[int]:
    """Returns the repeats, counted from 1, in which an ending is played; none if it is wrong.

    >>> sorted(turns("1,3-4"))
    [1, 3, 4]
    """
    found: set[int] = set()
    for part in ending.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return frozenset()
        found |= {*range(int(first), int(last or first) + 1)}
    return frozenset() if 0 in found else frozenset(found)


def tunes(text: str) -> Iterator[str]:
    """Yields the tunes of a file. Empty lines separate them; other text is left out."""
    return (tune for _, tune in tunes_by_line(text))


def tunes_by_line(text: str) -> Iterator[tuple[int, str]]:
    """Yields the number of the line, from 1, in which a tune begins, and the tune; see `tunes`."""
    lines = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")
    first, tune = 0, list[str]()
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip():
            if tune:
                yield first, "\n".join([*tune, ""])
            tune = []
        elif tune:
            tune.append(line)
        elif NUMBER.match(line):
            first, tune = number, [line]
