"""Checks the written form of texts: the share of their pieces that a parser accepts.

A piece is a whole unit of its kind, such as a line of JSON Lines. What may be cut at the beginning
or the end of a text is left out.

    python      a function with its body, from `def` to the line before the next statement
    json        a line
    abc         a tune, which ends with an empty line
    brackets    a paragraph, which ends with an empty line; in texts without a whole one, a line
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from charlm.music.bars import check

BRACKET = re.compile(r"[()\[\]{}]")
EMPTY_LINES = re.compile(r"\n[ \t\r]*\n\s*")
DEFINITION = re.compile(r"([ \t]*)(?:async )?def ")


def python(text: str) -> bool:
    """Returns whether `ast.parse` accepts a text, which may be indented."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            ast.parse("if 1:\n" + text if text[:1] in (" ", "\t") else text)
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


def functions(text: str) -> list[str]:
    """Returns the whole functions of a text: after each another line follows, not indented more.

    A function goes without its decorators, and one that is inside another is a part of that.
    """
    found, lines, k = [], text.split("\n")[1:], 0  # the first line may be cut
    while k < len(lines):
        begin, k = k, k + 1
        if definition := DEFINITION.match(lines[begin]):
            while k < len(lines) and _belongs(lines[k], definition[1]):
                k += 1
            if k < len(lines):
                found.append("\n".join(lines[begin:k]))
    return found


def _belongs(line, indent):
    """Returns whether a line belongs to a function that was started before it."""
    rest = line.removeprefix(indent)
    return not line.strip() or (line.startswith(indent) and rest[0] in " \t)]}#")


def _paragraphs(text):
    return EMPTY_LINES.split(text)[1:-1]


def _lines(text):
    return text.split("\n")[1:-1]


class Form(NamedTuple):
    """A kind of piece."""

    title: str
    """Pieces that are accepted."""
    whole: Callable[[str], list[str]]
    """Returns the whole pieces of a text."""
    accepts: Callable[[str], bool]
    """Returns whether a piece is right."""


BY_LINE = "bracket lines"
FORMS = {
    "python": Form("functions that parse", functions, python),
    "json": Form("lines that are JSON", _lines, json_value),
    "abc": Form("tunes that are strictly valid", _paragraphs, abc),
    "brackets": Form("paragraphs with balanced brackets", _paragraphs, brackets),
    BY_LINE: Form("lines with balanced brackets", _lines, brackets),
}


def kind_for(kind: str, texts: Iterable[str]) -> str:
    """Returns the name of the form to count in texts like these: `kind`, or `BY_LINE` instead.

    Args:
        kind: "python", "json", "abc" or "brackets".
        texts: those that samples are compared with.
    """
    if kind == "brackets" and not any(_paragraphs(text) for text in texts):
        return BY_LINE
    return kind


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
    form = FORMS[kind]
    pieces = (piece for text in texts for piece in form.whole(text) if piece.strip())
    verdicts = [form.accepts(piece) for piece in pieces]
    return WrittenForm(kind, len(verdicts), sum(verdicts))
