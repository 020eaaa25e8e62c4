"""Which characters of a corpus are trained on: the rule of `corpora.document.cuts`, in arrays.

A corpus of records has a document for each, so there may be millions.
"""

from collections.abc import Sequence

import numpy as np

from corpora.document import HELD_OUT_AT, HELD_OUT_EVERY, HELD_OUT_TAIL, is_fair


class Ends:
    """Collects where documents and records end, in characters from the beginning of the corpus."""

    def __init__(self):
        self.at, self.count = 0, 0  # characters, and documents or records, so far
        self._found: list[np.ndarray] = []

    def add(self, length: int, inside: Sequence[int]) -> None:
        """Adds a piece of so many characters, and the places in it after which records end."""
        if len(inside):
            self._put(np.array(inside, np.int64) + self.at)
        self.at += length

    def end_document(self) -> None:
        """Ends a document, and with it its last record."""
        if not self._found or self._found[-1][-1] < self.at:
            self._put(np.array([self.at]))

    def split(self) -> "Split":
        """Returns the split of all that was added."""
        return Split(np.concatenate(self._found))

    def _put(self, places):
        self._found.append(places)
        self.count += len(places)


class Split:
    """The training part and the held-out part of each of R documents or records.

    Args:
        ends: (R,), where each ends, counted in characters from the beginning of the corpus.
    """

    def __init__(self, ends: Sequence[int] | np.ndarray):
        ends = np.asarray(ends, np.int64)
        lengths = np.diff(ends, prepend=0)
        if is_fair(int(lengths[HELD_OUT_AT::HELD_OUT_EVERY].sum()), int(lengths.sum())):
            held_out = np.zeros_like(lengths)
            held_out[HELD_OUT_AT::HELD_OUT_EVERY] = lengths[HELD_OUT_AT::HELD_OUT_EVERY]
        else:
            held_out = (lengths * HELD_OUT_TAIL).astype(np.int64)
        # in turn the end of a training part and of the held-out part after it
        self._borders = np.stack([ends - held_out, ends], axis=1).ravel()

    def sections(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the parts of characters `begin` to `end`: lengths, and which are trained on.

        Returns:
            (k,) integers and (k,) booleans.
        """
        first, last = np.searchsorted(self._borders, [begin, end], side="left")
        borders = np.minimum(self._borders[first : last + 1], end)
        return np.diff(borders, prepend=begin), np.arange(first, first + len(borders)) % 2 == 0

    def trained(self, begin: int, end: int) -> int:
        """Returns how many of the characters `begin` to `end` are trained on."""
        lengths, trained = self.sections(begin, end)
        return int(lengths[trained].sum())
