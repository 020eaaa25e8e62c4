"""Large arrays whose memory is used again, step after step."""

import collections
import math
import mmap
import weakref

import numpy as np

MOST = 64  # blocks that wait to be used again
_free = collections.deque(maxlen=MOST)


def zeros(*shape):
    """`empty`, filled with zeros."""
    array = empty(*shape)
    array[:] = 0
    return array


def empty(*shape):
    """A float32 array, not filled, at the start of a page.

    Fresh memory costs a fault a page, which for these arrays is a good part of a training step; and
    only an array that begins at a multiple of a vector's size goes to TensorFlow without a copy.
    """
    size = 4 * math.prod(shape)
    if size < mmap.PAGESIZE:
        return np.empty(shape, np.float32)
    block = next((b for b in list(_free) if len(b) == size), None)
    try:
        _free.remove(block)
    except ValueError:  # none, or another thread was quicker
        block = mmap.mmap(-1, size)
    array = np.frombuffer(block, np.float32).reshape(shape)
    weakref.finalize(array.base, _free.append, block)
    return array
