"""Operands of products in bfloat16, two in a word, as the processor's instruction reads them.

A word holds elements k and k + 1 along the axis that is summed over, the first in its lower half;
sums are in float32. On a processor with AVX512-BF16 such a product may take half the time.
"""

import llvmlite.binding
import numpy as np

from charlm.kernels import matmul
from charlm.kernels.buffer_pool import empty
from charlm.kernels.jit import cached_jit, jit
from charlm.kernels.matmul import ROWS, rounded

IN_WORD = 2  # numbers in an element of an operand
AVAILABLE = bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16"))
# On AMD processors since Zen 4 a product takes little more than half the time of float32. On an
# Intel Xeon (Emerald Rapids), which has the instruction too, it took twice the time.
PAYS = AVAILABLE and llvmlite.binding.get_host_cpu_name().startswith("znver")
u4 = np.uint32
ONE, SIXTEEN = u4(1), u4(16)
BELOW_HALF = u4(0x7FFF)  # the largest remainder that is always rounded down
NAN = u4(0x7FC0)


def words(*shape: int) -> np.ndarray:
    """Allocates an array of words."""
    return empty(*shape).view(u4)


def pack_panels(matrix: np.ndarray) -> np.ndarray:
    """Packs pairs of rows as `matmul.pack_panels` does: (K, N) -> (N / COLUMNS, K / 2, COLUMNS)."""
    single = matmul.pack_panels(matrix)
    Q, K, C = single.shape
    found = words(Q, (K + 1) // 2, C)
    cached_jit(pair_rows)(single, found)
    return found


def rows(R: int, K: int) -> np.ndarray:
    """Allocates R rows of a left operand, K numbers each."""
    return words(R, (K + 1) // 2)


def summed(n: int, rows: int, N: int) -> np.ndarray:
    """Does what `float32.summed` does, with one word for two rows."""
    return words(n, (rows + 1) // 2, rounded(N, ROWS))


def gradients(
    rows: int, N: int, shared: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Does what `float32.gradients` does; operands are copies, so one float32 row is enough."""
    first = words(rows, (N + 1) // 2) if shared is None else shared
    return empty(1, N), first, words((rows + 1) // 2, N)


@jit
def bits(x):
    """Rounds a float32 to the nearest bfloat16, ties to even, in the lower half of a word."""
    word = np.float32(x).view(u4)
    odd = u4(u4(word >> SIXTEEN) & ONE)
    near = u4(u4(u4(word + BELOW_HALF) + odd) >> SIXTEEN)
    return near if x == x else NAN


@jit
def pair(low, high):
    """Packs two numbers into a word."""
    return u4(bits(low) | u4(bits(high) << SIXTEEN))


def pair_rows(single, found):
    """Packs pairs along the second axis: (Q, K, C) -> (Q, K / 2, C)."""
    Q, K, C = single.shape
    for q in range(Q):
        for k in range(K // 2):
            for j in range(C):
                found[q, k, j] = pair(single[q, 2 * k, j], single[q, 2 * k + 1, j])
        if K % 2:
            for j in range(C):
                found[q, K // 2, j] = bits(single[q, K - 1, j])


@jit
def put(to, row, values):
    """Writes values (K,) into a row of a left operand."""
    K = len(values)
    for k in range(K // 2):
        to[row, k] = pair(values[2 * k], values[2 * k + 1])
    if K % 2:
        to[row, K // 2] = bits(values[K - 1])


@jit
def put_summed(to, row, values):
    """Writes values (N,) into a row of an operand summed over its rows; even rows come first."""
    if row % 2:
        for j in range(len(values)):
            to[row // 2, j] |= u4(bits(values[j]) << SIXTEEN)
    else:
        for j in range(len(values)):
            to[row // 2, j] = bits(values[j])


@jit
def put_gradient(first, summed, row, du, H, left, right):
    """Writes du (G*m,), of units left..right of H, into a row of both operands.

    If the left operand is shared, H, left and right are even.
    """
    m = right - left
    if m == H:
        put(first, row, du)
    else:
        for g in range(len(du) // m):
            for j in range(0, m, 2):
                words = pair(du[g * m + j], du[g * m + j + 1])
                first[row, (g * H + left + j) // 2] = words
    put_summed(summed, row, du)
