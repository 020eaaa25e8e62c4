"""The share of each core in a loop over time: division, running side by side, and joining."""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from charlm import systems
from charlm.kernels import barrier, parallel
from charlm.kernels.buffer_pool import empty
from charlm.kernels.parallel import edges, side_by_side, sum_parts
from charlm.kernels.registers import COLUMNS, LANES, ROWS

SEQUENCES = 16  # of a group of cores, or more: its cores read fewer weights for more arithmetic
WORTH_WAITING = 2**18  # products; fewer take little longer than the cores' waiting for each other
WORTH_A_MEMBER = 2**25  # products; fewer take little longer than starting a core of a group
BUSY = 0.7  # of its time; a core that is busy for less shares its processor with other threads
LONGEST_REST = 1024  # calls
_rest = 0  # the number of calls in which units are not divided
_next_rest = 2  # that number, the next time that cores are not busy


class Share(NamedTuple):
    """The share of one core, in the order of the loops' arguments."""

    begin: int
    """The range of sequences."""
    end: int
    left: int
    """The range of units."""
    right: int
    barrier: np.ndarray
    """Shared with the cores that compute the other units of these sequences."""
    members: int


def divided(
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
    cores, tiles = parallel.threads(), -(-B // ROWS)
    alone = max(1, min(cores, tiles))
    ranges, whole = edges(B, ROWS, alone), [0, H]
    if divide_units and alone < cores and H % 2 == 0:  # an operand may hold pairs of units
        groups = max(1, B // SEQUENCES)
        products = B * H * GH // groups  # of a group at a time step
        most = min(products // WORTH_WAITING, T * products // WORTH_A_MEMBER, -(-H // COLUMNS))
        members = min(cores // groups, most)
        if members > 1 and groups * members > alone:
            ranges = edges(B, ROWS, groups) if sums or not _rest else ranges
            return ranges, whole if _rests() else edges(H, LANES, members)
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


def run(
    job: Callable,
    sequences: list[int],
    units: list[int],
    prepare: Callable,
    together: Callable = lambda n: None,
) -> list[Any]:
    """Calls job(share, prepare(left, right), together(end - begin)) for every core's share."""
    ranges = list(itertools.pairwise(units))
    arrays = side_by_side([functools.partial(prepare, *pair) for pair in ranges])
    jobs: list[Callable] = []
    barriers: list[np.ndarray] = []
    times: list[tuple[float, float]] = []  # the seconds that cores were busy, and that passed
    for begin, end in itertools.pairwise(sequences):
        barriers.append(barrier.made())
        group, shared = (barriers[-1], len(ranges)), together(end - begin)
        for pair, own in zip(ranges, arrays, strict=True):
            share = Share(begin, end, *pair, *group)
            jobs.append(functools.partial(_watched, times, job, share, own, shared))
    try:
        found = side_by_side(jobs)
    except BaseException:
        for each in barriers:  # not all cores of its group may have been started
            barrier.break_up(each)
        raise
    if len(ranges) > 1 and not systems.IS_WINDOWS:  # which counts steps of 16 ms
        busy, passed = map(sum, zip(*times, strict=True))
        after_group(busy / passed)
    return found


def _watched(times: list, job: Callable, share: Share, *args: Any) -> Any:
    """Calls a job, and appends the seconds that its core was busy, and those that passed.

    If it fails, the cores that wait for this one end, too.
    """
    busy, began = time.thread_time(), time.perf_counter()
    try:
        return job(share, *args)
    except BaseException:
        barrier.break_up(share.barrier)
        raise
    finally:
        times.append((time.thread_time() - busy, time.perf_counter() - began))


def joined(parts: list, units: list[int], G: int) -> list[np.ndarray]:
    """Sums the gradients of the ranges of sequences, and joins those of the ranges of units."""
    ranges = list(itertools.pairwise(units))
    if len(ranges) == 1:
        *others, dU, dd = map(sum_parts, zip(*parts, strict=True))
        return [*others, _joined_groups(dU), dd]
    arrays = [[*others, _joined_groups(dU), dd] for *others, dU, dd in parts]
    H = units[-1]
    found = [empty(*x.shape[:-1], G * H if x.shape[-1] else 0) for x in arrays[0]]

    def place(k, left, right):
        first, *rest = arrays[k :: len(ranges)]
        for j, whole in enumerate(found):
            if whole.size:
                shape = *whole.shape[:-1], G
                own = whole.reshape(*shape, H)[..., left:right]
                own[:] = first[j].reshape(own.shape)
                for part in rest:
                    own += part[j].reshape(own.shape)

    side_by_side([functools.partial(place, k, *pair) for k, pair in enumerate(ranges)])
    return found


def _joined_groups(dU):
    """Joins gradients of U by groups of gates with their own dropped h: (groups, H, G*m)."""
    return dU[0] if len(dU) == 1 else np.concatenate(dU, axis=1)
