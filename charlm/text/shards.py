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
from charlm.text.mapped_ids import MAX_MAPPED
from charlm.text.overlap import Overlap
from charlm.text.sharded_ids import Files, ShardedIds
from charlm.text.vocab import Vocab
from corpora.document import ENCODED

VERSION = 1
AGAIN = "run charlm encode again, with the same options"  # after a damaged file is deleted
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
    """Fingerprint of the text and of where its documents begin; independent of the files."""
    normalize: str
    """The Unicode form of the text."""
    training: list[int]
    """(F,), the number of ids in the training part of each file."""
    held_out: list[list[int]]
    """(F,), the number of ids of each held-out part in a file."""
    keys: list[str]
    """(F,), what identifies the content of each file."""
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
        if not isinstance(stored, dict) or not isinstance(stored.get("version"), int):
            raise ValueError("it has no version")
        if stored["version"] == VERSION:
            return _checked(Index(**stored))
    except (OSError, ValueError, TypeError, RecursionError, InputError) as error:
        raise InputError(
            f"expected an encoded text in {folder}, found {ENCODED} damaged ({in_words(error)}); "
            f"delete that file and {AGAIN}"
        ) from error
    raise InputError(
        f"expected an encoded text of version {VERSION} in {folder}, found version "
        f"{stored.get('version')!r:.20}; use the version of charlm that wrote it, or encode the "
        "text into another folder"
    )


def _checked(index):
    """Returns an index; raises ValueError or TypeError if it is none."""
    if not len(index.training) == len(index.held_out) == len(index.keys) > 0:
        raise ValueError("it has no files")
    numbers = [*index.training, *(n for part in index.held_out for n in part)]
    overlap = Overlap(**index.overlap)
    numbers += [overlap.repeated, overlap.repeated_characters, *overlap.unseen.values()]
    if not all(isinstance(n, int) and 0 <= n < 2**62 for n in numbers):
        raise ValueError("its numbers are wrong")
    _ = index.dtype
    return index


def read(folder: Path) -> Text:
    """Opens an encoded text; reads its index only.

    Raises:
        InputError: see `read_index`; and later, where ids are read: a file is missing or damaged.
    """
    index = read_index(folder)
    trained = np.array(index.training, np.int64)
    held_out = np.array([sum(part) for part in index.held_out], np.int64)

    @functools.lru_cache(MAX_OPEN)
    def opened(k):
        return _open(folder / name(k), index.dtype, int(trained[k] + held_out[k]), index.keys[k])

    return Text(
        Vocab("".join(index.vocabulary)),
        index.sha256,
        ShardedIds(Files(opened, np.zeros_like(trained), trained, index.dtype)),
        ShardedIds(Files(opened, trained, held_out, index.dtype)),
        [n for part in index.held_out for n in part],
        Overlap(**index.overlap),
    )


def _open(path, dtype, count, key):
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            ids, about = id_cache.opened(file, path, MAX_MAPPED // MAX_OPEN, AGAIN)
        if (ids.dtype, len(ids), about["key"]) != (dtype, count, key):
            raise ValueError("it belongs to another encoded text")
        return ids
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected the encoded text in {path}, found it missing or damaged ({in_words(error)}"
            f"); delete it, if it is there, and {AGAIN}"
        ) from error


def _without_waiting(path, flags):
    return os.open(path, flags | systems.NO_WAIT | systems.BINARY)
