"""Ids of a text, in memory or in files, and streams that read them in parallel."""

from typing import TypeAlias

import numpy as np

from charlm.text import mapped_ids
from charlm.text.mapped_ids import MappedIds
from charlm.text.sharded_ids import ShardedIds

MAX_AHEAD = 2**26  # bytes of all streams

Ids: TypeAlias = np.ndarray | MappedIds | ShardedIds
"""(n,) ids of characters, in memory or in files."""


def slice_of(ids: Ids, begin: int, end: int) -> Ids:
    """Returns ids[begin:end] without reading them."""
    return ids[begin:end] if isinstance(ids, np.ndarray) else ids.part(begin, end)


class Streams:
    """Parallel streams through ids, which are treated as a ring.

    Of ids in files, each stream copies a block ahead, because opening and verifying cost more than
    a window. Only one thread may read at a time.

    Args:
        ids: (n,), in memory or in files.
        begin: (B,), where each stream starts.
    """

    def __init__(self, ids: Ids, begin: np.ndarray):
        self._ids, self._begin = ids, begin
        self._low, self._ahead = 0, np.empty((len(begin), 0), ids.dtype)

    def rows(self, at: np.ndarray, length: int, skipped: int | np.ndarray = 0) -> np.ndarray:
        """Returns (..., B, length): the ids from places (...) of each stream on.

        Args:
            at: (...).
            length: ids of each row.
            skipped: (..., B), 0 or more, added to each stream's place.

        Raises:
            InputError: a file is damaged there, or missing.
        """
        places = self.places(at, length, skipped)
        if isinstance(self._ids, np.ndarray):
            return np.take(self._ids, places, mode="wrap")
        low, high = int(at.min()), int(at.max()) + length + int(np.max(skipped))
        size = self._ahead.shape[1]
        if low < self._low or self._low + size < high:
            more = min(mapped_ids.BLOCK, MAX_AHEAD // len(self._begin))
            size = high - low + more // self._ids.dtype.itemsize
            self._low, self._ahead = low, self._read(low, size)
        columns = places - (self._begin + self._low)[:, None]
        return self._ahead.ravel()[columns + size * np.arange(len(self._begin))[:, None]]

    def _read(self, low, size):
        return np.stack([_around(self._ids, low + b, size) for b in self._begin.tolist()])

    def places(self, at: np.ndarray, length: int, skipped: int | np.ndarray = 0) -> np.ndarray:
        """Returns where the ids of `rows` are, (..., B, length), beyond the end if it wraps."""
        return (self._begin + at[..., None] + skipped)[..., None] + np.arange(length)


def _around(ids, begin, length):
    """Returns `length` ids from `begin` on, from a ring."""
    begin, parts = begin % len(ids), []
    while length > 0:
        parts.append(ids[begin : begin + length])
        length, begin = length - len(parts[-1]), 0
    return np.concatenate(parts)
