"""Checks the written form of texts: the share of their pieces that a parser accepts.

A piece is a whole unit of its kind, such as a line of JSON Lines. The first and the last piece of a
text are left out, because they may be cut.

    python      a statement that begins at the margin, with its block
    json        a line
    abc         a tune, which ends with an empty line
    brackets    a paragraph, which ends with an empty line
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from charlm.music.bars import check

BRACKET = re.compile(r"[()\[\]{}]")
EMPTY_LINES = re.compile(r"\n[ \t\r]*\n\s*")
STATEMENT = re.compile(r"^(?=(?!(?:elif|else|except|finally)\b)[A-Za-z_@])", re.MULTILINE)


def python(text: str) -> bool:
    """Returns whether `ast.parse` accepts a text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def json_value(text: str) -> bool:
    """Returns whether a text is a JSON value."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant):
    raise ValueError(constant)  # NaN and Infinity


def abc(text: str) -> bool:
    """Returns whether a text is a strictly valid tune with a key; see `charlm.music.bars`."""
    return check(text, "K").strict


def brackets(text: str) -> bool:
    """Returns whether each bracket of a text is closed, in the right order."""
    opened = []
    for character in BRACKET.findall(text):
        if character in "([{":
            opened.append(character)
        elif not opened or opened.pop() + character not in ("()", "[]", "{}"):
            return False
    return not opened


def statements(text: str) -> list[str]:
    """Returns parts of a text that begin with a statement at the margin; decorators go with it."""
    found, decorators = [], ""
    for part in filter(None, STATEMENT.split(text)):
        if part.startswith("@"):
            decorators += part
        else:
            found.append(decorators + part)
            decorators = ""
    return [*found, decorators] if decorators else found


FORMS: dict[str, tuple[Callable[[str], list[str]], Callable[[str], bool]]] = {
    "python": (statements, python),
    "json": (lambda text: text.split("\n"), json_value),
    "abc": (EMPTY_LINES.split, abc),
    "brackets": (EMPTY_LINES.split, brackets),
}
"""For each kind, a function that divides a text into pieces, and one that accepts a piece."""


@dataclass(frozen=True)
class WrittenForm:
    """The pieces of texts that were accepted."""

    kind: str
    pieces: int
    accepted: int

    @property
    def share(self) -> float | None:
        """The share of pieces that were accepted; None if there are none."""
        return self.accepted / self.pieces if self.pieces else None


def measured(kind: str, texts: Iterable[str]) -> WrittenForm:
    """Counts the pieces of texts that a parser accepts.

    Args:
        kind: a name in `FORMS`.
        texts: cuts of longer texts.
    """
    divide, accepts = FORMS[kind]
    parts = ([piece for piece in divide(text) if piece.strip()] for text in texts)
    verdicts = [accepts(piece) for pieces in parts for piece in pieces[1:-1]]
    return WrittenForm(kind, len(verdicts), sum(verdicts))
