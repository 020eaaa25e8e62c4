"""Plays a tune: repeats and endings in the order in which they sound, ties joined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from charlm.music.bars import Measure, measures
from charlm.music.notation import Note, Tune

GRACE = Fraction(1, 32)  # of a whole note, at most half of the note that it takes its time from


@dataclass(frozen=True)
class Sound:
    """A note that sounds."""

    pitch: int
    """MIDI number."""
    start: Fraction
    """Time from the beginning, in whole notes."""
    length: Fraction
    """In whole notes."""
    at: int
    """The place in the text of the note, chord or grace note that it comes from."""


def order(bars: Sequence[Measure]) -> list[Measure]:
    """Returns bars in the order in which they are played.

    A repeat without a beginning goes back to the end of the repeat before it, or to the beginning.
    """
    found: list[Measure] = []
    k, start, turn, in_ending = 0, 0, 1, False
    while k < len(bars):
        bar = bars[k]
        if k > start and not bar.ending and (_begins(bar) or (in_ending and bar.begins_part)):
            start, turn, in_ending = k, 1, False
        if bar.ending and turn not in _turns(bar.ending):
            k = _other_ending(bars, k, turn)
            continue
        in_ending = in_ending or bool(bar.ending)
        found.append(bar)
        if bar.after.startswith(":") and turn < _last_turn(bars, start, k):
            k, turn, in_ending = start, turn + 1, False
        else:
            k += 1
    return found


def _begins(bar):
    """Whether a repeat that ends later may begin with a bar."""
    return ":" in bar.before


def sounds(tune: Tune) -> list[Sound]:
    """Returns the notes of a tune as they are played, by start and pitch."""
    found: list[Sound] = []
    time = Fraction(0)
    tied: dict[int, int] = {}  # places in `found` of notes that sound on, by pitch
    for bar in order(measures(tune)):
        for note in bar.notes:
            time = _play(note, time, tied, found)
    return sorted(found, key=lambda s: (s.start, s.pitch))


def _play(note: Note, time: Fraction, tied: dict[int, int], found: list[Sound]) -> Fraction:
    """Adds a note's sounds; returns the time when it ends."""
    begin, end = time, time + note.length
    if note.graces:
        each = min(GRACE, note.length / 2 / len(note.graces))
        for pitch in note.graces:
            found.append(Sound(pitch, begin, each, note.at))
            begin += each
    sounding = {}
    for pitch in sorted({*note.pitches}):
        if pitch in tied:
            k = tied[pitch]
            found[k] = replace(found[k], length=end - found[k].start)
        else:
            k = len(found)
            found.append(Sound(pitch, begin, end - begin, note.at))
        if note.tied:
            sounding[pitch] = k
    tied.clear()
    tied.update(sounding)
    return end


def _turns(ending):
    """Returns the turns in which an ending such as "1", "1,3" or "1-3" is played."""
    found: set[int] = set()
    for part in ending.split(","):
        first, _, last = part.partition("-")
        found |= {*range(int(first), min(int(last or first), 99) + 1)}
    return found


def _other_ending(bars, k, turn):
    """Returns the next bar with the ending of a turn, or the bar after all endings."""
    for i in range(k + 1, len(bars)):
        if bars[i].ending and turn in _turns(bars[i].ending):
            return i
        if not bars[i].ending and bars[i].begins_part:
            return i
    return len(bars)


def _last_turn(bars, start, k):
    """Returns how often the repeat that bar k ends is played."""
    endings = [bar.ending for bar in bars[start : k + 2] if bar.ending]
    return max([2, *(max(_turns(ending)) for ending in endings)])
