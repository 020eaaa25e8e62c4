"""Rules for `charlm.generation.rules`: balanced brackets, JSON, JSON Lines, lines that parse."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

CLOSING = {"(": ")", "[": "]", "{": "}"}
BLANK = " \t\n\r"
LITERALS = {"t": "rue", "f": "alse", "n": "ull"}
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
NUMBER_BEGINS = re.compile(
    r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|(?:0|[1-9]\d*)(?:\.\d+)?[eE][+-]?\d*)?", re.ASCII
)


class Balanced:
    """Every ), ] and } closes the last bracket that is open, and none is open at the end.

    The state is the brackets that are open, a text.
    """

    def begin(self) -> str:
        """See `Rule`."""
        return ""

    def read(self, state: str, character: str) -> str | None:
        """See `Rule`."""
        if character in CLOSING:
            return state + character
        if character not in CLOSING.values():
            return state
        return state[:-1] if state and CLOSING[state[-1]] == character else None

    def unfinished(self, state: str) -> int:
        """See `Rule`: only the wrong character is drawn again."""
        return 0

    def missing(self, state: str) -> int:
        """See `Rule`."""
        return len(state)

    def is_finished(self, state: str) -> bool:
        """See `Rule`."""
        return False

    def place(self, state: str) -> str:
        """See `Rule`."""
        return f"the brackets {state!r}"


class JsonState(NamedTuple):
    """The state of `Json`."""

    inside: str = ""
    """The { and [ that are open."""
    expected: str = "value"
    """The name of a method of `Json` without its underscore: the part that is read."""
    done: str = ""
    """The part of a string's escape, a number or a literal that was read."""
    is_key: bool = False
    """Whether a string is the name of a member."""


class Json:
    """One JSON value (RFC 8259), for example an object or an array."""

    def begin(self) -> JsonState:
        """See `Rule`."""
        return JsonState()

    def read(self, state: JsonState, character: str) -> JsonState | None:
        """See `Rule`."""
        if state.expected == "string":
            return self._string(state, character)
        if state.expected == "number" and NUMBER_BEGINS.fullmatch(state.done + character):
            return state._replace(done=state.done + character)
        if state.expected == "number":
            if not NUMBER.fullmatch(state.done):
                return None
            state = JsonState(state.inside, "end")
        if state.expected == "literal":
            return self._literal(state, character)
        if character in BLANK:
            return state
        return getattr(self, f"_{state.expected}")(state, character)

    def unfinished(self, state: JsonState) -> int:
        """See `Rule`: only the wrong character is drawn again."""
        return 0

    def missing(self, state: JsonState) -> int:
        """See `Rule`."""
        rest = {"value": 1, "item": 0, "member": 0, "key": 4, "colon": 2, "end": 0}
        if state.expected == "string":
            escape = {0: 0, 1: 1}.get(len(state.done), 6 - len(state.done))
            return len(state.inside) + escape + (3 if state.is_key else 1)
        if state.expected == "number":
            return len(state.inside) + (not NUMBER.fullmatch(state.done))
        if state.expected == "literal":
            return len(state.inside) + len(state.done)
        return len(state.inside) + rest[state.expected]

    def is_finished(self, state: JsonState) -> bool:
        """See `Rule`."""
        return state.expected == "end" and not state.inside

    def place(self, state: JsonState) -> str:
        """See `Rule`."""
        return f"{state.expected!r} within {state.inside!r}"

    def _string(self, state, character):
        if state.done:
            return self._escape(state, character)
        if character == "\\":
            return state._replace(done=character)
        if character == '"':
            return JsonState(state.inside, "colon" if state.is_key else "end")
        return state if character >= " " else None

    def _escape(self, state, character):
        if len(state.done) == 1:
            if character in '"\\/bfnrt':
                return state._replace(done="")
            return state._replace(done="\\u") if character == "u" else None
        if character not in "0123456789abcdefABCDEF":
            return None
        done = state.done + character
        return state._replace(done=done if len(done) < 6 else "")

    def _literal(self, state, character):
        """Reads a character of true, false or null; `done` is the rest of it."""
        if character != state.done[0]:
            return None
        rest = state.done[1:]
        return state._replace(done=rest) if rest else JsonState(state.inside, "end")

    def _value(self, state, character):
        if character == "{":
            return JsonState(state.inside + character, "member")
        if character == "[":
            return JsonState(state.inside + character, "item")
        if character == '"':
            return JsonState(state.inside, "string")
        if character in "-0123456789":
            return JsonState(state.inside, "number", character)
        if character in LITERALS:
            return JsonState(state.inside, "literal", LITERALS[character])
        return None

    def _item(self, state, character):
        """Reads the first value of an array, or its end."""
        return self._end(state, "]") if character == "]" else self._value(state, character)

    def _member(self, state, character):
        """Reads the first name in an object, or its end."""
        return self._end(state, "}") if character == "}" else self._key(state, character)

    def _key(self, state, character):
        return JsonState(state.inside, "string", is_key=True) if character == '"' else None

    def _colon(self, state, character):
        return JsonState(state.inside) if character == ":" else None

    def _end(self, state, character):
        """Reads what follows a value."""
        if state.inside and character == CLOSING[state.inside[-1]]:
            return JsonState(state.inside[:-1], "end")
        if state.inside and character == ",":
            return JsonState(state.inside, "key" if state.inside[-1] == "{" else "value")
        return None


class JsonLines(Json):
    """Lines that are each a JSON value, or empty (https://jsonlines.org)."""

    def read(self, state: JsonState, character: str) -> JsonState | None:
        """See `Rule`."""
        if character != "\n":
            return super().read(state, character)
        return JsonState() if self.missing(state) == 0 else None

    def missing(self, state: JsonState) -> int:
        """See `Rule`."""
        return 0 if state == JsonState() else super().missing(state)

    def is_finished(self, state: JsonState) -> bool:
        """See `Rule`."""
        return False


@dataclass(frozen=True)
class LinesState:
    """The state of `Lines`."""

    line: str = ""
    """The line that is read, so far."""
    number: int = 1
    """Its number."""


class Lines:
    """Lines that each parse, or are empty; a line that does not is drawn again.

    Args:
        parses: returns whether a line, without its end, is right.
    """

    def __init__(self, parses: Callable[[str], bool]):
        self.parses = parses

    def begin(self) -> LinesState:
        """See `Rule`."""
        return LinesState()

    def read(self, state: LinesState, character: str) -> LinesState | None:
        """See `Rule`."""
        if character != "\n":
            return replace(state, line=state.line + character)
        if state.line and not self.parses(state.line):
            return None
        return LinesState("", state.number + 1)

    def unfinished(self, state: LinesState) -> int:
        """See `Rule`."""
        return len(state.line)

    def missing(self, state: LinesState) -> int:
        """See `Rule`: the end of the line."""
        return bool(state.line)

    def is_finished(self, state: LinesState) -> bool:
        """See `Rule`."""
        return False

    def place(self, state: LinesState) -> str:
        """See `Rule`."""
        return f"line {state.number}"
