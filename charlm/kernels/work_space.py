"""The arrays that the loops over time work in."""

from types import ModuleType

import numpy as np

from charlm.kernels.buffer_pool import empty
from charlm.kernels.matmul import COLUMNS, ROWS, padded, rounded

GATHER = 256  # rows of several time steps in one product, to fill whole tiles
BLOCK = 128  # rows of inputs multiplied ahead; their products stay in the cache


def width(GH: int, drops: int) -> int:
    """Counts the columns that products write for G*H, or for each group, up to whole panels."""
    share = GH // max(1, drops)
    return max(rounded(GH, COLUMNS), GH - share + rounded(share, COLUMNS))


def for_forward(
    factors: ModuleType, n: int, H: int, GH: int, D: int, drops: int, contexts: int, kept: int
) -> tuple[np.ndarray, ...]:
    """Allocates the work space of `time_loop.forward` for n sequences.

    Args:
        factors: the module `float32` or `bfloat16`.
        n: the number of sequences.
        H: the width of the state.
        GH: G*m, the columns of the core's units.
        D: the width of the inputs, 0 if they are rows to read.
        drops: the number of groups with recurrent dropout, else 0.
        contexts: the number of contexts, 0 without.
        kept: the numbers that the core keeps of a step of a sequence.
    """
    R = padded(n)
    block = rounded(max(1, BLOCK // R) * R, ROWS) if D else 0
    return (
        factors.rows(R, H),
        empty(R, width(GH, drops)),
        factors.rows(block, D),
        empty(block, rounded(GH, COLUMNS) if D else 0),
        empty(H),
        empty(GH if contexts else 0),
        empty(kept),
    )


def for_backward(
    factors: ModuleType,
    n: int,
    H: int,
    GH: int,
    D: int,
    drops: int,
    split: bool,
    m: int,
    kept: int,
    own_D: int,
    shared: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> tuple[np.ndarray, ...]:
    """Allocates the work space of `time_loop.backward` for n sequences.

    Args:
        factors ... drops: as in `for_forward`.
        split: `cell.SPLIT`.
        m: the number of the core's units.
        kept: as in `for_forward`.
        own_D: the number of inputs whose gradient the core computes.
        shared: from `shared_gradients`, if several cores compute the units.
    """
    R, (most, rows) = padded(n), _gathered(n)
    du = factors.gradients(rows, width(GH, drops), shared[0])
    if not split:
        dx = du
    elif D:
        dx = factors.gradients(rows, rounded(GH, COLUMNS), shared[1])
    else:
        dx = (empty(1, GH), *factors.gradients(0, 0)[1:])
    return (
        *du,
        *dx,
        factors.summed(max(1, drops), rows, H),
        factors.summed(1, rows if D else 0, D)[0],
        empty(R, rounded(m, COLUMNS)),
        empty(R if drops else 0, rounded(m, COLUMNS)),
        empty(rows if D else 0, rounded(own_D, COLUMNS)),
        np.empty((most, 2), np.int64),
        empty(H),
        empty(kept),
    )


def shared_gradients(
    factors: ModuleType, n: int, GH: int, drops: int, split: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Allocates du and dx as left operands, G*H columns, in which cores write those of their units.

    Without `split` both are the same.
    """
    du = factors.gradients(_gathered(n)[1], width(GH, drops))[1]
    return du, factors.gradients(_gathered(n)[1], width(GH, drops))[1] if split else du


def _gathered(n):
    """Returns how many rows are gathered at most, and how many a product of them may read."""
    R = padded(n)
    most = (max(1, GATHER // R) + 1) * R
    return most, rounded(most, ROWS) + ROWS
