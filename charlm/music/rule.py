"""The rule of tunes in ABC notation: a bar that is wrong is drawn again from its beginning.

It is a `charlm.generation.rules.Rule`. A bar is read when the character after its bar line comes.
Then it has to parse and to have the length of the metre, but for an upbeat and for a part's last
bar, which completes the upbeat. Repeats close, and ties join equal notes. The tune ends with an
empty line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from charlm.music.bars import (
    broken_ties,
    check,
    completes_upbeat,
    endings_are_complete,
    measures,
    missing_endings,
    signs_are_usual,
    unclosed_repeats,
    uneven_bars,
)
from charlm.music.fields import KNOWN
from charlm.music.notation import Reader
from charlm.music.signatures import metre, unit, usual_key
from charlm.music.symbols import FIELDS
from charlm.music.tune import AbcError, Bar

END = "\n\n"  # of a tune
HEADER = "the header"  # the place of an error
ONCE = "MLK"  # fields that a header has once
AFTER_BAR_LINE = re.compile(r"(?::*\|[\]|:]*|::+|\[\|)(?:\d[\d,-]*)?(?: |!?\n)*\Z")
APART = re.compile(  # a | in them is no bar line
    rf'^[{FIELDS}]:[^\n]*\n|"[^"\n]*"|\[[A-Za-z]:[^\]\n]*\]|%[^\n]*\n', re.MULTILINE
)
MAY_BEGIN_ENDING = " !\n|["  # after :|, before the 2 of a second ending
BEGINS_APART = re.compile(r'["%]|\[[A-Za-z]:')
LONGEST_BAR, LONGEST_FIELD = 100, 200  # characters
READ = {"K": usual_key, "L": unit, "M": metre}  # fields whose values must be right


@dataclass(frozen=True)
class TuneState:
    """The state of `TuneRule`."""

    text: str = ""
    """The tune so far."""
    settled: int = 0
    """The place up to which it is right and is not drawn again."""
    bar: int = 0
    """The number of the bar that is read, from 1; 0 in the header."""
    fields: frozenset[str] = frozenset()
    """The fields of the header that were read."""
    reader: Reader | None = None
    """The reader of the tune up to there."""
    finished: bool = False


@dataclass(frozen=True)
class TuneRule:
    """The rule of a tune, from its first field to the empty line after it."""

    given: Mapping[str, str] = field(default_factory=dict)
    """Values of fields that the header must have."""
    required: str = "K"
    """Fields that the header must have, with any value."""
    allowed: str = KNOWN
    """Fields that the header may have."""
    bars: bool = True
    """Whether bars are read; else the music may be anything."""

    def begin(self) -> TuneState:
        """See `Rule`."""
        return TuneState()

    def read(self, state: TuneState, character: str) -> TuneState | None:
        """See `Rule`."""
        text = state.text + character
        if state.bar == 0:
            return self._header(state, text)
        if not self.bars:
            return replace(_settled(state, text), finished=text.endswith(END))
        if text.endswith(END):
            right = check(text, "".join({*self.given, *self.required})).strict
            return replace(state, text=text, finished=True) if right else None
        if _ends_bar(state) and not _continues(state.text, character):
            reader = _read_on(state)
            if reader is None or not _is_right(reader.tune):
                return None
            if character not in MAY_BEGIN_ENDING and any(missing_endings(reader.tune)):
                return None
            if isinstance(reader.events[-1], Bar):  # and not a chord
                bar = len(measures(reader.tune)) + 1
                settled = len(state.text)
                return replace(state, text=text, settled=settled, bar=bar, reader=reader)
        return None if self.unfinished(state) >= LONGEST_BAR else replace(state, text=text)

    def unfinished(self, state: TuneState) -> int:
        """See `Rule`."""
        return len(state.text) - state.settled

    def missing(self, state: TuneState) -> int:
        """See `Rule`."""
        return 0 if state.finished else 1

    def is_finished(self, state: TuneState) -> bool:
        """See `Rule`."""
        return state.finished

    def place(self, state: TuneState) -> str:
        """See `Rule`."""
        return f"bar {state.bar}" if state.bar else HEADER

    def _header(self, state, text):
        """Reads a character of the header."""
        *_, line = text.removesuffix("\n").split("\n")
        name, value = line[:1], line[2:]
        whole = text.endswith("\n")
        if (
            not line
            or name not in self.allowed
            or line[1:2] not in ((":",) if whole else ("", ":"))
        ):
            return None
        if len(line) > LONGEST_FIELD:
            return None
        given = self.given.get(name)
        if line == name and not whole:
            missing = {*self.given, *self.required} - state.fields - {"K"}
            again = name in state.fields and (name in ONCE or name in self.given)
            return None if again or (name == "K" and missing) else _settled(state, text)
        if given is not None and not (value == given if whole else given.startswith(value)):
            return None
        if not whole:
            return _settled(state, text) if given is not None else replace(state, text=text)
        if not _is_valid(name, value.strip()):
            return None
        state = replace(_settled(state, text), fields=state.fields | {name})
        if name != "K":
            return state
        reader = Reader(text)
        try:
            reader.read_header()
        except AbcError:
            return None
        return replace(state, bar=1, reader=reader)


def _settled(state, text):
    return replace(state, text=text, settled=len(text))


def _is_valid(name, value):
    try:
        if name in READ:
            READ[name](value)
    except AbcError:
        return False
    return True


def _ends_bar(state):
    """Returns whether a text may end with a bar line, and not within a field, a quote or so."""
    text = state.text
    if not AFTER_BAR_LINE.search(text, state.settled):
        return False
    line = text[text.rfind("\n") + 1 :]
    is_field = line[1:2] == ":" and line[0] in FIELDS
    return not is_field and not BEGINS_APART.search(APART.sub("", text[state.settled :]))


def _continues(text, character):
    """Returns whether a character may belong to the bar line, or the ending, at a text's end."""
    if character in "|:]":
        return not text.endswith(" ")
    if character == "0":
        return text[-1].isdigit()
    return character in "123456789,-" and text[-1] in "|0123456789,-"


def _read_on(state):
    """Returns a reader of the text, or None if the text is wrong."""
    reader = state.reader.continued(state.text)
    try:
        reader.read_music()
    except AbcError:
        return None
    return reader


def _is_right(tune):
    """Returns whether all bars of a tune are right, if more will follow."""
    if not isinstance(tune.events[-1], Bar):
        return True
    problems = [*unclosed_repeats(tune, more=True), *broken_ties(tune, more=True)]
    bars = measures(tune)
    if bars:  # and not only a bar line before the first note
        problems += uneven_bars(tune, more=True)
    if problems or not signs_are_usual(tune) or not endings_are_complete(tune):
        return False
    return not bars or completes_upbeat(bars)
