"""Parallel work on a batch, one part for each core. Loads no Numba."""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from charlm import systems
from charlm.kernels.buffer_pool import empty
from charlm.kernels.registers import COLUMNS, LANES, ROWS

WORTH_A_THREAD = 2**17  # additions; fewer take less time than starting a job in another thread
SEQUENCES = 16  # of a group of cores, or more: its cores read fewer weights for more arithmetic
WORTH_WAITING = 2**18  # products; fewer take little longer than the cores' waiting for each other
WORTH_A_MEMBER = 2**25  # products; fewer take little longer than starting a core of a group
BUSY = 0.7  # of its time; a core that is busy for less shares its processor with other threads
LONGEST_REST = 1024  # calls
_starting = threading.Lock()
_rest = 0  # the number of calls in which units are not divided
_next_rest = 2  # that number, the next time that cores are not busy


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
        _share(part, _edges(n, 1, threads()))
    return found


def parallel_for(part: Callable[[int, int], Any], B: int) -> list[Any]:
    """Calls part(begin, end) in parallel for every core's share of B rows or sequences."""
    return _share(part, _edges(B, ROWS, max(1, min(threads(), -(-B // ROWS)))))


def shares(
    B: int, T: int, H: int, GH: int, divide_units: bool = True, sums: bool = True
) -> tuple[list[int], list[int]]:
    """Divides the time steps of a recurrent layer among the cores.

    If there are enough sequences, each core computes all units of some of them, and no core waits
    for another. Otherwise each group of cores has some sequences, and a core computes some of their
    units; the group waits for each other at every time step. While other threads use the
    processors, one core does the work of its group, with the same digits.

    Args:
        B: the number of sequences.
        T: the number of time steps.
        H: the number of units.
        GH: the columns of the recurrent kernel, G*H.
        divide_units: whether several cores may compute the units of a sequence.
        sums: whether results are summed over sequences. Then the ranges of sequences are the same
            whatever other threads do.

    Returns:
        The edges of the ranges of sequences, and those of the ranges of units.
    """
    cores, tiles = threads(), -(-B // ROWS)
    alone = max(1, min(cores, tiles))
    ranges, whole = _edges(B, ROWS, alone), [0, H]
    if divide_units and alone < cores and H % 2 == 0:  # an operand may hold pairs of units
        groups = max(1, B // SEQUENCES)
        products = B * H * GH // groups  # of a group at a time step
        most = min(products // WORTH_WAITING, T * products // WORTH_A_MEMBER, -(-H // COLUMNS))
        members = min(cores // groups, most)
        if members > 1 and groups * members > alone:
            ranges = _edges(B, ROWS, groups) if sums or not _rest else ranges
            return ranges, whole if _rests() else _edges(H, LANES, members)
    return ranges, whole


def after_group(busy: float) -> None:
    """Stops dividing units for a while, each time longer, if cores share their processors.

    Args:
        busy: the part of the time in which the cores of a group were busy, or spinning.
    """
    global _rest, _next_rest
    _rest = _next_rest if busy < BUSY else 0
    _next_rest = min(2 * _next_rest, LONGEST_REST) if _rest else 2


def _rests():
    """Whether to rest in this call."""
    global _rest
    rests, _rest = _rest > 0, max(0, _rest - 1)
    return rests


def _edges(n, unit, parts):
    """Divides n into `parts` ranges of whole units, as equal as possible."""
    units = -(-n // unit)
    return [min(n, units * k // parts * unit) for k in range(parts + 1)]


def _share(part, edges):
    """Calls part(begin, end) for each pair of neighbours among `edges`."""
    return side_by_side([functools.partial(part, *edge) for edge in itertools.pairwise(edges)])


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
