"""Ids in several memory-mapped files, of which few are open at a time."""

from collections.abc import Callable

import numpy as np

from charlm.text.mapped_ids import MappedIds


class ShardedIds:
    """(n,) ids of several files; indexing verifies what it reads and returns a new array.

    Args:
        opened: (number of a file) -> its ids; the last `MAX_OPEN` files stay open.
        lengths: (F,), how many ids of each file belong to this object.
        begins: (F,), the first of them in each file.
        dtype: their type.
        place: (begin, end) of this object in all these ids; None for all.
    """

    ndim = 1

    def __init__(
        self,
        opened: Callable[[int], MappedIds],
        lengths: np.ndarray,
        begins: np.ndarray,
        dtype: np.dtype,
        place: tuple[int, int] | None = None,
    ):
        self._files = opened, lengths, begins, dtype
        self._opened, self._begins, self.dtype = opened, begins, dtype
        self._ends = np.cumsum(lengths)
        total = int(self._ends[-1]) if len(lengths) else 0
        self._begin, self._end = place or (0, total)
        self.shape = (self._end - self._begin,)

    def __len__(self):
        return self.shape[0]

    def part(self, begin: int, end: int) -> "ShardedIds":
        """Returns ids[begin:end] without reading them."""
        return ShardedIds(*self._files, (self._begin + begin, self._begin + end))

    def __getitem__(self, key):
        """Indexes as NumPy does, with any key.

        Raises:
            InputError: a file is damaged there, or missing.
        """
        if isinstance(key, slice):
            covered = range(len(self))[key]
            if not covered:
                return np.zeros(0, self.dtype)
            low, high = sorted((covered[0], covered[-1]))
            return self._read(low, high + 1)[:: abs(covered.step)][:: 1 if covered.step > 0 else -1]
        places = np.asarray(key)
        if places.dtype.kind not in "iu" or not len(self):
            return np.asarray(self)[key]
        if places.size and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"expected places below {len(self)}, found {key}")
        places = places % len(self) + self._begin
        found, which = np.empty(places.shape, self.dtype), self._file_of(places)
        for k in np.unique(which).tolist():
            chosen = which == k
            found[chosen] = self._opened(k)[places[chosen] - self._shift(k)]
        return found[()]

    def __array__(self, dtype=None, copy=None):
        return self._read(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _file_of(self, place):
        return np.searchsorted(self._ends, place, side="right")

    def _shift(self, k):
        """Returns the place, counted in all ids, at which file k would begin."""
        return int(self._ends[k - 1] if k else 0) - int(self._begins[k])

    def _read(self, begin, end):
        begin, end = begin + self._begin, end + self._begin
        found = np.empty(end - begin, self.dtype)
        at = begin
        while at < end:
            k = int(self._file_of(at))
            stop = min(end, int(self._ends[k]))
            shift = self._shift(k)
            found[at - begin : stop - begin] = self._opened(k)[at - shift : stop - shift]
            at = stop
        return found
