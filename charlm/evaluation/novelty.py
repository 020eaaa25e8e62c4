"""Measures how much of a model's samples is copied from its training text.

A share is computed over all samples together, but no n-gram spans two samples. Shares of texts of
different lengths are not comparable.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from charlm.text.ids import Ids

RUN = 12  # characters, as `sampler.Rules` has them
LENGTHS = 4, 8, 12, 16, 24  # of n-grams
BLOCK = 2**22  # characters of training text that are searched at once
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with random-looking bits
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


class TrainingTextIndex:
    """Looks up n-grams and words in a training text.

    Args:
        ids: (n,), the training text.
        text: the same in characters.
    """

    def __init__(self, ids: Ids, text: str):
        self.ids = np.asarray(ids)
        self.words = set(words(text))

    def novel_ngram_share(self, texts: Sequence[np.ndarray], n: int) -> float | None:
        """Returns the share of the texts' n-grams that are not in the training text, 0 to 1."""
        found = np.concatenate([_hashes(ids, n) for ids in texts])
        return float(1 - self._has(found, n).mean()) if len(found) else None

    def longest_copy(self, texts: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the longest stretch of any of the texts that is in the training text, as ids."""
        copy = texts[0][:0]
        low, high, step = 0, max(map(len, texts)) + 1, 16  # `low` is found, `high` is not
        while high - low > 1:
            n = min(low + step, high - 1)
            there = self._has(np.concatenate([_hashes(ids, n) for ids in texts]), n)
            if there.any():
                places = ((ids, k) for ids in texts for k in range(len(ids) - n + 1))
                ids, k = next(itertools.islice(places, int(there.argmax()), None))
                copy, low, step = ids[k : k + n], n, 2 * step
            else:
                high, step = n, max(1, (n - low) // 2)
        return copy

    def known_words(self, texts: Sequence[str]) -> float | None:
        """Returns the share of the texts' words that are in the training text.

        The first and last word of a text are not counted, because they may be cut.
        """
        found = [word for text in texts for word in words(text)[1:-1]]
        return sum(word in self.words for word in found) / len(found) if found else None

    def _has(self, hashes, n):
        """Returns, for each hash, whether the training text has it."""
        wanted, back = np.unique(hashes, return_inverse=True)
        there = np.zeros(len(wanted), bool)
        for k in range(0, len(self.ids) if len(wanted) else 0, BLOCK):
            known = _hashes(self.ids[k : k + BLOCK + n - 1], n)
            at = np.minimum(np.searchsorted(wanted, known), len(wanted) - 1)
            there[at[wanted[at] == known]] = True
        return there[back]


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case: letters, with apostrophes between them."""
    return WORD.findall(text.lower())


def self_repetition(texts: Sequence[np.ndarray], n: int = RUN) -> float | None:
    """Returns the share of the texts' n-grams that occurred earlier in the same text."""
    found = [_hashes(ids, n) for ids in texts]
    total = sum(map(len, found))
    return 1 - sum(len(np.unique(x)) for x in found) / total if total else None


def source(parts: Iterable[tuple[str, Iterable[str], int]], text: str) -> tuple[str, int] | None:
    """Finds the first document that contains a text, and the position in it.

    Args:
        parts: for each document its name, its text in pieces, and the number of its characters to
            search.
        text: the text to find.
    """
    for name, pieces, length in parts:
        kept, begin = "", 0  # the end of the pieces read, where the text may start
        for piece in pieces:
            kept += piece
            at = kept.find(text)
            if 0 <= at <= length - begin - len(text):
                return name, begin + at
            cut = max(0, len(kept) - len(text) + 1)
            kept, begin = kept[cut:], begin + cut
    return None


def _hashes(ids, n):
    """Computes a hash of each n-gram, (m,): a polynomial in FACTOR modulo 2^64.

    Combines hashes of doubling lengths, so it takes log n passes.
    """
    if len(ids) < n:
        return np.zeros(0, np.uint64)
    codes, length = np.asarray(ids, np.uint64) + np.uint64(1), 1
    found: Any = None
    done = 0
    with np.errstate(over="ignore"):
        while done < n:
            power = _power(length)
            if n & length:
                more = codes[done:]
                found = more if found is None else found[: len(more)] * power + more
                done += length
            codes = codes[:-length] * power + codes[length:] if len(codes) > length else codes[:0]
            length *= 2
    return found[: len(ids) - n + 1]


def _power(length):
    with np.errstate(over="ignore"):
        found, base = np.uint64(1), FACTOR
        while length:
            if length & 1:
                found = found * base
            base, length = base * base, length >> 1
    return found
