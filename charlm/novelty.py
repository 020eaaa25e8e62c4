"""Whether a model writes or recites: how much of a text is in the text that the model learned from.

All measures are of a whole text, so that samples compare with samples of the same length.
"""

import re
from collections.abc import Iterable

import numpy as np

RUN = 12  # characters, as `sampler.Rules` has them
LENGTHS = 4, 8, 12, 16, 24  # of n-grams
BLOCK = 2**22  # characters of training text looked through at once
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits as if at random
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


class Known:
    """What of a training text is asked for again and again.

    Args:
        ids: (n,), the training text. text: the same in characters.
    """

    def __init__(self, ids: np.ndarray, text: str):
        self.ids = np.asarray(ids)
        self.words = set(words(text))

    def new(self, ids: np.ndarray, n: int) -> float | None:
        """The share of the n-grams of a text that the training text does not have, 0 to 1."""
        found = _hashes(ids, n)
        return float(1 - self._has(found, n).mean()) if len(found) else None

    def longest_copy(self, ids: np.ndarray) -> tuple[int, int]:
        """The longest stretch of a text that the training text has: where it begins, its length."""
        at = low = 0  # a stretch of `low` is there, one of `high` is not
        high = len(ids) + 1
        step = 16
        while high - low > 1:
            n = min(low + step, high - 1) if high > len(ids) else (low + high) // 2
            there = self._has(_hashes(ids, n), n)
            if there.any():
                at, low, step = int(there.argmax()), n, 2 * step
            else:
                high = n
        return at, low

    def known_words(self, text: str) -> float | None:
        """The share of a text's words, its first and last apart, that the training text has."""
        found = words(text)[1:-1]  # those two may be cut
        return sum(word in self.words for word in found) / len(found) if found else None

    def _has(self, hashes, n):
        """Which of these the training text has."""
        wanted, back = np.unique(hashes, return_inverse=True)
        there = np.zeros(len(wanted), bool)
        for k in range(0, len(self.ids) if len(wanted) else 0, BLOCK):
            known = _hashes(self.ids[k : k + BLOCK + n - 1], n)
            at = np.minimum(np.searchsorted(wanted, known), len(wanted) - 1)
            there[at[wanted[at] == known]] = True
        return there[back]


def words(text: str) -> list[str]:
    """Words in lower case: letters, with apostrophes between them."""
    return WORD.findall(text.lower())


def repeated(ids: np.ndarray, n: int = RUN) -> float:
    """The share of a text's runs of n characters that were in it before."""
    found = _hashes(ids, n)
    return 1 - len(np.unique(found)) / len(found) if len(found) else 0.0


def source(documents: Iterable, text: str) -> tuple[str, int] | None:
    """The first document that has a text, and where in it.

    Args:
        documents: with `name` and `pieces()`, as a `corpora.Corpus` has them.
    """
    for document in documents:
        kept, begin = "", 0  # the end of what was read, which the text may begin in
        for piece in document.pieces():
            kept += piece
            if (at := kept.find(text)) >= 0:
                return document.name, begin + at
            cut = max(0, len(kept) - len(text) + 1)
            kept, begin = kept[cut:], begin + cut
    return None


def _hashes(ids, n):
    """A number for each n characters in a row, (m,): a polynomial in FACTOR modulo 2^64.

    Of doubling lengths, so that it takes log n passes.
    """
    if len(ids) < n:
        return np.zeros(0, np.uint64)
    codes, length = (np.asarray(ids, np.uint64) + np.uint64(1)) * FACTOR, 1
    found, done = None, 0
    with np.errstate(over="ignore"):
        codes ^= codes >> np.uint64(29)  # or an id's number would be a multiple of it
        while done < n:
            if n & length:
                power = _power(length)
                found = (
                    codes if found is None else found[: len(codes) - done] * power + codes[done:]
                )
                done += length
            power = _power(length)
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
