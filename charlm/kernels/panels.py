"""The layout of matrices and rows for `matmul.multiply`. Loads no Numba."""

import numpy as np

from charlm.kernels.buffer_pool import empty
from charlm.kernels.registers import COLUMNS, ROWS

ALONE = 4  # fewer rows than this are faster one by one than as a tile


def rounded(n: int, unit: int) -> int:
    """Rounds n up to a whole number of units."""
    return -(-n // unit) * unit


def padded(n: int) -> int:
    """Returns the rows to give `multiply` for n rows: rounded up to whole tiles, unless few."""
    return n if n < ALONE else rounded(n, ROWS)


def empty_panels(K: int, N: int) -> np.ndarray:
    """Allocates panels of (K, N), with zeros beyond N."""
    found = empty(rounded(N, COLUMNS) // COLUMNS, K, COLUMNS)
    if N % COLUMNS:
        found[-1] = 0
    return found


def pack_panels(matrix: np.ndarray) -> np.ndarray:
    """Packs (K, N) into panels (N / COLUMNS, K, COLUMNS), with zeros beyond N."""
    K, N = matrix.shape
    found, whole = empty_panels(K, N), N // COLUMNS * COLUMNS
    found[: whole // COLUMNS] = (
        matrix[:, :whole].reshape(K, whole // COLUMNS, COLUMNS).swapaxes(0, 1)
    )
    if whole < N:
        found[-1, :, : N - whole] = matrix[:, whole:]
    return found
