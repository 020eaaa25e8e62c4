"""A product of small matrices, written for the registers of one core.

A BLAS packs its right operand in every call, because it cannot know that the same matrix will come
again. A recurrent kernel is used at every time step, so it is packed once for all of them: into
panels of COLUMNS columns, each read from its first row to its last. A tile, ROWS x COLUMNS numbers
of the result, stays in vector registers until it is done. After Goto and van de Geijn 2008,
"Anatomy of High-Performance Matrix Multiplication".
"""

import numpy as np
from numba.extending import register_jitable

from charlm.kernels import panels
from charlm.kernels.buffer_pool import zeros
from charlm.kernels.jit import cached_jit, jit
from charlm.kernels.panels import padded, rounded
from charlm.kernels.registers import COLUMNS, ROWS
from charlm.kernels.tile import row_tile, tile

LINE = 16  # numbers in a cache line
DEPTH = 512  # rows of a panel read in one pass, so that they stay in the nearest cache
SUMMED = 144  # rows of both operands of a transposed product, for the same reason
PADDING = 16  # numbers after each row, or a whole column would compete for one cache line


for _function in (rounded, padded):
    register_jitable(_function)


def pack_panels(matrix: np.ndarray) -> np.ndarray:
    """Packs (K, N) into panels (N / COLUMNS, K, COLUMNS), with zeros beyond N."""
    if matrix.strides[0] >= matrix.strides[1]:
        return panels.pack_panels(matrix)
    found = panels.empty_panels(*matrix.shape)
    cached_jit(lay_out_transposed)(matrix.T, found)
    return found


def lay_out_transposed(matrix, found):
    """Packs the transpose of matrix (N, K) into panels.

    NumPy would go column by column and read each number from a different cache line.
    """
    (N, K), Q = matrix.shape, len(found)
    for q in range(Q):
        for begin in range(0, K, LINE):
            for j in range(min(COLUMNS, N - q * COLUMNS)):
                for k in range(begin, min(begin + LINE, K)):
                    found[q, k, j] = matrix[q * COLUMNS + j, k]


@jit
def multiply(a, first, R, b, c, left=0, to=0):
    """Adds a product: c[:R, to : to + N] += a[first : first + R, left : left + K] b.

    Args:
        a: a left operand.
        first: the first row of a.
        R: the number of rows; those after the last whole tile go row by row, which is slow.
        b: `pack_panels` of (K, N).
        c: (R or more, to + N rounded up to COLUMNS, or more).
        left: the first column of a.
        to: the first column of c.
    """
    A, K, C, whole = a.shape[1], b.shape[1], c.shape[1], R // ROWS * ROWS
    for k in range(0, K, DEPTH):
        depth = min(DEPTH, K - k)
        for q in range(b.shape[0]):
            panel, column = (q * K + k) * COLUMNS, to + q * COLUMNS
            for r in range(0, whole, ROWS):
                row, at = (first + r) * A + left + k, r * C + column
                tile(a, row, A, 1, b, panel, COLUMNS, c, at, C, depth)
            for r in range(whole, R):
                row, at = (first + r) * A + left + k, r * C + column
                row_tile(a, row, A, 1, b, panel, COLUMNS, c, at, C, depth)


@jit
def multiply_transposed(a, b, K, c, left=0):
    """Adds a transposed product: c += a^T b[:, left:] over the first K rows of both.

    Copies both operands, SUMMED rows at a time, into the order in which tiles read them; in place,
    each of their rows would be on a different page.

    Args:
        a: (K or more, R or more).
        b: (K or more, left + C or more).
        K: the number of rows.
        c: from `sums`; R and C are whole tiles.
        left: the first column of b.
    """
    (R, width), C = c.shape, c.shape[1] - PADDING
    depth = min(K, SUMMED)
    tiles = np.empty((R // ROWS * depth, ROWS), a.dtype)
    columns = np.empty((C // COLUMNS * depth, COLUMNS), b.dtype)  # panels of those rows of b
    for first in range(0, K, SUMMED):
        n = min(SUMMED, K - first)
        for k in range(n):
            for r in range(R // ROWS):
                for i in range(ROWS):
                    tiles[r * n + k, i] = a[first + k, r * ROWS + i]
            for q in range(C // COLUMNS):
                for j in range(COLUMNS):
                    columns[q * n + k, j] = b[first + k, left + q * COLUMNS + j]
        for q in range(C // COLUMNS):
            for r in range(R // ROWS):
                at, panel = r * ROWS * width + q * COLUMNS, q * n * COLUMNS
                tile(tiles, r * n * ROWS, 1, ROWS, columns, panel, COLUMNS, c, at, width, n)


def sums(*shape: int) -> np.ndarray:
    """Allocates zeros, (..., R, C) and padding, for `multiply_transposed` to add to."""
    *many, R, C = shape
    return zeros(*many, rounded(R, ROWS), rounded(C, COLUMNS) + PADDING)
