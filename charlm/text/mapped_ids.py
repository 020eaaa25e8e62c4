"""Ids in a memory-mapped file; each block is verified when it is first read.

The ids of a `MappedIds` can be read only by indexing and by `np.asarray`. Both verify the blocks
that they read before they return an array, so no caller can forget it.
"""

import mmap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charlm.errors import InputError

# Bytes of a block. It is so large that the calls cost nothing (CRC-32 takes 0.08 ms), and so small
# that a window, which starts in one block per stream, reads little more than itself.
BLOCK = 2**18
AGAIN = "start again, which encodes the text again"
MAX_MAPPED = 2**26  # bytes of the file that stay in the process's memory after they were read


def checksums(file: BinaryIO, size: int) -> list[int]:
    """Returns the CRC-32 of each block in the first `size` bytes of a file."""
    file.seek(0)
    return [zlib.crc32(file.read(min(BLOCK, size - at))) for at in range(0, size, BLOCK)]


class _File:
    """All ids of a mapped file, and the blocks of it that were verified.

    Args:
        ids: (n,).
        sums: the CRC-32 of each block.
        path: of the file, for messages.
        most: bytes that stay in the process's memory after they were read.
        again: what to do after a damaged file is deleted, for messages.
    """

    def __init__(self, ids: np.memmap, sums: Sequence[int], path: Path, most: int, again: str):
        self.ids, self.sums, self.path = np.asarray(ids), sums, path
        self.bytes = self.ids.view(np.uint8)
        self.mapping: mmap.mmap = ids._mmap  # type: ignore[attr-defined]  # it has no public name
        self.verified, self.all_verified = bytearray(len(sums)), not sums
        self.resident, self.most, self.again = 0, most, again

    def verify(self, first: np.ndarray, last: np.ndarray) -> None:
        """Verifies the blocks that hold ids first[k] ... last[k].

        Raises:
            InputError: a block is damaged.
        """
        size = BLOCK // self.ids.itemsize
        for low, high in zip((first // size).tolist(), (last // size).tolist(), strict=True):
            for k in range(low, high + 1):
                if not self.verified[k]:
                    self._verify_block(k)

    def _verify_block(self, k):
        block = self.bytes[k * BLOCK : (k + 1) * BLOCK]
        if zlib.crc32(block.data) != self.sums[k]:
            raise InputError(
                f"expected the encoded text in {self.path} as it was written, found bytes "
                f"{k * BLOCK:,} to {k * BLOCK + len(block) - 1:,} damaged; delete this file and "
                f"{self.again}"
            )
        self.verified[k] = True
        self.all_verified = 0 not in self.verified  # not counted: two threads may be here
        self.has_read(len(block))

    def has_read(self, count):
        """Counts the bytes read; every `most` bytes, frees the memory that they use."""
        self.resident += count
        if self.resident > self.most:
            self.resident = 0
            if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
                self.mapping.madvise(mmap.MADV_DONTNEED)  # the system may keep them in its cache


class MappedIds:
    """(n,) ids of a mapped file; indexing verifies their blocks and returns a NumPy array.

    Args:
        file: the mapped file.
        begin: the first of its ids in this object.
        end: the first after them.
    """

    ndim = 1

    def __init__(self, file: _File, begin: int, end: int):
        self._file, self._begin, self._end = file, begin, end
        self._unverified = file.ids[begin:end]
        self.shape, self.dtype = self._unverified.shape, self._unverified.dtype

    def __len__(self):
        return self._end - self._begin

    def part(self, begin: int, end: int) -> "MappedIds":
        """Returns ids[begin:end] without reading them."""
        return MappedIds(self._file, self._begin + begin, self._begin + end)

    def __getitem__(self, key):
        """Indexes as NumPy does, with any key; a slice is a view.

        Raises:
            InputError: the file is damaged there.
        """
        if isinstance(key, slice):
            covered = range(len(self))[key]
            if covered:
                self._verify(min(covered[0], covered[-1]), max(covered[0], covered[-1]))
                self._file.has_read(len(covered) * self.dtype.itemsize)
            return self._unverified[key]
        places = np.asarray(key)
        if places.dtype.kind not in "iu" or not len(self):
            return np.asarray(self)[key]
        places = np.unique(places % len(self))
        self._verify(places, places)
        return self._unverified[key]

    def __array__(self, dtype=None, copy=None):
        if len(self):
            self._verify(0, len(self) - 1)
        return np.array(self._unverified, dtype, copy=copy)

    def _verify(self, first, last):
        first, last = np.atleast_1d(first, last)
        self._file.verify(first + self._begin, last + self._begin)


def mapped(
    ids: np.memmap, sums: Sequence[int], path: Path, most: int | None = None, again: str = AGAIN
) -> MappedIds:
    """Returns the ids of a file whose blocks have these checksums.

    Args:
        ids: (n,).
        sums: the CRC-32 of each block.
        path: of the file, for messages.
        most: bytes that stay in memory after they were read; None for `MAX_MAPPED`.
        again: what to do after a damaged file is deleted, for messages.
    """
    file = _File(ids, sums, path, MAX_MAPPED if most is None else most, again)
    return MappedIds(file, 0, len(ids))
