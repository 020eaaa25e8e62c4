"""Parallel work on a batch, one part for each core. Loads no Numba."""

import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from charlm import systems
from charlm.kernels.buffer_pool import empty
from charlm.kernels.registers import ROWS

# fewer take less time than starting a job in another thread
WORTH_A_THREAD = 2**17  # additions
WORTH_ALL_THREADS = 2**25  # multiplications of a product
_starting = threading.Lock()


@functools.cache  # the parts of a batch must not change within a run: gradients are summed by them
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
        _share(part, edges(n, 1, threads()))
    return found


def parallel_for(part: Callable[[int, int], Any], B: int, work: float = math.inf) -> list[Any]:
    """Calls part(begin, end) in parallel for every core's share of B rows or sequences.

    Args:
        part: the function.
        B: the number of rows or sequences.
        work: about how many multiplications of a product take as long as all of them; of few, one
            core computes all rows.
    """
    cores = threads() if work >= WORTH_ALL_THREADS else 1
    return _share(part, edges(B, ROWS, max(1, min(cores, -(-B // ROWS)))))


def edges(n: int, unit: int, parts: int) -> list[int]:
    """Divides n into `parts` ranges of whole units, as equal as possible."""
    units = -(-n // unit)
    return [min(n, units * k // parts * unit) for k in range(parts + 1)]


def _share(part, ends):
    """Calls part(begin, end) for each pair of neighbours among `ends`."""
    return side_by_side([functools.partial(part, *edge) for edge in itertools.pairwise(ends)])


def side_by_side(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Calls all jobs, the first one in this thread. There must be no more of them than `threads()`.

    They may wait for each other, because all of them are started before those of any later call.
    """
    first, *others = jobs
    with _starting:
        rest = [_pool(threads()).submit(job) for job in others]
    return [first(), *(x.result() for x in rest)]


@functools.cache
def _pool(n):
    return ThreadPoolExecutor(n)


# or a child could start with the lock held by a thread that it does not have
systems.at_fork(
    before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release
)
systems.at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
