"""Large arrays whose memory is used again, step after step."""

import contextlib
import math
import mmap
import os
import threading
import weakref

import numpy as np

MOST = 2**30  # bytes that may wait to be used again
_free = []  # blocks, the longest unused first
_lock = threading.RLock()
# or a child could begin with the lock held by a thread that it does not have
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


def zeros(*shape):
    """`empty`, filled with zeros."""
    array = empty(*shape)
    array[:] = 0
    return array


def empty(*shape):
    """A float32 array, not filled, at the start of a page.

    Fresh memory costs a fault a page, which for these arrays can be longer than what is computed in
    them; and only an array that begins at a multiple of a vector's size goes to TensorFlow without
    a copy.
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
        # none fits; or it was taken meanwhile, for garbage is collected at any time
        with contextlib.suppress(ValueError):
            block = min(fits, key=len)
            _free.remove(block)
            return block
    # by default it would be shared: a forked child would write into its parent's arrays
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # on Linux: pages of 2 MiB, each found and made in one go
        with contextlib.suppress(OSError):  # a kernel without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _release(block):
    with _lock:
        _free.append(block)
        while sum(map(len, _free)) > MOST:
            _free.pop(0)
