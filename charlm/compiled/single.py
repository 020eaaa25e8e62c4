"""Factors of products as `matmul` reads them, in float32."""

from charlm.compiled import matmul
from charlm.compiled.compiler import compiled
from charlm.compiled.matmul import COLUMNS, ROWS, rounded
from charlm.compiled.memory import empty

AVAILABLE = True
IN_WORD = 1  # numbers in an element of a factor

panels = matmul.panels


def rows(R, K):
    """Space for R rows of a first factor, K numbers each."""
    return empty(R, K)


def gradients(n, R, H, GH):
    """Space for n rows of dLoss/du, R of them a time step, and of the h that they go with.

    Returns:
        du, one row of it after the other; the same as a first factor of R rows; the same, and h,
        as factors whose rows are summed over.
    """
    # not a power of two, or a column's numbers would all compete for one place in the cache
    du = empty(n, rounded(GH, COLUMNS) + 16)
    return du, du, du, empty(n, rounded(H, ROWS) + 16)


@compiled
def put(to, row, values):
    """Writes values (K,) into a row of a first factor, or of one whose rows are summed over."""
    for k in range(len(values)):
        to[row, k] = values[k]


put_below = put


@compiled
def put_gradient(_first, _row, _below, _row_below, _du):
    """Nothing: du is both factors itself."""
