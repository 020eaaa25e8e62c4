"""The training part and the held-out part of a corpus: the rule of `corpora.document`, in arrays.

A corpus of records has a document for each, so there may be millions.
"""

from collections.abc import Sequence

import numpy as np

from corpora.document import HELD_OUT_AT, HELD_OUT_EVERY, HELD_OUT_TAIL, is_fair

BLOCK = 2**20  # characters whose sections are looked at together


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

    def split(self, of_records: bool = False) -> "Split":
        """Returns the split of all that was added.

        Args:
            of_records: records are held out as a whole in any case, because what ends a record
                would be missing in its first part.
        """
        return Split(np.concatenate(self._found), of_records)

    def _put(self, places):
        self._found.append(places)
        self.count += len(places)


class Split:
    """The training part and the held-out part of each of R documents or records.

    Args:
        ends: (R,), where each ends, counted in characters from the beginning of the corpus.
        whole: hold out whole ones even if that is an uneven split.
    """

    def __init__(self, ends: np.ndarray, whole: bool = False):
        self.ends = ends
        later = ends[HELD_OUT_AT::HELD_OUT_EVERY]
        before = ends[HELD_OUT_AT - 1 :: HELD_OUT_EVERY][: len(later)]
        self._whole = whole or is_fair(int((later - before).sum()), int(ends[-1]))

    def sections(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the parts of characters `begin` to `end`: lengths, and which are trained on.

        Returns:
            (k,) integers and (k,) booleans.
        """
        first, last = np.searchsorted(self.ends, [begin, end])
        ends = self.ends[first : last + 1]
        lengths = np.diff(ends, prepend=self.ends[first - 1] if first else 0)
        if self._whole:
            places = np.arange(first, first + len(ends))
            held_out = np.where(places % HELD_OUT_EVERY == HELD_OUT_AT, lengths, 0)
        else:
            held_out = (lengths * HELD_OUT_TAIL).astype(np.int64)
        # in turn the end of a training part and of the held-out part after it
        borders = np.stack([ends - held_out, ends], axis=1).ravel().clip(begin, end)
        return np.diff(borders, prepend=begin), np.arange(len(borders)) % 2 == 0

    def trained(self, begin: int, end: int) -> int:
        """Returns how many of the characters `begin` to `end` are trained on."""
        total = 0
        for k in range(begin, end, BLOCK):  # so that the arrays stay small
            lengths, trained = self.sections(k, min(k + BLOCK, end))
            total += int(lengths[trained].sum())
        return total
