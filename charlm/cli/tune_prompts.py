"""The fields that `charlm tunes --metre --key --title` ask for, as a run's tunes write them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from charlm.errors import InputError, require
from charlm.generation.tunes import fits, header_of
from charlm.music.fields import header
from charlm.music.signatures import key_signature, metre
from charlm.music.tune import AbcError
from charlm.runs.checkpoint import Checkpoint
from charlm.text.vocab import UnknownCharacterError

FIELDS = {"metre": "M", "key": "K", "title": "T"}
SHOWN = 8  # values in a message
LONGEST_TITLE = 100  # characters


def check(args: Any) -> None:
    """Raises InputError for options of a `charlm.tunes.Tunes` that are no metre, key or title."""
    for name, read, example in (
        ("metre", metre, "such as 6/8 or C"),
        ("key", key_signature, "such as G Major or A Dorian"),
    ):
        value = getattr(args, name)
        if value is None:
            continue
        try:
            read(value)
        except AbcError:
            require(False, name, f"a {name} {example}", value or "none")
        require(value.strip() and "\n" not in value, name, f"a {name} {example}", value or "none")
    if args.title is not None:
        ok = args.title.strip() and args.title.isprintable() and "%" not in args.title
        ok = ok and len(args.title) <= LONGEST_TITLE
        expected = f"a line of at most {LONGEST_TITLE} characters without %"
        require(ok, "title", expected, repr(args.title))


def fields(args: Any, saved: Checkpoint, tunes: Sequence[str] | None) -> dict[str, str]:
    """Returns the values that a tune's header must have.

    Args:
        args: a `charlm.tunes.Tunes`.
        saved: the run.
        tunes: its training tunes; None if they are not at hand, then values are not compared.

    Raises:
        InputError: the run's tunes have no such field or value.
    """
    given = {FIELDS[name]: value for name in FIELDS if (value := getattr(args, name)) is not None}
    own = saved.config.data.abc_fields
    if own is not None and "T" not in own:
        given.pop("T", None)  # the title is added to the tune that was drawn
    for name, letter in FIELDS.items():
        if letter not in given:
            continue
        if own is not None and letter not in own + "K":
            raise InputError(f"cannot use --{name}: the run was trained without {letter}:")
        if tunes is not None and letter != "T":
            given[letter] = _known(name, letter, given[letter], tunes)
        try:
            saved.vocab.encode(given[letter])
        except UnknownCharacterError as error:
            raise InputError(f"--{name}: {error}") from None
    return given


def of_context(args: Any, saved: Checkpoint, given: dict[str, str], allowed: str) -> dict[str, str]:
    """Returns the values of fields, with those that the requested context implies.

    Args:
        args, saved: see `fields`.
        given: the result of `fields`.
        allowed: the fields that the run's tunes may have.

    Raises:
        InputError: the context is one of another metre or key.
    """
    field, name = saved.config.data.context, saved.required_contexts().named(*args.context)
    if not fits(field, name, given):
        asked = " and ".join(f"--{x} {given[k]}" for x, k in FIELDS.items() if k in given)
        raise InputError(
            f"expected a --context that goes with {asked}, found {name}; leave one of them out"
        )
    return header_of(field, name, allowed) | given


def _known(name, letter, value, tunes):
    """Returns the value as the tunes write it."""
    values = Counter(h[letter] for t in tunes if letter in (h := header(t)))
    if value in values:
        return value
    if letter == "K":
        for other, _ in values.most_common():
            if _tonic(other) == _tonic(value) and _signature(other) == _signature(value):
                return other
    shown = ", ".join(f"{x} ({n:,})" for x, n in values.most_common(SHOWN))
    more = len(values) - SHOWN
    shown += f" and {more:,} more" if more > 0 else ""
    raise InputError(
        f"expected --{name} to be a {name} of the training tunes: {shown}; found {value}"
    )


def _tonic(key):
    return key.strip()[: 2 if key.strip()[1:2] in ("#", "b") else 1]


def _signature(key):
    try:
        return key_signature(key)
    except AbcError:
        return None
