"""Factors of products in bfloat16, two to a word, as the processor's instruction reads them.

A word holds numbers k and k + 1 of those that are summed over, the first in its lower half; sums
are in float32. Where the processor has AVX512-BF16 such a product may take half the time.
"""

import llvmlite.binding
import numpy as np

from charlm.kernels import matmul
from charlm.kernels.buffer_pool import empty
from charlm.kernels.jit import cached_jit, jit
from charlm.kernels.matmul import ROWS, rounded

IN_WORD = 2  # numbers in an element of a factor
AVAILABLE = bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16"))
# On AMD's processors since Zen 4 a product takes little more than half the time. On an Intel Xeon
# (Emerald Rapids), which has the instruction too, it took twice the time of float32.
PAYS = AVAILABLE and llvmlite.binding.get_host_cpu_name().startswith("znver")
u4 = np.uint32
ONE, SIXTEEN = u4(1), u4(16)
BELOW_HALF = u4(0x7FFF)  # the largest rest that is always rounded down
NAN = u4(0x7FC0)


def words(*shape):
    """Space for pairs."""
    return empty(*shape).view(u4)


def pack_panels(matrix):
    """`matmul.pack_panels` of pairs of rows: (K, N) -> (N / COLUMNS, K / 2, COLUMNS)."""
    single = matmul.pack_panels(matrix)
    Q, K, C = single.shape
    found = words(Q, (K + 1) // 2, C)
    cached_jit(pair_rows)(single, found)
    return found


def rows(R, K):
    """Space for R rows of a first factor, K numbers each."""
    return words(R, (K + 1) // 2)


def summed(n, rows, N):
    """As `single.summed`, a word for two rows."""
    return words(n, (rows + 1) // 2, rounded(N, ROWS))


def gradients(rows, N):
    """As `single.gradients`, but both factors are copies, so that one row in float32 is enough."""
    return empty(1, N), words(rows, (N + 1) // 2), words((rows + 1) // 2, N)


@jit
def bits(x):
    """The bfloat16 nearest to a float32, of two the even one, in the lower half of a word."""
    word = np.float32(x).view(u4)
    odd = u4(u4(word >> SIXTEEN) & ONE)
    near = u4(u4(u4(word + BELOW_HALF) + odd) >> SIXTEEN)
    return near if x == x else NAN


@jit
def pair(low, high):
    """Two numbers in a word."""
    return u4(bits(low) | u4(bits(high) << SIXTEEN))


def pair_rows(single, found):
    """(Q, K, C) -> (Q, K / 2, C)."""
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
    """Writes values (K,) into a row of a first factor."""
    K = len(values)
    for k in range(K // 2):
        to[row, k] = pair(values[2 * k], values[2 * k + 1])
    if K % 2:
        to[row, K // 2] = bits(values[K - 1])


@jit
def put_summed(to, row, values):
    """Writes values (N,) into a row of a factor whose rows are summed over, from an even one on."""
    if row % 2:
        for j in range(len(values)):
            to[row // 2, j] |= u4(bits(values[j]) << SIXTEEN)
    else:
        for j in range(len(values)):
            to[row // 2, j] = bits(values[j])


@jit
def put_gradient(first, summed, row, du):
    """Writes du (GH,) into a row of both factors."""
    put(first, row, du)
    put_summed(summed, row, du)
