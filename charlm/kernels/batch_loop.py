"""A cell over time for a whole batch; each core computes a part of the sequences."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from charlm.kernels import time_loop, work_space
from charlm.kernels.arrays import require
from charlm.kernels.batch import Batch
from charlm.kernels.buffer_pool import empty, zeros
from charlm.kernels.denormals import flushed
from charlm.kernels.jit import specialized
from charlm.kernels.matmul import sums
from charlm.kernels.parallel import parallel_for, sum_parts


def forward(
    cell: ModuleType, factors: ModuleType, batch: Batch, keep: bool = True, show_first: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Computes every step of a batch.

    Args:
        cell: from `jit.cell`.
        factors: the module of the products' precision, `float32` or `bfloat16`.
        batch: a `Batch`.
        keep: keep what `backward` needs.
        show_first: return a sequence's initial h, instead of zeros, for the steps before the first
            one that it takes.

    Returns:
        The states after every step, S of (B, T, H); the states after the last step, S of (B, H);
        and an array (B, T, C) for `backward`, or an unused (B, 1, C) without `keep`.

    Raises:
        ValueError: arrays that do not fit together, or an id without a row.
    """
    B, T, H, GH = batch.sizes(cell)
    first = batch.states
    states = [empty(B, T, H) for _ in first]
    kept = empty(B, T if keep else 1, cell.CACHE * H)
    rows, index, added, contexts, x, live, start, drop = batch.laid_out(B, T)
    arrays = (
        *(
            rows,
            index,
            added,
            contexts,
            x,
            factors.pack_panels(_or_zeros(batch.W, 1, GH)),
            _or_zeros(batch.b, GH),
        ),
        *(_panels(factors, batch.U, drop), _or_zeros(batch.d, GH), live, start, drop),
        *(first[0], first[-1], states[0], states[-1], kept, show_first),
    )
    loop = specialized(time_loop.forward, cell=cell, factors=factors)

    def part(begin, end):
        n, sizes = end - begin, (H, GH, x.shape[2], len(drop), len(added))
        space = work_space.for_forward(factors, n, *sizes)
        with flushed():
            loop(*arrays, begin, end, *space)

    if B * T:
        parallel_for(part, B)
    never = (start == T)[:, None]
    last = [np.where(never, a, s[:, -1] if T else a) for a, s in zip(first, states, strict=True)]
    return states, last, kept


def backward(
    cell: ModuleType,
    factors: ModuleType,
    batch: Batch,
    states: Sequence[np.ndarray],
    kept: np.ndarray,
    d_h: np.ndarray,
    d_last: Sequence[np.ndarray],
    show_first: bool = False,
) -> Batch:
    """Back-propagates through time for a batch.

    Args:
        cell, factors, batch: those given to `forward`.
        states: the states after every step, from `forward`.
        kept: the array for `backward`, from `forward`.
        d_h: dLoss/dh of every step, (B, T, H).
        d_last: dLoss/d(states after the last step), in addition to d_h, S of (B, H).
        show_first: as given to `forward`.

    Returns:
        A `Batch` with the gradient of each array that was given and has one.

    Raises:
        ValueError: arrays that do not fit together.
    """
    B, T, H, GH = batch.sizes(cell)
    _check_gradients(cell, (B, T, H), states, kept, d_h, d_last)
    first, d_first = batch.states, [np.array(x) for x in d_last]  # changed in place
    rows, index, added, contexts, x, live, start, drop = batch.laid_out(B, T)
    D, groups = x.shape[2], max(1, len(drop))
    share = GH // groups
    d_x, shared = zeros(*x.shape), zeros(*rows.shape) if batch.ids is None else None
    panels = factors.pack_panels(_or_zeros(batch.W, 1, GH).T), _panels(factors, batch.U.T, drop)
    arrays = (
        *(index, contexts, x, *panels, live, start, drop),
        *(first[0], first[-1], states[0], states[-1], kept, show_first),
        *(d_h, d_first[0], d_first[-1]),
    )
    loop = specialized(time_loop.backward, cell=cell, factors=factors)

    def part(begin, end):
        d_rows = zeros(*rows.shape) if shared is None else shared  # several cores may share a row
        d_added = zeros(*added.shape)
        dW, dU = sums(D, GH), sums(groups, H, share)
        db, dd = zeros(0 if batch.b is None else GH), zeros(0 if batch.d is None else GH)
        if (end - begin) * T:
            sizes = H, GH, D, len(drop), cell.SPLIT
            space = work_space.for_backward(factors, end - begin, *sizes)
            with flushed():
                loop(*arrays, d_rows, d_added, d_x, dW, db, dU, dd, begin, end, *space)
        return d_rows, d_added, dW[:D, :GH], db, dU[:, :H, :share], dd

    return _joined(batch, parallel_for(part, B), shared, d_first, d_x)


def _joined(batch, parts, shared, d_first, d_x):
    """Sums the gradients of the parts; leaves out those of arrays that were not given."""
    of_rows, *others = zip(*parts, strict=True)
    d_rows = sum_parts(of_rows) if shared is None else shared
    d_added, dW, db, dU, dd = map(sum_parts, others)
    found = Batch(
        U=dU[0] if len(dU) == 1 else np.concatenate(dU, axis=1),  # groups with their own dropped h
        h=d_first[0],
        c=d_first[-1],
        d=dd,
        x=d_x,
        W=dW,
        b=db,
        rows=d_rows.reshape(_or_zeros(batch.rows, 0).shape),
        context_rows=d_added,
    )
    pairs = zip(found, batch, strict=True)
    wanted: Any = (g if given is not None else None for g, given in pairs)
    return Batch(*wanted)


def _check_gradients(cell, shape, states, kept, d_h, d_last):
    """Checks the arguments of `backward` for states of the shape (B, T, H)."""
    B, T, H = shape
    if {len(states), len(d_last)} != {cell.STATES}:
        raise ValueError(
            f"Expected {cell.STATES} of states and of d_last. "
            f"Received: {len(states)} and {len(d_last)}"
        )
    for array in (*states, d_h):
        require("states and d_h", array, (B, T, H))
    for array in d_last:
        require("d_last", array, (B, H))
    require("kept", kept, (B, T, cell.CACHE * H))


def _panels(factors, U, drop):
    """Packs U or U^T for each group of gates with its own dropped h."""
    if not len(drop):
        return factors.pack_panels(U)[None]
    axis = int(U.shape[0] < U.shape[1])
    return np.stack([factors.pack_panels(u) for u in np.split(U, len(drop), axis)])


def _or_zeros(array, *shape):
    return np.zeros(shape, np.float32) if array is None else array
