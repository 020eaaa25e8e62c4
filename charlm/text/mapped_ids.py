"""Ids in a file that is mapped, each block of which is verified when it is first read.

The only ways to the ids of a `MappedIds` are its index, `Streams` and `np.asarray`, and each of
them verifies the blocks it reads before it returns an array. So no reader can forget to.
"""

import mmap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charlm.errors import InputError

# Bytes of a block. CRC-32 takes 0.08 ms for it, so the calls cost nothing; and a window, which
# begins in as many blocks as there are streams, does not have to read much more than itself.
BLOCK = 2**18
MAX_MAPPED = 2**26  # bytes of the file that are kept in the process's memory after they were read


def checksums(file: BinaryIO, size: int) -> list[int]:
    """The CRC-32 of each block of the file's first `size` bytes."""
    file.seek(0)
    return [zlib.crc32(file.read(min(BLOCK, size - at))) for at in range(0, size, BLOCK)]


class _File:
    """All ids of a mapped file, and which blocks of it were verified.

    Args:
        ids: (n,). sums: the CRC-32 of each block. path: the file's, for messages.
    """

    def __init__(self, ids: np.memmap, sums: Sequence[int], path: Path):
        self.ids, self.sums, self.path = np.asarray(ids), sums, path
        self.bytes = self.ids.view(np.uint8)
        self.mapping = ids._mmap  # NumPy has no public name for it
        self.verified, self.all_verified = bytearray(len(sums)), not sums
        self.resident = 0

    def verify(self, first: np.ndarray, last: np.ndarray) -> None:
        """Verifies the blocks of ids first[k] ... last[k].

        Raises:
            InputError: a block is not as it was written.
        """
        size = BLOCK // self.ids.itemsize
        for low, high in zip((first // size).tolist(), (last // size).tolist(), strict=True):
            for k in range(low, high + 1):
                if not self.verified[k]:
                    self._verify_block(k)

    def _verify_block(self, k):
        block = self.bytes[k * BLOCK : (k + 1) * BLOCK]
        if zlib.crc32(block) != self.sums[k]:
            raise InputError(
                f"expected the encoded text in {self.path} as it was written, found bytes "
                f"{k * BLOCK:,} to {k * BLOCK + len(block) - 1:,} damaged; delete this file and "
                "start again, which encodes the text again"
            )
        self.verified[k] = True
        self.all_verified = 0 not in self.verified  # not counted, for two threads may be here
        self.has_read(len(block))

    def has_read(self, count):
        """Counts bytes; from time to time takes what was read out of the process's memory."""
        self.resident += count
        if self.resident > MAX_MAPPED:
            self.resident = 0
            self.mapping.madvise(mmap.MADV_DONTNEED)  # the system may have it in its own cache


class MappedIds:
    """(n,) ids of a mapped file. Reading some verifies their blocks and returns a NumPy array.

    Args:
        file: the mapped file. begin, end: which of its ids these are.
    """

    ndim = 1

    def __init__(self, file: _File, begin: int, end: int):
        self._file, self._begin, self._end = file, begin, end
        self._unverified = file.ids[begin:end]
        self.shape, self.dtype = self._unverified.shape, self._unverified.dtype

    def __len__(self):
        return self._end - self._begin

    def part(self, begin: int, end: int) -> "MappedIds":
        """Some of them; nothing is read."""
        return MappedIds(self._file, self._begin + begin, self._begin + end)

    def __getitem__(self, key):
        """As NumPy's, for any key; a slice is no copy.

        Raises:
            InputError: what it would return is damaged.
        """
        if isinstance(key, slice):
            places = range(len(self))[key]
            if places:
                self._verify(min(places[0], places[-1]), max(places[0], places[-1]))
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

    def ring(self, begin: np.ndarray, length: int) -> np.ndarray:
        """All of them, to be read as a ring from `begin` (k,) on, `length` ids each time.

        Only those stretches are verified.
        """
        n = len(self)
        first = begin % n
        last = first + (length - 1)
        if (over := int(last.max()) - n) >= 0:  # they turn to the beginning
            self._verify(0, min(over, n - 1))
            last = np.minimum(last, n - 1)
        self._verify(first, last)
        self._file.has_read(length * len(begin) * self.dtype.itemsize)
        return self._unverified

    def _verify(self, first, last):
        first, last = np.atleast_1d(first, last)
        self._file.verify(first + self._begin, last + self._begin)


class Streams:
    """Streams that run side by side through ids, which are taken as a ring.

    Args:
        ids: (n,), mapped or in memory. begin: (B,), where each stream begins.
    """

    def __init__(self, ids: np.ndarray | MappedIds, begin: np.ndarray):
        self._ids, self._begin = ids, begin
        self._ring, self._checked = ids, (0, 0)  # which places of each stream are verified

    def rows(self, at: np.ndarray, length: int) -> np.ndarray:
        """The next ids from places (...) of each stream on: (..., B, length)."""
        places = (self._begin + at[..., None])[..., None] + np.arange(length)
        return np.take(self._verified(at, length), places, mode="wrap")

    def _verified(self, at, length):
        low, high = int(at.min()), int(at.max()) + length
        if isinstance(self._ids, MappedIds) and not (
            self._checked[0] <= low and high <= self._checked[1]
        ):
            # and what follows: to ask for each window would take as long as to read it
            high += BLOCK // self._ids.dtype.itemsize
            self._ring = self._ids.ring(self._begin + low, high - low)
            self._checked = low, high
        return self._ring


def mapped(ids: np.memmap, sums: Sequence[int], path: Path) -> MappedIds:
    """The ids of a file, whose blocks have these checksums."""
    return MappedIds(_File(ids, sums, path), 0, len(ids))


def part(ids: np.ndarray | MappedIds, begin: int, end: int) -> np.ndarray | MappedIds:
    """ids[begin:end], of which nothing is read yet."""
    return ids.part(begin, end) if isinstance(ids, MappedIds) else ids[begin:end]
