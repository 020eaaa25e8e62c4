"""Command lines in messages: what is wrong with one, in the words of the others, and hints."""

import re
import shlex
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
REPEATED = "UseAppendAction"  # tyro's marker, by name: tyro is not loaded to write a hint
SEVERAL = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
ABOUT = re.compile(  # what is wrong with the value of one option, whose name is in a group
    r"Error parsing (-\S+):|invalid choice .* for argument '(-[^']+)'|"
    r"Missing value for argument '(-[^']+)'"
)


def one_line(box: str, kind: type, argv: list[str]) -> str:
    """The message in tyro's frame, between its title and the next rule, and its guess.

    Args:
        kind: the dataclass that was to be made from `argv`.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    _title, *lines = [line.strip(" │") for line in text.splitlines() if line.strip(" │╭╮╰╯")]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip("─-╰╯"):
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    message = " ".join(paragraphs[0]).rstrip(".")
    if about := ABOUT.match(message):
        flags = next(filter(None, about.groups())).split("/")
        if expected := _expected(kind, flags):
            return f"expected {flags[0]} to be {expected}, found {_given(argv, flags)}"
    guesses = [x.split()[0] for p in paragraphs[1:] for x in p if x.startswith("--")]
    return f"{message}; did you mean {guesses[0]}?" if guesses and "nrecogn" in message else message


def _expected(kind, flags):
    """What an option takes, in words."""
    hints = _hints(kind)
    names = [flag.lstrip("-").replace("-", "_") for flag in flags]
    return next((_words(hints[name]) for name in names if name in hints), None)


def _hints(kind):
    """{field: type of what its option takes} of a dataclass and of those within it."""
    found: dict[str, Any] = {}
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    for name, hint in hints.items():
        found |= _hints(hint) if is_dataclass(hint) else {name: _each_time(hint)}
    return found


def _each_time(hint):
    """The type of what an option takes whenever it is given."""
    if get_origin(hint) is not Annotated:
        return hint
    inner, *markers = get_args(hint)
    is_repeated = REPEATED in map(str, markers)
    return get_args(inner)[0] if is_repeated else inner


def _words(hint):
    if hint in WORDS:
        return WORDS[hint]
    origin, parts = get_origin(hint), [p for p in get_args(hint) if p not in (NoneType, ...)]
    if origin is Literal:
        return f"one of {_listed(hint)}"
    if origin not in (tuple, Union, UnionType) or len(parts) != 1:
        return None
    if origin is not tuple:
        return _words(parts[0])
    if get_origin(parts[0]) is Literal:
        return f"one or more of {_listed(parts[0])}"
    return SEVERAL.get(parts[0])


def _listed(literal):
    return ", ".join(map(str, get_args(literal)))


def _given(argv, flags):
    """The values that an option was given."""
    found, reads = [], False
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--") or name in flags:
            reads = name.replace("_", "-") in flags
            found += [value] * (reads and equals == "=")
        elif reads:
            found.append(word)
    return f"{shlex.join(found):.100}" or "none"
