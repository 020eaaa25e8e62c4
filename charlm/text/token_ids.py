"""Encodes texts of character ids as tokens, in parts; a large text into the cache."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from charlm.notes import note, progress
from charlm.text import id_cache, tokenizing
from charlm.text.ids import Ids
from charlm.text.tokens import TokenVocab
from charlm.text.vocab import Vocab

IN_MEMORY = 2**22  # characters, which take two seconds; the ids of more are in a file of the cache
SPLITTING = 1  # changes when a text is cut differently before it is split into tokens
PIECE = 2**20  # characters that are decoded at a time


def encoded(
    parts: Sequence[Ids], known: Vocab, vocab: TokenVocab, sha256: str
) -> tuple[Ids, list[int]]:
    """Encodes a text in tokens that stay within its parts.

    Args:
        parts: ids of characters.
        known: their vocabulary.
        vocab: of the tokens.
        sha256: fingerprint of the text, which names its file in the cache.

    Returns:
        The ids of all parts, concatenated, and their number in each part.

    Raises:
        UnknownCharacterError: the text has a lone surrogate.
        InputError, OSError: the cache folder cannot be written in, or is full.
    """
    sizes = [len(part) for part in parts]
    with progress("splitting the text into tokens", sum(sizes)) as tell:
        if sum(sizes) <= IN_MEMORY:
            found = [np.zeros(0, vocab.dtype)]
            lengths = _encode(parts, known, vocab, found.append, tell)
            return np.concatenate(found), lengths
        version = SPLITTING, tokenizing.version()
        key = json.dumps([sha256, sizes, vocab.stored(), version]).encode()
        with id_cache.held(note) as folder:
            path = folder / f"{hashlib.sha256(key).hexdigest()}.ids"
            made = id_cache.read(path, note)
            if made is None:

                def fill(file, dtype):
                    def put(ids):
                        file.write(ids.astype(dtype, copy=False))

                    return {"parts": _encode(parts, known, vocab, put, tell)}

                id_cache.write(path, vocab.dtype, None, fill)
                made = id_cache.read(path, note)
            assert made is not None
            return made[0], made[1]["parts"]


def _encode(parts, known, vocab, put, tell):
    """Calls put(ids) for all tokens, in order; returns their number in each part."""
    lengths = []
    for part in parts:
        count = 0
        for text in texts(part, known, vocab.separator, tell):
            ids = vocab.encode(text, vocab.dtype)
            put(ids)
            count += len(ids)
        lengths.append(count)
    return lengths


def texts(
    ids: Ids, known: Vocab, separator: str | None, tell: Callable[[int], None] = lambda n: None
) -> Iterator[str]:
    """Yields the text of ids of characters in pieces, which end where tokens end.

    Args:
        ids: (n,).
        known: their vocabulary.
        separator: text that ends a record.
        tell: called with the number of characters of each piece.
    """
    kept = ""
    for k in range(0, len(ids), PIECE):
        kept += known.decode(ids[k : k + PIECE])
        *whole, kept = tokenizing.blocks(kept, separator)
        yield "".join(whole)
        tell(min(PIECE, len(ids) - k))
    yield kept
