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
    factors: ModuleType, n: int, H: int, GH: int, D: int, drops: int, contexts: int
) -> tuple[np.ndarray, ...]:
    """Allocates the work space of `time_loop.forward` for n sequences.

    Args:
        factors: the module `float32` or `bfloat16`.
        n: the number of sequences.
        H: the width of the state.
        GH: G*H.
        D: the width of the inputs, 0 if they are rows to read.
        drops: the number of groups with recurrent dropout, else 0.
        contexts: the number of contexts, 0 without.
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
    )


def for_backward(
    factors: ModuleType, n: int, H: int, GH: int, D: int, drops: int, split: bool
) -> tuple[np.ndarray, ...]:
    """Allocates the work space of `time_loop.backward`; `split` is `cell.SPLIT`."""
    R = padded(n)
    most = (max(1, GATHER // R) + 1) * R  # rows gathered; a product reads up to a whole tile
    rows = rounded(most, ROWS) + ROWS
    du = factors.gradients(rows, width(GH, drops))
    if not split:
        dx = du
    elif D:
        dx = factors.gradients(rows, rounded(GH, COLUMNS))
    else:
        dx = (empty(1, GH), *factors.gradients(0, 0)[1:])
    return (
        *du,
        *dx,
        factors.summed(max(1, drops), rows, H),
        factors.summed(1, rows if D else 0, D)[0],
        empty(R, rounded(H, COLUMNS)),
        empty(R if drops else 0, rounded(H, COLUMNS)),
        empty(rows if D else 0, rounded(D, COLUMNS)),
        np.empty((most, 2), np.int64),
        empty(H),
    )
