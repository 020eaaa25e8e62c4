"""Measures a text in parts, which several processes do, and joins their figures.

A part holds whole groups of the documents that are measured side by side, so the figures are those
of the whole text to the last digit, on processors of a kind.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from charlm.errors import InputError, in_words
from charlm.evaluation.losses import MAX_SIDE_BY_SIDE, groups
from charlm.runs.checkpoint import Checkpoint
from charlm.text.ids import Ids

FORMAT = 1
UNITS = ["word"], ["word", "token"]
MAX_BYTES, MOST = 2**30, 1e18  # of a file; a figure


def parse(shard: str) -> tuple[int, int]:
    """Parses "K/N", part K of N, into (K, N).

    Raises:
        InputError: it is not of this form, or K is not from 1 to N.
    """
    found = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", shard)
    if not found or int(found[1]) > int(found[2]):
        raise InputError(f"expected --shard K/N, K from 1 to N, found {shard!r:.40}")
    return int(found[1]), int(found[2])


def documents_of(shard: str, documents: Sequence[Ids]) -> list[int]:
    """Returns the numbers of a part's documents, in their order.

    Raises:
        InputError: there are fewer groups of documents than parts.
    """
    k, n = parse(shard)
    found = groups([len(d) for d in documents])
    if n > len(found):
        raise InputError(
            f"expected --shard K/N with N at most {len(found)}, found {shard}; parts are groups of "
            f"{MAX_SIDE_BY_SIDE} documents, and the text has {len(documents):,} in all"
        )
    return sorted(x for group in found[k - 1 :: n] for x in group)


@dataclass(frozen=True)
class Part:
    """The figures of a part."""

    shard: str
    """K/N."""
    units: list[str]
    """The units that perplexities are given for: "word" and, with tokens, "token"."""
    rows: list[tuple[int, str, list[float]]]
    """A row for each document: its number in the text, its name, and its figures."""
    measured: str
    """A fingerprint of weights and text."""
    format: int = FORMAT

    def to_json(self) -> str:
        """Returns it as JSON; figures keep every digit."""
        return json.dumps(asdict(self))


def fingerprint(saved: Checkpoint, documents: Iterable[Ids]) -> str:
    """Returns a fingerprint of weights and a text, which all parts must share."""
    digest = hashlib.sha256()
    for _, array in sorted(saved.weights.items()):
        digest.update(array.tobytes())
    for ids in documents:
        digest.update(len(ids).to_bytes(8, "little"))
        digest.update(np.asarray(ids).tobytes())
    return digest.hexdigest()


def merged(paths: Sequence[Path]) -> tuple[list[str], list[tuple[str, list[float]]]]:
    """Returns the units and the rows (name, figures) of a whole text.

    Args:
        paths: the files of all its parts, in any order.

    Raises:
        InputError: a file is no part, a part is missing or there twice, or they are of several
            texts or weights.
    """
    parts = [_read(path) for path in paths]
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        if (part.measured, part.units) != (first.measured, first.units):
            raise InputError(
                f"expected parts of one text, measured with the same weights; {path} is of another "
                f"text, or of other weights, than {paths[0]}"
            )
    count = parse(first.shard)[1]
    places = sorted(parse(part.shard) for part in parts)
    if places != [(k, count) for k in range(1, len(parts) + 1)] or len(parts) != count:
        raise InputError(
            f"expected the parts 1/{count} to {count}/{count}, once each, found "
            f"{_some([f'{k}/{n}' for k, n in places])}"
        )
    rows = sorted((row for part in parts for row in part.rows), key=lambda row: row[0])
    if [row[0] for row in rows] != [*range(len(rows))] or not rows:
        raise InputError(
            "expected a row for each document in the parts, found some missing or twice"
        )
    return first.units, [(name, figures) for _, name, figures in rows]


def _is_row(number, name, figures):
    numbers = [x for x in figures if type(x) in (int, float) and 0 <= x < MOST]
    is_name = isinstance(name, str) and name.isprintable()
    return type(number) is int and is_name and len(numbers) == len(figures) == 4 and figures[1] > 0


def _some(names):
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _read(path):
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        given = json.loads(path.read_text(encoding="utf-8"))
        part = Part(**given)
        if part.format != FORMAT:
            raise ValueError(f"format {part.format}, where this charlm reads {FORMAT}")
        if part.units not in UNITS or not all(
            isinstance(x, str) for x in (part.shard, part.measured)
        ):
            raise ValueError("a wrong field")
        parse(part.shard)
        if not all(_is_row(*row) for row in part.rows):
            raise ValueError("a row that is not a number, a name and four figures")
    except OSError as error:
        raise InputError(f"cannot read the part {in_words(error)}") from None
    except (ValueError, TypeError, OverflowError, InputError, RecursionError) as error:
        known = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
        raise InputError(
            f"expected what charlm score --shard K/N prints in {path}, found "
            f"{error if known else 'something else'}"
        ) from None
    return part
