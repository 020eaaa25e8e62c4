"""Parallel work on the parts of a batch, one part for each core. Loads no Numba."""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from charlm import systems
from charlm.kernels.buffer_pool import empty
from charlm.kernels.registers import ROWS

WORTH_A_THREAD = 2**17  # additions; fewer take less time than starting a job in another thread


@cache  # the parts of a batch must not change within a run: gradients are summed by them
def threads() -> int:
    """Returns the number of threads: `NUMBA_NUM_THREADS`, or the cores of this process."""
    if given := os.environ.get("NUMBA_NUM_THREADS"):
        return max(1, int(given))
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def sum_parts(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Sums the results of all cores into a contiguous array, which TensorFlow need not copy.

    Each core sums a slice of large arrays; the digits are the same.
    """
    first, *rest = arrays
    found = empty(*first.shape)
    axis = next((k for k, n in enumerate(first.shape) if n >= threads()), 0)

    def part(begin, end):
        at = (slice(None),) * axis + (slice(begin, end),)
        found[at] = first[at]
        for x in rest:
            found[at] += x[at]

    n = first.shape[axis]
    if first.size * len(rest) < WORTH_A_THREAD:
        part(0, n)
    else:
        _share(part, [n * k // threads() for k in range(threads() + 1)])
    return found


def parallel_for(part: Callable[[int, int], Any], B: int) -> list[Any]:
    """Calls part(begin, end) in parallel for every core's share of B rows or sequences."""
    tiles = -(-B // ROWS)
    n = max(1, min(threads(), tiles))
    return _share(part, [min(B, tiles * k // n * ROWS) for k in range(n + 1)])


def _share(part, edges):
    """Calls part(begin, end) for each pair of neighbours among `edges`, one in this thread."""
    first, *others = itertools.pairwise(edges)
    rest = [_pool().submit(part, *edge) for edge in others]
    return [part(*first), *(x.result() for x in rest)]


@cache
def _pool():
    return ThreadPoolExecutor(threads())


systems.at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
