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


def gradients(rows: int, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Allocates `rows` rows of N gradients; N is a multiple of COLUMNS.

    Returns:
        The rows; the rows as a left operand; the rows as an operand that is summed over its rows.
    """
    du = empty(rows, N + PADDING)
    return du, du, du


@jit
def put(to, row, values):
    """Writes values (K,) into a row of either kind of operand."""
    for k in range(len(values)):
        to[row, k] = values[k]


put_summed = put


@jit
def put_gradient(_first, _summed, _row, _du):
    """Does nothing: du itself is both operands."""
