"""Ids in several memory-mapped files, of which few are open at a time."""

from collections.abc import Callable

import numpy as np

from charlm.text.mapped_ids import MappedIds


class Files:
    """The files of some ids.

    Args:
        opened: (number of a file) -> its ids; called for each stretch that is read.
        begins: (F,), the first id of each file that counts.
        lengths: (F,), how many ids count from there on.
        dtype: their type.
    """

    def __init__(
        self,
        opened: Callable[[int], MappedIds],
        begins: np.ndarray,
        lengths: np.ndarray,
        dtype: np.dtype,
    ):
        self.opened, self.begins, self.dtype = opened, begins, dtype
        self.ends = np.cumsum(lengths)

    def file_of(self, place: int | np.ndarray) -> np.ndarray:
        """Returns the number of the file that holds a place in all ids."""
        return np.searchsorted(self.ends, place, side="right")

    def shift(self, k: int) -> int:
        """Returns the place in all ids at which file k would begin."""
        return int(self.ends[k - 1] if k else 0) - int(self.begins[k])


class ShardedIds:
    """(n,) ids of several files; indexing verifies what it reads and returns a new array.

    Args:
        files: the files.
        begin: the first of their ids in this object.
        end: the first after them; None for all.
    """

    ndim = 1

    def __init__(self, files: Files, begin: int = 0, end: int | None = None):
        if end is None:
            end = int(files.ends[-1]) if len(files.ends) else 0
        self._files, self._begin, self._end = files, begin, end
        self.dtype, self.shape = files.dtype, (end - begin,)

    def __len__(self):
        return self._end - self._begin

    def part(self, begin: int, end: int) -> "ShardedIds":
        """Returns ids[begin:end] without reading them."""
        return ShardedIds(self._files, self._begin + begin, self._begin + end)

    def __getitem__(self, key):
        """Indexes as NumPy does; keys other than slices and whole numbers read all ids.

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
        if isinstance(key, tuple) or places.dtype.kind not in "iu" or not len(self):
            return np.asarray(self)[key]
        places = places.astype(np.int64)
        if places.size and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"expected places below {len(self)}, found {key}")
        places = places % len(self) + self._begin
        found, which = np.empty(places.shape, self.dtype), self._files.file_of(places)
        for k in np.unique(which).tolist():
            chosen = which == k
            found[chosen] = self._files.opened(k)[places[chosen] - self._files.shift(k)]
        return found[()]

    def __array__(self, dtype=None, copy=None):
        return self._read(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _read(self, begin, end):
        files, begin, end = self._files, begin + self._begin, end + self._begin
        found = np.empty(end - begin, self.dtype)
        at = begin
        while at < end:
            k = int(files.file_of(at))
            stop, shift = min(end, int(files.ends[k])), files.shift(k)
            found[at - begin : stop - begin] = files.opened(k)[at - shift : stop - shift]
            at = stop
        return found
