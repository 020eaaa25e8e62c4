"""Reads the characters of a model's ids from a JSON file of another program."""

import re
from pathlib import Path

from charlm.errors import InputError
from charlm.runs import untrusted

NO_CHARACTER = "", "[UNK]"  # tokens of Keras's own layers for padding and unknown characters
OURS = "characters"  # the only key in files of `charlm export`
FORMS = (
    'a JSON list of characters ["a", "b"], one text of them "ab", a mapping {"a": 0} or '
    '{"0": "a"}, or the .vocab.json of charlm export'
)


def read(path: Path) -> tuple[dict[int, str], range]:
    """Returns {id: character}, and all ids, including those that stand for no character.

    Args:
        path: a list or a string of characters in the order of their ids, or a mapping from
            characters to ids or from ids to characters, or from "characters" to a list. Ids start
            at 0 or 1 and have no gaps.

    Raises:
        InputError: the file is missing or has another content.
    """
    with untrusted.refusals(path, FORMS):
        data = untrusted.file_bytes(path, "a vocabulary", untrusted.MAX_JSON)
        if data.startswith(b"\x80"):
            raise InputError(
                f"expected {FORMS}, found a file of Python's pickling, which could run code; save "
                "it as JSON"
            )
        try:
            text = data.decode("utf-8-sig")
            value = untrusted.parsed_json("a vocabulary", text, object_pairs_hook=_Pairs)
        except ValueError as error:
            raise InputError(
                f"expected {FORMS}, found no JSON ({error!s:.99}); a plain text is for --vocab-from"
            ) from error
        ours = _is_of_export(value)
        return _checked(_by_id(value[0][1] if ours else value), halves=ours)


class _Pairs(tuple):
    """A JSON object as pairs in their order, including repeated keys."""


def _is_of_export(value):
    """Whether a value is {"characters": [...]}."""
    if not isinstance(value, _Pairs) or len(value) != 1:
        return False
    ((key, characters),) = value
    return key == OURS and isinstance(characters, list)


def _by_id(value):
    """Returns [(id, token)] of any of the forms."""
    if isinstance(value, str | list):
        return list(enumerate(value))
    if isinstance(value, _Pairs):
        keys, values = [key for key, _ in value], [x for _, x in value]
        if all(type(x) is int for x in values):
            return list(zip(values, keys, strict=True))
        if all(re.fullmatch("0|[1-9][0-9]{0,8}", key) for key in keys):
            return list(zip(map(int, keys), values, strict=True))
    if isinstance(value, _Pairs) and "model" in keys:
        raise InputError(
            "expected characters, found a tokenizer; runs of tokens can be exported, not imported"
        )
    what = "a mapping of something else" if isinstance(value, _Pairs) else repr(value)[:60]
    raise InputError(f"expected {FORMS} and nothing around it, found {what}")


def _checked(pairs, halves):
    characters: dict[int, str] = {}
    ids: dict[str, int] = {}
    for k, token in pairs:
        if k in characters:
            raise InputError(f"expected an id for each character, found {k} twice")
        if token not in NO_CHARACTER:
            _check_character(k, token, halves)
            if token in ids:
                raise InputError(
                    f"expected an id for each character, found {token!r} at {ids[token]} and {k}"
                )
            ids[token] = k
        characters[k] = token
    first = min(characters, default=0)
    gap = next((k for k, x in enumerate(sorted(characters), first) if k != x), None)
    if first not in (0, 1) or gap is not None:
        what = f"none for id {gap}" if first in (0, 1) else f"{first} as the first id"
        raise InputError(f"expected ids from 0 or 1 on without a gap, found {what}")
    if len(ids) < 2:
        raise InputError(f"expected two characters or more, found {len(ids)}")
    return {k: token for token, k in ids.items()}, range(first, first + len(characters))


def _check_character(k, token, halves):
    """Refuses tokens that are not characters; `halves` allows surrogates, as charlm's files do."""
    if not isinstance(token, str) or len(token) != 1:
        raise InputError(
            f"expected one character for each id, found {token!r:.60} for id {k}; charlm's models "
            'are of characters: use "" for an id that stands for none'
        )
    if not halves and "\ud800" <= token <= "\udfff":
        raise InputError(
            f"expected a character for id {k}, found half of a surrogate pair, {token!r}; put both "
            "halves together into one character"
        )
