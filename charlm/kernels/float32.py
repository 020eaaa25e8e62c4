"""Operands of products in float32, as `matmul` reads them."""

import numpy as np

from charlm.kernels import matmul
from charlm.kernels.buffer_pool import empty
from charlm.kernels.jit import jit
from charlm.kernels.matmul import PADDING, ROWS, rounded

AVAILABLE = True
IN_WORD = 1  # numbers in an element of an operand

pack_panels = matmul.pack_panels


def rows(R: int, K: int) -> np.ndarray:
    """Allocates R rows of a left operand, K numbers each."""
    return empty(R, K)


def summed(n: int, rows: int, N: int) -> np.ndarray:
    """Allocates n operands that are summed over their rows, N numbers each."""
    return empty(n, rows, rounded(N, ROWS))


def gradients(
    rows: int, N: int, shared: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Allocates `rows` rows of N gradients; N is a multiple of COLUMNS.

    Args:
        shared: the left operand, if several cores write it.

    Returns:
        The rows; the rows as a left operand; the rows as an operand that is summed over its rows.
    """
    du = empty(rows, N + PADDING)
    return du, du if shared is None else shared, du


@jit
def put(to, row, values):
    """Writes values (K,) into a row of either kind of operand."""
    for k in range(len(values)):
        to[row, k] = values[k]


put_summed = put


@jit
def put_gradient(first, _summed, row, du, H, left, right):
    """Copies du (G*m,), of units left..right of H, into a row of a left operand that is shared.

    Without others du itself is both operands.
    """
    m = right - left
    for g in range(len(du) // m if m < H else 0):
        for j in range(m):
            first[row, g * H + left + j] = du[g * m + j]
