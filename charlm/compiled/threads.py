"""A cell over time for a whole batch: each core takes a part of the sequences."""

import numpy as np

from charlm.compiled import through_time
from charlm.compiled.compiler import made_for
from charlm.compiled.cores import each, total
from charlm.compiled.matmul import COLUMNS, ROWS, rounded
from charlm.compiled.memory import empty, zeros


def forward(cell, factors, rows, ids, weights, first, keep=True):
    """Every step of a batch.

    Args:
        cell: a module of `charlm.compiled`.
        factors: the module `single` or `half`, of the recurrent products' precision.
        rows: (N, G*H), the inputs' share of the pre-activations.
        ids: (B, T) int32, which of the rows is that of a sequence and step; or None, then they are
            (B * T) in order.
        weights: U (H, G*H), and d (G*H,) if h' U has a bias.
        first: the states before the first step, S of (B, H).
        keep: what `backward` needs.

    Returns:
        The states after every step, S of (B, T, H), and (B, T, C) that `backward` needs, or
        (B, 1, C) of no use.

    Raises:
        ValueError: an id that is no row's.
    """
    (B, H), (U, *d) = first[0].shape, weights
    index = _index(ids, len(rows), B)
    T = index.shape[1]
    states = [empty(B, T, H) for _ in first]
    kept = empty(B, T if keep else 1, cell.CACHE * H)
    bias = d[0] if d else np.zeros(U.shape[1], np.float32)
    arrays = (
        rows,
        index,
        factors.panels(U),
        bias,
        first[0],
        first[-1],
        states[0],
        states[-1],
        kept,
    )
    loop = made_for(through_time.forward, cell=cell, factors=factors)

    def part(begin, end):
        loop(*arrays, begin, end, *through_time.forward_space(factors, end - begin, *U.shape))

    each(part, B)
    return *states, kept


def backward(cell, factors, rows, ids, weights, first, states, kept, d_h, d_last):
    """Back-propagation through time of a batch.

    Args:
        cell ... first: as given to `forward`. states, kept: as it returned them.
        d_h: dLoss/dh of every step, (B, T, H).
        d_last: dLoss/d(states after the last step) beside that, S of (B, H).

    Returns:
        dLoss/d(rows), of each of the weights, and of the first states, in a list.
    """
    (B, H), (U, *d) = first[0].shape, weights
    index, GH = _index(ids, len(rows), B), U.shape[1]
    d_first = [np.array(x) for x in d_last]  # changed in place
    common = zeros(*rows.shape) if ids is None else None
    loop = made_for(through_time.backward, cell=cell, factors=factors)
    arrays = (index, factors.panels(U.T), first[0], first[-1], states[0], states[-1], kept, d_h)

    def part(begin, end):
        d_rows = zeros(*rows.shape) if common is None else common
        dU, dd = zeros(rounded(H, ROWS), rounded(GH, COLUMNS)), zeros(GH if d else 0)
        space = through_time.backward_space(factors, end - begin, H, GH)
        loop(*arrays, d_first[0], d_first[-1], d_rows, dU, dd, begin, end, *space)
        return d_rows, dU[:H, :GH], dd

    d_rows, dU, dd = zip(*each(part, B), strict=True)
    d_rows = total(d_rows) if common is None else common
    return [d_rows, total(dU), *([total(dd)] if d else []), *d_first]


def _index(ids, N, B):
    if ids is None:
        return np.arange(N, dtype=np.int32).reshape(B, -1)
    low, high = ids.min(initial=0), ids.max(initial=0)
    if low < 0 or high >= N:
        raise ValueError(f"Expected ids from 0 to {N - 1}. Received: ids from {low} to {high}")
    return ids
