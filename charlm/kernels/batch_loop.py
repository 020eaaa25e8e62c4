"""A cell over time for a whole batch; each core computes some units of some sequences."""

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
from charlm.kernels.shares import divided, joined, run


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
    before_and_after = first[0], first[-1], states[0], states[-1]
    sequences, units = _shares(batch, cell, sums=False)
    loop = specialized(time_loop.forward, cell=cell, factors=factors)

    def prepare(left, right):
        """Returns the arguments of `loop` for some units."""

        def own(array, *shape):
            return _own_columns(_or_zeros(array, *shape, GH), cell.GATES, left, right)

        inputs = own(rows), index, own(added), contexts, x
        W, b = factors.pack_panels(own(batch.W, 1)), own(batch.b)
        U = _panels(factors, own(batch.U), len(drop), axis=1)
        return *inputs, W, b, U, own(batch.d), live, start, drop, *before_and_after, kept

    def job(share, arrays, _):
        n, m = share.end - share.begin, share.right - share.left
        sizes = H, cell.GATES * m, x.shape[2], len(drop), len(added), cell.CACHE * m
        space = work_space.for_forward(factors, n, *sizes)
        with flushed():
            loop(*arrays, show_first, *share, *space)

    if B * T:
        run(job, sequences, units, prepare)
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
    d_x, shared = zeros(*x.shape), None
    if batch.rows is not None and batch.ids is None:
        shared = zeros(*rows.shape)
    fixed = first[0], first[-1], states[0], states[-1]
    changed = d_h, d_first[0], d_first[-1]
    sequences, units = _shares(batch, cell, sums=True)
    edges_of_x = {edge: D * k // (len(units) - 1) for k, edge in enumerate(units)}
    loop = specialized(time_loop.backward, cell=cell, factors=factors)

    def prepare(left, right):
        """Returns the arguments of `loop` for some units."""
        part_of_x = slice(edges_of_x[left], edges_of_x[right])
        W_t = factors.pack_panels(_or_zeros(batch.W, 1, GH)[part_of_x if D else slice(1)].T)
        U_t = _panels(factors, batch.U[left:right].T, len(drop), axis=0)
        return index, contexts, x, W_t, U_t, live, start, drop, *fixed, kept, show_first, *changed

    def together(n):
        """Allocates what the cores of a group share."""
        if len(units) == 2:
            return None, None
        return work_space.shared_gradients(factors, n, GH, len(drop), cell.SPLIT and D > 0)

    def job(share, arrays, operands):
        m = share.right - share.left
        GM, part_of_x = cell.GATES * m, (edges_of_x[share.left], edges_of_x[share.right])
        d_rows = zeros(len(rows), GM) if shared is None else shared  # sequences may share a row
        d_added = zeros(len(added), GM)
        dW, dU = sums(D, GM), sums(groups, H, GM // groups)
        db, dd = zeros(0 if batch.b is None else GM), zeros(0 if batch.d is None else GM)
        if (share.end - share.begin) * T:
            sizes = H, GM, D, len(drop), cell.SPLIT, m, cell.CACHE * m, part_of_x[1] - part_of_x[0]
            space = work_space.for_backward(factors, share.end - share.begin, *sizes, operands)
            gradients = d_rows, d_added, d_x, dW, db, dU, dd
            with flushed():
                loop(*arrays, *gradients, *share, *part_of_x, *space)
        own_rows = d_rows if shared is None else d_rows[:0]  # nothing to be summed
        return own_rows, d_added, dW[:D, :GM], db, dU[:, :H, : GM // groups], dd

    parts = run(job, sequences, units, prepare, together)
    d_rows, d_added, dW, db, dU, dd = joined(parts, units, cell.GATES)
    found = Batch(
        U=dU,
        h=d_first[0],
        c=d_first[-1],
        d=dd,
        x=d_x,
        W=dW,
        b=db,
        rows=(d_rows if shared is None else shared).reshape(_or_zeros(batch.rows, 0).shape),
        context_rows=d_added,
    )
    pairs = zip(found, batch, strict=True)
    wanted: Any = (g if given is not None else None for g, given in pairs)
    return Batch(*wanted)


def _shares(batch, cell, sums):
    """Returns the edges of the ranges of sequences and of units."""
    B, T, H, GH = batch.sizes(cell)
    few_rows = batch.rows is None or (batch.ids is not None and len(batch.rows) <= B * T)
    return divided(B, T, H, GH, few_rows, sums)  # each core copies its columns of all rows


def _own_columns(array, G, left, right):
    """Takes the columns (..., G*m) of units left..right from (..., G*H)."""
    *shape, GH = array.shape
    m, H = right - left, GH // G
    if m == H:
        return array
    own = array.reshape(*shape, G, H)[..., left:right]
    return np.ascontiguousarray(own.reshape(*shape, G * m))


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


def _panels(factors, U, drops, axis):
    """Packs U or U^T for each group of gates with its own dropped h."""
    if not drops:
        return factors.pack_panels(U)[None]
    return np.stack([factors.pack_panels(u) for u in np.split(U, drops, axis)])


def _or_zeros(array, *shape):
    return np.zeros(shape, np.float32) if array is None else array
