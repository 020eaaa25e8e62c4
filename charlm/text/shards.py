"""Reads a text that is encoded in several files, as `charlm encode` writes it.

    charlm-text.json    vocabulary, fingerprint, and the number of ids in each file
    00000.ids ...       files as in the cache (`id_cache`): the training parts of consecutive
                        documents, then their held-out parts

A file holds whole documents. The training text is the training parts of all files, in their order.
"""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm import systems
from charlm.errors import InputError, in_words
from charlm.text import id_cache
from charlm.text.encoded_text import Text
from charlm.text.mapped_ids import MappedIds
from charlm.text.overlap import Overlap
from charlm.text.sharded_ids import ShardedIds
from charlm.text.vocab import Vocab
from corpora.document import ENCODED

VERSION = 1
MAX_OPEN = 128  # files; more streams than that open files again and again, once in a block


def name(k: int) -> str:
    """Returns the name of file k."""
    return f"{k:05}.ids"


@dataclass(frozen=True)
class Index:
    """The content of `charlm-text.json`."""

    vocabulary: list[str]
    """The distinct characters of the text, in the order of their ids."""
    sha256: str
    """Fingerprint of the text and of where its documents begin; of no number of files."""
    normalize: str
    """The Unicode form of the text."""
    training: list[int]
    """(F,), the number of ids in the training part of each file."""
    held_out: list[list[int]]
    """(F,), the number of ids of each held-out part in a file."""
    overlap: dict
    """The values of `Overlap`."""
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """Returns the content of the file."""
        return json.dumps(vars(self)).encode()

    @property
    def dtype(self) -> np.dtype:
        """The type of the ids."""
        return Vocab("".join(self.vocabulary)).dtype.newbyteorder("<")


def read_index(folder: Path) -> Index:
    """Reads the index of an encoded text.

    Raises:
        InputError: it is missing or damaged, or of another version.
    """
    path = folder / ENCODED
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            stored = json.load(file)
        if stored.get("version") != VERSION:
            raise ValueError(f"it has version {stored.get('version')}, this is {VERSION}")
        index = Index(**stored)
        if not len(index.training) == len(index.held_out) > 0:
            raise ValueError("it has no files")
        sizes = [*index.training, *(n for part in index.held_out for n in part)]
        if min(sizes) < 0 or not all(isinstance(n, int) for n in sizes):
            raise ValueError("its sizes are wrong")
        _ = Overlap(**index.overlap), index.dtype
        return index
    except (OSError, ValueError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"expected an encoded text in {folder}, found {ENCODED} damaged ({in_words(error)}); "
            "delete that file and run charlm encode again"
        ) from error


def read(folder: Path) -> Text:
    """Opens an encoded text; reads its index only.

    Raises:
        InputError: see `read_index`; and later, where ids are read: a file is missing or damaged.
    """
    index = read_index(folder)
    trained = np.array(index.training, np.int64)
    held_out = np.array([sum(part) for part in index.held_out], np.int64)

    @functools.lru_cache(MAX_OPEN)
    def opened(k: int) -> MappedIds:
        return _open(folder / name(k), index.dtype, int(trained[k] + held_out[k]))

    return Text(
        Vocab("".join(index.vocabulary)),
        index.sha256,
        ShardedIds(opened, trained, np.zeros_like(trained), index.dtype),
        ShardedIds(opened, held_out, trained, index.dtype),
        [n for part in index.held_out for n in part],
        Overlap(**index.overlap),
    )


def _open(path, dtype, count):
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            ids, _ = id_cache.opened(file, path)
        if (ids.dtype, len(ids)) != (dtype, count):
            raise ValueError(f"it has {len(ids):,} ids of {ids.dtype}, not {count:,} of {dtype}")
        return ids
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected the encoded text in {path}, found it missing or damaged ({in_words(error)}"
            "); delete it, if it is there, and run charlm encode again"
        ) from error


def _without_waiting(path, flags):
    return os.open(path, flags | systems.NO_WAIT | systems.BINARY)
