"""Plays a tune: repeats and endings in the order in which they sound, ties joined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from charlm.music.bars import Measure, close, measures
from charlm.music.tune import AbcError, Note, Tune, turns

MOST = 100_000  # bars as they are played
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

    A repeat without a beginning goes back to the last double bar or end of a repeat, or to the
    beginning of the tune (ABC standard 2.1, section 4.8).

    Raises:
        AbcError: there are too many.
    """
    numbers = [*(turns(bar.ending) for bar in bars), frozenset()]
    found: list[Measure] = []
    k, start, turn, in_ending = 0, 0, 1, False
    most = 2  # how often the repeat is played
    while k < len(bars):
        bar = bars[k]
        begins = bar.begins_part and not (in_ending and turn < most)
        if k > start and begins and not bar.ending:
            start, turn, most, in_ending = k, 1, 2, False
        most = max([most, *numbers[k], *numbers[k + 1]])
        if bar.ending:
            if turn not in numbers[k]:
                k = _other_ending(bars, numbers, k, turn)
                continue
            in_ending = True
        found.append(bar)
        if len(found) > MOST:
            raise AbcError(bar.at, f"expected at most {MOST:,} bars with all repeats, found more")
        if close(bar.after) and turn < most:
            k, turn, in_ending = start, turn + 1, False
        else:
            k += 1
    return found


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
        if pitch in note.tied:
            sounding[pitch] = k
    tied.clear()
    tied.update(sounding)
    return end


def _other_ending(bars, numbers, k, turn):
    """Returns the next bar with the ending of a turn, or the bar after all endings."""
    for i in range(k + 1, len(bars)):
        if turn in numbers[i]:
            return i
        if not bars[i].ending and close(bars[i].before):
            return i
    return len(bars)
