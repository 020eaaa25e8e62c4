"""Checks whether the bars of a tune add up to its metre.

A part may begin with an upbeat (pickup), and then its last bar is shorter by the same amount. Parts
begin and end at repeats, endings, double bars and the ends of the tune:

    A|def fed|B2A AFA|d3 d2:|     an upbeat of one eighth, and a last bar of five
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from charlm.music.notation import read
from charlm.music.tune import AbcError, Bar, Metre, Note, Tune, turns

SIGNS = {"|", "||", "|]", "[|", "|:", "||:", "[|:", ":|", ":||", ":|]", "::", ":|:", ":||:"}
REQUIRED = "XTK"  # fields that a tune must have


@dataclass(frozen=True)
class Problem:
    """A problem found in a text."""

    at: int
    """Its place in the text."""
    reason: str
    """The reason: a text "expected ..., found ..."."""

    def shown(self, text: str, first: int = 1) -> str:
        """Returns "line:column: reason", both counted from 1.

        Args:
            text: the text.
            first: the number of its first line.
        """
        before = text[: self.at]
        line, column = before.count("\n") + first, self.at - before.rfind("\n")
        return f"{line}:{column}: {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """Results of `check`."""

    parses: bool
    """Whether it can be read."""
    adds_up: bool
    """Whether it has bars, and each has the length of the metre; see the module."""
    strict: bool
    """Whether also its fields are there, repeats close, ties join equal notes, and it ends with a
    bar line."""
    problems: tuple[Problem, ...] = ()


@dataclass
class Measure:
    """The notes between two bar lines."""

    at: int
    """The place of its first note in the text."""
    length: Fraction
    whole: Fraction | None
    """The length that it should have; None for free metre."""
    before: tuple[str, ...]
    """The bar lines before it; none at the beginning of the tune."""
    after: tuple[str, ...] = ()
    """The bar lines after it; none at the end."""
    ending: str = ""
    """The ending that begins with it; "" for none."""
    next_ending: str = ""
    """The ending that begins after it."""
    number: int = 0
    """Counted from 1."""
    notes: list[Note] = field(default_factory=list)
    """Its notes and rests."""

    @property
    def begins_part(self) -> bool:
        """Whether a part, or an ending, begins here."""
        return not self.before or divide(self.before) or bool(self.ending)

    @property
    def ends_part(self) -> bool:
        """Whether a part ends here, or its next ending begins."""
        return not self.after or divide(self.after) or bool(self.next_ending)


def divide(signs: Iterable[str]) -> bool:
    """Returns whether bar lines divide parts."""
    return any(set(sign) & set(":][") or "||" in sign for sign in signs)


def close(signs: Iterable[str]) -> bool:
    """Returns whether bar lines end a repeat."""
    return any(sign.startswith(":") for sign in signs)


def open_(signs: Iterable[str]) -> bool:
    """Returns whether bar lines begin a repeat."""
    return any(sign.endswith(":") for sign in signs)


def check(text: str, required: str = REQUIRED) -> Verdict:
    """Returns what is right about a tune in ABC notation.

    Args:
        text: the tune.
        required: fields that a strict tune must have.
    """
    try:
        tune = read(text)
    except AbcError as error:
        return Verdict(False, False, False, (Problem(error.at, error.reason),))
    uneven = [*uneven_bars(tune)]
    others = [*_formal(tune, required)]
    found = tuple(sorted([*uneven, *others], key=lambda p: p.at))
    return Verdict(True, not uneven, not found, found)


def measures(tune: Tune) -> list[Measure]:
    """Returns the bars of a tune that have notes, in order."""
    found: list[Measure] = []
    current, whole, ending = None, None, ""
    signs: tuple[str, ...] = ()
    for event in tune.events:
        if isinstance(event, Metre):
            whole = event.length  # a change within a bar counts from the next one on
        elif isinstance(event, Bar):
            if current is not None:
                found.append(current)
                current, signs, ending = None, (), ""
            signs, ending = (*signs, event.sign), event.ending or ending
            if found:
                found[-1].after, found[-1].next_ending = signs, ending
        elif current is None:
            number = len(found) + 1
            current = Measure(
                event.at, event.length, whole, signs, ending=ending, number=number, notes=[event]
            )
        else:
            current.length += event.length
            current.notes.append(event)
    return [*found, current] if current is not None else found


def uneven_bars(tune: Tune, more: bool = False) -> list[Problem]:
    """Returns the bars that are too short or too long.

    A short bar is right at the beginning of a part (an upbeat), at the end of a part if it lacks
    the upbeat of this part or of the next, and on both sides of an ending such as [1 if the two
    together are a bar.

    Args:
        tune: the tune.
        more: whether music follows that was not read.
    """
    bars = measures(tune)
    if not bars:
        return [Problem(0, "expected music after the header, found none")]
    found, upbeat, split, inside = [], Fraction(0), Fraction(0), False
    for bar, following in itertools.zip_longest(bars, bars[1:]):
        lacking = Fraction(0) if bar.whole is None else bar.whole - bar.length
        completed = {upbeat, following.length} if following else {upbeat}
        is_last = bar.ends_part or (following is None and not more)
        ends = is_last and lacking in completed
        continues = bar.ending and bar.length == split
        begins = bar.begins_part and not is_last and not bar.ending
        if lacking and not (lacking > 0 and (ends or continues or begins)):
            found.append(
                Problem(
                    bar.at,
                    f"expected a bar of {bar.whole} of a whole note, found {bar.length} in bar "
                    f"{bar.number}",
                )
            )
        if bar.begins_part and not bar.ending:
            upbeat = bar.length if lacking else Fraction(0)
            split = Fraction(0)
        inside = bool(bar.ending) or (inside and not bar.begins_part)
        if bar.next_ending and not inside:  # what the bar before the endings lacks
            split = lacking
    return found


def completes_upbeat(bars: Sequence[Measure]) -> bool:
    """Returns whether the last of these bars, if a repeat ends with it, completes its upbeat."""
    last = bars[-1]
    start = next((b for b in reversed(bars) if b.begins_part and not b.ending), bars[0])
    if last is start or last.whole is None or start.whole is None or not close(last.after):
        return True
    upbeat = start.length if start.length < start.whole else 0
    return last.whole - last.length == upbeat


def signs_are_usual(tune: Tune) -> bool:
    """Returns whether bar lines are written as usual, and notes follow the number of an ending."""
    events = [e for e in tune.events if not isinstance(e, Metre)]
    for event, after in itertools.zip_longest(events, events[1:]):
        if isinstance(event, Bar) and event.sign not in SIGNS:
            return False
        if isinstance(event, Bar) and event.ending and isinstance(after, Bar):
            return False
    return True


def endings_are_complete(tune: Tune) -> bool:
    """Returns whether each first ending that has ended does so with :|, before another begins."""
    first = False  # whether a first ending is open
    for event in tune.events:
        if not isinstance(event, Bar):
            continue
        if first and divide([event.sign]):
            if not close([event.sign]):
                return False
            first = False
        if first and event.ending:
            return False
        first = first or 1 in turns(event.ending)
    return True


def _formal(tune: Tune, required: str) -> Iterator[Problem]:
    """Yields problems of other kinds."""
    for name in required:
        if name not in tune.fields:
            yield Problem(0, f"expected the field {name}: in the header, found none")
    sounds = [e for e in tune.events if not isinstance(e, Metre)]
    if sounds and not isinstance(sounds[-1], Bar):
        yield Problem(sounds[-1].at, "expected a bar line at the end, found a note")
    yield from unclosed_repeats(tune)
    yield from missing_endings(tune)
    yield from broken_ties(tune)


def unclosed_repeats(tune: Tune, more: bool = False) -> Iterator[Problem]:
    """Yields repeats that begin and do not end. Args: see `uneven_bars`."""
    opened = None
    for event in tune.events:
        if isinstance(event, Bar):
            if close([event.sign]):
                opened = None
            if open_([event.sign]):
                if opened is not None:
                    yield Problem(event.at, "expected :| before |:, found a repeat that is open")
                opened = event
    if opened is not None and not more:
        yield Problem(opened.at, "expected a repeat that closes with :|, found none")


def missing_endings(tune: Tune, more: bool = False) -> Iterator[Problem]:
    """Yields first endings, of a repeat that has closed, after which no other ending begins.

    Args: see `uneven_bars`.
    """
    first, closed = None, None  # a first ending that is open, and one whose repeat has closed
    for event in tune.events:
        if isinstance(event, Note) and closed:
            yield Problem(closed.at, "expected a second ending after the first, found none")
            closed = None
        if not isinstance(event, Bar):
            continue
        if event.ending:
            closed = None
        if first and divide([event.sign]):
            closed = first if close([event.sign]) and not event.ending else None
            first = None
        if 1 in turns(event.ending):
            first = event
    if closed and not more:
        yield Problem(closed.at, "expected a second ending after the first, found none")


def broken_ties(tune: Tune, more: bool = False) -> Iterator[Problem]:
    """Yields ties that join different notes. Args: see `uneven_bars`."""
    notes = [e for e in tune.events if isinstance(e, Note)]
    for a, b in itertools.pairwise(notes):
        if not {*a.tied} <= {*b.pitches}:
            yield Problem(a.at, "expected the tied note again, found another note")
    if notes and notes[-1].tied and not more:
        yield Problem(notes[-1].at, "expected a note after the tie, found the end")
