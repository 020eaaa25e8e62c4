"""Lists the options of a command: for its help page, completion, messages and the reference.

The command's dataclass is the only place where they are declared; tyro parses them from it.
"""

import ast
import dataclasses
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from charlm.cells import CELLS

LONGEST = 72  # characters of a list of values in a line of help
POSITIONAL, REPEATED = "Positional", "UseAppendAction"  # tyro's markers, by name: it loads slowly
WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: ""}
VALUES = {  # what an option takes, where its type says too little
    "cell": "CELL", "cells": "CELL", "corpus": "CORPUS", "encoding": "NAME", "engines": "NAME",
    "file": "FILE", "init": "RUN", "init_from": "RUN", "layers": "NAME", "name": "NAME",
    "peers": "NAME", "preset": "NAME", "prompt_file": "FILE", "resume": "RUN", "run": "RUN",
    "runs": "RUN",
    "text": "CORPUS", "text_file": "FILE", "vocab": "FILE", "vocab_from": "CORPUS",
    "keras_version": "VERSION", "output": "PATH", "column": "NAME",
    "records": "blank|line|SEPARATOR", "abc_fields": "LETTERS",
}  # fmt: skip
CHOICES = {"cell": [*CELLS, *(f"keras-{x}" for x, c in CELLS.items() if c.keras)], "cells": CELLS}


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a command."""

    name: str
    """The dataclass's field."""
    flags: tuple[str, ...]
    """Its spellings, for example ("-n", "--n"); () for a positional argument."""
    hint: Any
    """The type of its value, without markers."""
    repeated: bool
    """Whether it may be given several times."""
    default: Any
    """`dataclasses.MISSING` if it must be given."""
    meaning: str
    """Its help text, one paragraph."""

    @property
    def choices(self) -> list[str]:
        """The values that it takes; [] if they cannot be listed."""
        return [*map(str, _literals(self.hint))] or [*CHOICES.get(self.name, ())]

    @property
    def is_several(self) -> bool:
        """Whether it takes several values at once."""
        return not self.repeated and any(get_origin(x) is tuple for x in _alternatives(self.hint))

    @property
    def value(self) -> str:
        """Its value, for people: "N", "tanh|relu|linear", "X ..." or "" for a switch."""
        word = "|".join(map(str, _literals(self.hint)))
        if not 0 < len(word) <= LONGEST:
            is_number = _alternatives(self.hint)[0] in (int, float)
            named = None if is_number else VALUES.get(self.name)
            word = named or _word(self.hint, self.name)
        return f"{word} ..." if self.is_several else word


@dataclasses.dataclass(frozen=True)
class Group:
    """Options that belong together: those of a dataclass itself, without its nested ones."""

    kind: type
    options: list[Option]

    @property
    def title(self) -> str:
        """The beginning of the dataclass's docstring."""
        return (inspect.getdoc(self.kind) or "").split(".")[0].split(";")[0].replace("\n", " ")


def groups(kind: type, default: Any = None, meanings: bool = True) -> Iterator[Group]:
    """Yields the options of a command's dataclass, then those of each dataclass in it.

    Args:
        kind: the dataclass.
        default: an instance with the options' defaults, if they are not the dataclass's own.
        meanings: whether to find the help texts of options, which takes a while.
    """
    hints, texts = get_type_hints(kind, include_extras=True), _comments(kind) if meanings else {}
    found: list[Option] = []
    inner: list[tuple[Any, Any]] = []
    for field in dataclasses.fields(kind):
        value = _default(field, default)
        if dataclasses.is_dataclass(hints[field.name]):
            inner.append((hints[field.name], value))
        else:
            found.append(_option(field.name, hints[field.name], value, texts.get(field.name, "")))
    yield Group(kind, found)
    for part, value in inner:
        yield from groups(part, value, meanings)


def every(kind: type, default: Any = None, meanings: bool = True) -> list[Option]:
    """Returns all options of a command's dataclass; see `groups`."""
    return [option for group in groups(kind, default, meanings) for option in group.options]


def _option(name, hint, default, text):
    marks: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        marks += more
    names = set(map(str, marks))
    aliases = [x for m in marks for x in getattr(m, "aliases", None) or ()]
    named = next((m.name for m in marks if getattr(m, "name", None)), name)  # Python's keywords
    flags = () if POSITIONAL in names else (*aliases, f"--{named.replace('_', '-')}")
    text = text or next((m.help for m in marks if getattr(m, "help", None)), "")
    return Option(name, flags, hint, REPEATED in names, default, " ".join(text.split()))


def _default(field, outer):
    if outer is not None:
        return getattr(outer, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _comments(kind):
    """Returns {field: the string below it in the class}; {} without the source."""
    try:
        source = inspect.getsource(kind)
    except OSError:  # as with a module that runpy runs
        return {}
    (tree,) = ast.parse(inspect.cleandoc("\n" + source)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        match node, after:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = text
    return found


def _alternatives(hint):
    """Returns the types of a value that is not None."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [part for part in parts if part is not type(None)]


def _literals(hint):
    for part in _alternatives(hint):
        part = get_args(part)[0] if get_origin(part) is tuple else part
        if get_origin(part) is Literal:
            yield from get_args(part)


def _word(hint, name):
    (part,) = _alternatives(hint)
    part = get_args(part)[0] if get_origin(part) is tuple else part
    return VALUES.get(name, WORDS[part]) if part in (str, Path) else WORDS[part]


def shown(default: object) -> str:
    """Returns a default as it would be typed, "" for one that says nothing."""
    if default is None or default is False or default in ((), "", dataclasses.MISSING):
        return ""
    if isinstance(default, tuple):
        return " ".join(repr(x) if x == "" else str(x) for x in default)
    return "on" if default is True else str(default)
