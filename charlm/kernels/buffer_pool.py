"""Large arrays whose memory is reused, step after step."""

import contextlib
import math
import mmap
import threading
import weakref

import numpy as np

from charlm import systems

MOST = 2**30  # bytes of free blocks kept for reuse
PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)  # not on Windows
_free: list[mmap.mmap] = []  # blocks, the longest unused first
_lock = threading.RLock()
# or a child could start with the lock held by a thread that it does not have
systems.at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def zeros(*shape: int) -> np.ndarray:
    """Allocates an array of zeros, as `empty` does."""
    array = empty(*shape)
    array[:] = 0
    return array


def empty(*shape: int) -> np.ndarray:
    """Allocates an uninitialized float32 array at the start of a page.

    New memory costs a page fault for each page, which for these arrays can take longer than the
    computation. TensorFlow takes an array without a copy only if it is aligned to a vector.
    """
    count = math.prod(shape)
    if 4 * count < mmap.PAGESIZE:
        return np.empty(shape, np.float32)
    block = _block(4 * count)
    array = np.frombuffer(block, np.float32, count)
    weakref.finalize(array, _release, block)
    return array.reshape(shape)


def _block(size):
    with _lock:
        fits = [block for block in _free if size <= len(block) <= 2 * size]
        # none fits; or garbage collection took it meanwhile
        with contextlib.suppress(ValueError):
            block = min(fits, key=len)
            _free.remove(block)
            return block
    # shared by default: a forked child would write into its parent's arrays
    private = {"flags": PRIVATE} if PRIVATE else {}
    block = mmap.mmap(-1, size, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # on Linux: pages of 2 MiB, one fault for each
        with contextlib.suppress(OSError):  # a kernel without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _release(block):
    with _lock:
        _free.append(block)
        while sum(map(len, _free)) > MOST:
            _free.pop(0)
