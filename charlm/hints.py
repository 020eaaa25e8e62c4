"""Types in annotations: whether a value has one, and what they are called in messages."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from charlm.errors import InputError

WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
SEVERAL = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}


def type_in_words(hint: object) -> str | None:
    """Returns what an option or argument of this type takes, None for types that are not known."""
    if hint in WORDS:
        return WORDS[hint]
    origin, parts = get_origin(hint), [p for p in get_args(hint) if p not in (NoneType, ...)]
    if origin is Literal:
        return f"one of {_listed(hint)}"
    if origin is tuple and len(parts) > 1 and len(set(parts)) == 1:
        return f"{len(parts)} {SEVERAL[parts[0]]}"
    if origin not in (tuple, Union, UnionType) or len(parts) != 1:
        return None
    if origin is not tuple:
        return type_in_words(parts[0])
    if get_origin(parts[0]) is Literal:
        return f"one or more of {_listed(parts[0])}"
    return SEVERAL.get(parts[0])


def _listed(literal):
    return ", ".join(map(str, get_args(literal)))


def is_of_type(value: object, hint: Any) -> bool:
    """Whether a value has the type of an annotation."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind is tuple:
        return type(value) is tuple and all(is_of_type(x, parts[0]) for x in value)
    if kind in (Union, UnionType):
        return any(is_of_type(value, part) for part in parts)
    return type(value) in ((int, float) if hint is float else (hint,))


def check_fields(values: dict[str, Any], kind: type, what: str) -> None:
    """Raises InputError unless values are fields of a dataclass, of their types.

    Args:
        values: the stored values by name.
        kind: the dataclass.
        what: what its fields are called in the message.
    """
    hints = get_type_hints(kind)
    if unknown := values.keys() - hints:
        raise InputError(
            f"expected {what} settings {sorted(hints)}, found {sorted(unknown)}; "
            "the file may come from a newer charlm"
        )
    for name, value in values.items():
        if not is_of_type(value, hints[name]):
            expected = type_in_words(hints[name]) or str(hints[name])
            raise InputError(f"expected {name} to be {expected}, found {value!r:.40}")
