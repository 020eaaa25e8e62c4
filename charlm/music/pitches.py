"""Pitches of written notes: the key and the accidentals that hold."""

import copy
import re
from collections.abc import Collection

from charlm.music.tune import AbcError

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}  # semitones above C
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
MIDDLE_C = 60  # the MIDI number of C; c is an octave higher


class Pitches:
    """The accidentals that hold for the next note.

    An accidental holds for its letter in all octaves, until the bar line; with a tie over the bar
    line it holds for the first note of the next bar, too.
    """

    def __init__(self) -> None:
        self.signature: dict[str, int] = {}  # semitones by letter, as all these
        self._bar: dict[str, int] = {}  # accidentals of this bar
        self._tied: dict[str, int] = {}  # those of tied notes, for the first note of the bar
        self._letters: dict[int, str] = {}  # of the last note, by pitch

    def copy(self) -> "Pitches":
        """Returns a copy that changes independently of this one."""
        other = copy.copy(self)
        other._bar, other._tied = {**self._bar}, {**self._tied}
        return other

    def begin_note(self) -> None:
        """Begins a note, a chord or a rest, whose pitches are read next."""
        self._letters = {}

    def end_note(self) -> None:
        """Ends the note: it is no longer the first of its bar that is to come."""
        self._tied = {}

    def end_bar(self, tied: Collection[int]) -> None:
        """Ends the bar; `tied` has the pitches of its last note that sound on."""
        letters = {self._letters[pitch] for pitch in tied}
        self._tied = {letter: n for letter, n in self._bar.items() if letter in letters}
        self._bar = {}

    def read(self, note: re.Match[str]) -> int:
        """Returns the MIDI number of a note, a match of `charlm.music.symbols.NOTE`.

        Raises:
            AbcError: MIDI has no such note.
        """
        letter, octave = note["letter"].upper(), note["octave"]
        if note["accidental"]:
            self._bar[letter] = ACCIDENTALS[note["accidental"]]
        raised = self._bar.get(letter, self._tied.get(letter, self.signature.get(letter, 0)))
        octaves = note["letter"].islower() + octave.count("'") - octave.count(",")
        pitch = MIDDLE_C + STEPS[letter] + raised + 12 * octaves
        self._letters[pitch] = letter
        if not 0 <= pitch < 128:
            raise AbcError(
                note.start(), "expected a note that MIDI has, found one too high or too low"
            )
        return pitch
