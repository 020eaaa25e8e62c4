"""Factors of products as `matmul` reads them, in float32."""

from charlm.kernels import matmul
from charlm.kernels.buffer_pool import empty
from charlm.kernels.jit import jit
from charlm.kernels.matmul import PADDING, ROWS, rounded

AVAILABLE = True
IN_WORD = 1  # numbers in an element of a factor

pack_panels = matmul.pack_panels


def rows(R, K):
    """Space for R rows of a first factor, K numbers each."""
    return empty(R, K)


def summed(n, rows, N):
    """Space for n factors whose rows, N numbers each, are summed over."""
    return empty(n, rows, rounded(N, ROWS))


def gradients(rows, N):
    """Space for rows of N gradients, of which `rows` are kept; N a multiple of COLUMNS.

    Returns:
        The rows themselves; the same as a first factor; the same as a factor whose rows are summed
        over.
    """
    du = empty(rows, N + PADDING)
    return du, du, du


@jit
def put(to, row, values):
    """Writes values (K,) into a row of a first factor, or of one whose rows are summed over."""
    for k in range(len(values)):
        to[row, k] = values[k]


put_summed = put


@jit
def put_gradient(_first, _summed, _row, _du):
    """Nothing: du is both factors itself."""
