"""Parallel work on the parts of a batch, one part for each core. Loads no Numba."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from charlm import systems
from charlm.kernels.buffer_pool import empty
from charlm.kernels.registers import ROWS


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
    """Sums the results of all cores into a contiguous array, which TensorFlow need not copy."""
    first, *rest = arrays
    found = empty(*first.shape)
    found[:] = first
    for x in rest:
        found += x
    return found


def parallel_for(part: Callable[[int, int], Any], B: int) -> list[Any]:
    """Calls part(begin, end) in parallel for every core's share of B rows or sequences."""
    tiles = -(-B // ROWS)
    n = max(1, min(threads(), tiles))
    edges = [min(B, tiles * k // n * ROWS) for k in range(n + 1)]
    rest = [_pool().submit(part, edges[k], edges[k + 1]) for k in range(1, n)]
    return [part(edges[0], edges[1]), *(x.result() for x in rest)]


@cache
def _pool():
    return ThreadPoolExecutor(threads())


systems.at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
