"""Reads tunes in ABC notation (https://abcnotation.com/wiki/abc:standard:v2.1).

A tune has a header, one field in a line, and then its music:

    X:1
    T:A short tune
    M:6/8
    L:1/8
    K:D Major
    A|def fed|B2A AFA|d3 d2:|

Reads notes, rests, chords, tuplets, broken rhythm, ties, grace notes, bar lines, repeats and
endings, and fields within the music. Decorations, chord symbols and words are left out. Several
voices and voice overlays are refused.
"""

import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn

from charlm.music import symbols
from charlm.music.pitches import Pitches
from charlm.music.signatures import key_signature, metre, unit, unit_of_metre
from charlm.music.tune import AbcError, Bar, Metre, Note, Tune, turns

LONGEST, SHORTEST = 999, 64  # of a length: the largest number of units, and of parts of a unit
MOST_BARS = 99  # of a rest
TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # notes in the time of how many; 5, 7, 9 by the metre


def read(text: str) -> Tune:
    """Reads a tune.

    Args:
        text: one tune, with its header.

    Raises:
        AbcError: the text is not a valid tune.
    """
    reader = Reader(text)
    reader.read_header()
    reader.read_music()
    reader.end()
    return reader.tune


class Reader:
    """Reads one tune.

    Args:
        text: the tune with its header, or the beginning of one.
    """

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.fields: dict[str, str] = {}
        self.places: dict[str, int] = {}  # of the fields
        self.metre = Metre(0, None)
        self.events: list[Any] = []
        self.unit: Any = None
        self.pitches = Pitches()
        self.blank = False  # whether an empty line has been read
        self.tuplet: list[Fraction] = []  # factors of the next notes
        self.broken = Fraction(1)  # factor of the next note, after > or <
        self.graces: tuple[int, ...] = ()

    @property
    def tune(self) -> Tune:
        """The tune so far."""
        return Tune(self.fields, self.events)

    def read_header(self) -> None:
        """Reads the header.

        Raises:
            AbcError: it is wrong, or there is no key.
        """
        while self.at < len(self.text) and "K" not in self.fields:
            self._header_line()
        if "K" not in self.fields:
            self._fail("expected the field K: (the key) in the header, found none")
        for name, default in (("M", "none"), ("L", ""), ("K", "")):
            self._field(name, self.fields.get(name, default), self.places.get(name, 0))

    def continued(self, text: str) -> "Reader":
        """Returns a reader of a longer text that begins with the text which was read.

        That must end after a bar line.
        """
        other = copy.copy(self)
        other.text, other.events, other.pitches = text, [*self.events], self.pitches.copy()
        return other

    def _fail(self, reason: str, at: int | None = None) -> NoReturn:
        raise AbcError(self.at if at is None else at, reason)

    def _line(self):
        end = self.text.find("\n", self.at)
        return self.text[self.at : end if end >= 0 else len(self.text)]

    def _header_line(self):
        line = self._line()
        found = symbols.FIELD.match(line)
        if found:
            name, value = found[1], found[2].strip()
            if name in "MLK" and name in self.fields:
                self._fail(f"expected one field {name}: in the header, found another")
            self.fields.setdefault(name, value)
            self.places.setdefault(name, self.at)
            if name == "V":
                self._fail("expected a single voice, found the field V:")
        elif not line.startswith("%"):
            self._fail(f"expected a field such as T: or M:, found {line!r:.40}")
        self.at += len(line) + 1

    def _field(self, name, value, at):
        """Changes the key, the metre or the unit of lengths."""
        if name == "K":
            self.pitches.signature = key_signature(value, at)
        elif name == "M":
            self.metre = metre(value, at)
            self.events.append(self.metre)
        elif name == "L":
            self.unit = unit(value, at) if value else unit_of_metre(self.metre)
        elif name == "V":
            self._fail("expected a single voice, found the field V:", at)

    def read_music(self) -> None:
        """Reads the music up to the end of the text.

        Raises:
            AbcError: it is wrong.
        """
        while self.at < len(self.text):
            if self.at == 0 or self.text[self.at - 1] == "\n":
                line = self._line()
                found = symbols.FIELD.match(line)
                if symbols.NUMBER.match(line) and not self.blank:
                    self._fail("expected an empty line before the next tune, found none")
                if found and found[1] in symbols.FIELDS and not self.blank:
                    self._field(found[1], found[2].strip(), self.at)
                    self.at += len(line) + 1
                    continue
                if line.strip() and self.blank:
                    self._fail("expected the end of the tune after an empty line, found more")
                self.blank = self.blank or not line.strip()
            self._symbol()

    def end(self) -> None:
        """Raises AbcError if a tune cannot end here."""
        if self.tuplet:
            self._fail(f"expected {self._missing()} of a tuplet, found the end")
        if self.broken != 1:
            self._fail("expected a note after > or <, found the end")

    def _symbol(self):
        text, at = self.text, self.at
        if found := symbols.INLINE.match(text, at):
            self._field(found[1], found[2].strip(), at)
        elif found := symbols.TUPLET.match(text, at):
            self._begin_tuplet(found)
        elif text[at] == "{":
            found = self._read_graces()
        elif (found := symbols.BAR.match(text, at)) and found[0]:
            self._bar_line(found[0])
            return
        elif (found := symbols.ENDING.match(text, at)) and text[at] == "[":
            self._ending(found[1])
        elif found := symbols.SKIPPED.match(text, at):
            pass
        elif found := symbols.BROKEN.match(text, at):
            self._broken_rhythm(found[0])
        elif text[at] == "-":
            self._tie()
            self.at += 1
            return
        else:
            self._sound()
            return
        self.at = found.end()

    def _bar_line(self, sign):
        at = self.at
        if self.tuplet:
            self._fail(f"expected {self._missing()} of a tuplet, found a bar line")
        if self.broken != 1:
            self._fail("expected a note after > or <, found a bar line")
        self.at += len(sign)
        last = self.events[-1]
        self.pitches.end_bar(last.tied if isinstance(last, Note) else ())
        self.events.append(Bar(at, sign))
        if ending := symbols.ENDING.match(self.text, self.at):
            self._ending(ending[1])
            self.at = ending.end()

    def _ending(self, numbers):
        last = self.events[-1]
        if not isinstance(last, Bar) or last.ending:
            self._fail(f"expected a bar line before the ending {numbers}, found none")
        if not turns(numbers):
            self._fail(f"expected an ending such as 1, 1,3 or 1-3, found {numbers}")
        self.events[-1] = replace(last, ending=numbers)

    def _missing(self):
        n = len(self.tuplet)
        return f"{n} more note{'s' * (n > 1)}"

    def _begin_tuplet(self, found):
        if self.tuplet:
            self._fail("expected the notes of a tuplet, found another tuplet")
        p = int(found[1])
        compound = self.metre.beats % 3 == 0 and self.metre.beats > 3
        q = int(found[2]) if found[2] else TIMES.get(p, 3 if compound else 2)
        r = int(found[3]) if found[3] else p
        if p < 2 or q < 1 or r < 1:
            self._fail(f"expected a tuplet such as (3, found {found[0]!r}")
        self.tuplet = [Fraction(q, p)] * r

    def _read_graces(self):
        found = symbols.GRACES.match(self.text, self.at)
        if not found:
            self._fail("expected } after grace notes, found the end of the line")
        pitches, at = [], found.start(1)
        while at < found.end(1):
            note = symbols.NOTE.match(self.text, at)
            if not note:
                self._fail(f"expected grace notes in {{}}, found {self.text[at]!r}", at)
            pitches.append(self.pitches.read(note))
            length = symbols.LENGTH.match(self.text, note.end())
            at = length.end() if length else note.end()
            while at < found.end(1) and self.text[at] == " ":
                at += 1
        self.graces = tuple(pitches)
        return found

    def _broken_rhythm(self, signs):
        before = self.events[-1] if self.events else None
        if not isinstance(before, Note) or self.broken != 1 or len({*signs}) > 1:
            self._fail(f"expected notes on both sides of {signs}, found none before it")
        short = Fraction(1, 2 ** len(signs))
        mine, other = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        self.events[-1] = replace(before, length=before.length * mine)
        self.broken = other

    def _tie(self):
        last = self.events[-1] if self.events else None
        if not isinstance(last, Note) or not last.pitches:
            self._fail("expected a note before -, found none")
        self.events[-1] = replace(last, tied=last.pitches)

    def _sound(self):
        """Reads a note, a chord or a rest."""
        at, text, tied = self.at, self.text, ()
        self.pitches.begin_note()
        if text[at] == "[":
            pitches, tied, factor = self._chord()
        elif text[at] in "zx":
            pitches, factor = (), None
            self.at += 1
        elif text[at] == "Z":
            return self._rests_of_bars()
        elif note := symbols.NOTE.match(text, at):
            pitches, factor = (self.pitches.read(note),), None
            self.at = note.end()
        else:
            self._fail(f"expected a note, a rest or a bar line, found {text[at]!r}")
        length = self._length() * self.unit
        for other in (factor, self.tuplet.pop() if self.tuplet else None, self.broken):
            if other not in (None, 1):
                length *= other
        self.broken = Fraction(1)
        self.events.append(Note(at, pitches, length, tied, self.graces))
        self.graces = ()
        self.pitches.end_note()

    def _rests_of_bars(self):
        at, whole = self.at, self.metre.length
        self.at += 1
        if whole is None:
            self._fail("expected a metre for Z, a rest of whole bars, found none", at)
        if self.tuplet or self.broken != 1:
            self._fail("expected a note, found Z, a rest of whole bars", at)
        count = self._length()
        if count.denominator != 1 or count > MOST_BARS:
            self._fail(f"expected a number of bars up to {MOST_BARS} after Z, found {count}", at)
        for k in range(int(count)):
            self.events += [Bar(at, "|")] * (k > 0) + [Note(at, (), whole)]

    def _chord(self):
        begin, pitches, tied, factor = self.at, [], [], None
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != "]":
            note = symbols.NOTE.match(self.text, self.at)
            if not note:
                self._fail(f"expected notes in [], found {self.text[self.at]!r}")
            pitches.append(self.pitches.read(note))
            self.at = note.end()
            length = self._length()
            factor = factor or length  # a chord is as long as its first note
            if self.text[self.at : self.at + 1] == "-":
                tied.append(pitches[-1])
                self.at += 1
        if self.at == len(self.text) or not pitches:
            self._fail("expected notes and ] after [, found none", begin)
        self.at += 1
        return tuple(pitches), tuple(tied), factor

    def _length(self):
        found = symbols.LENGTH.match(self.text, self.at)
        number, slashes, below = found.groups() if found else ("", "", "x")
        top, bottom = int(number or 1), int(below) if below.isdigit() else 2 ** len(slashes)
        wrong = below and len(slashes) != 1
        if wrong or not 0 < top <= LONGEST or not 0 < bottom <= SHORTEST:
            self._fail(
                f"expected a length from 1/{SHORTEST} to {LONGEST}, such as 2, 3/2 or /, found "
                f"{self.text[self.at : self.at + 8]!r}"
            )
        self.at += len(number + slashes + below)
        return Fraction(top, bottom)
