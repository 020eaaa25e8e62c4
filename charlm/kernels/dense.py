"""The output layer, x K + b for many rows, and its gradients.

Blocks of rows are copied into arrays padded to whole tiles, so that products never meet an edge.
"""

import numpy as np

from charlm.kernels.arrays import require
from charlm.kernels.buffer_pool import empty, zeros
from charlm.kernels.jit import cached_jit
from charlm.kernels.matmul import (
    COLUMNS,
    PADDING,
    ROWS,
    multiply,
    multiply_transposed,
    pack_panels,
    rounded,
    sums,
)
from charlm.kernels.parallel import parallel_for, sum_parts

BLOCK = 256  # rows; what they need of all arrays stays in a core's cache


def forward(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Computes x K + b: x (..., H), kernel (H, V), bias (V,) -> (..., V).

    Raises:
        ValueError: arrays that do not fit together.
    """
    require("kernel", kernel, (None, None))
    H, V = kernel.shape
    require("x", x, (*x.shape[:-1], H))
    require("bias", bias, (V,))
    y = empty(*x.shape[:-1], V)
    flat = x.reshape(-1, H), pack_panels(kernel), bias, y.reshape(-1, V)
    loop = cached_jit(forward_rows)

    def part(begin, end):
        loop(*flat, begin, end, empty(BLOCK, rounded(V, COLUMNS)))

    parallel_for(part, len(flat[0]), y.size * H)
    return y


def backward(x: np.ndarray, kernel: np.ndarray, d_y: np.ndarray) -> list[np.ndarray]:
    """Computes dLoss/d(x), dLoss/d(kernel), dLoss/d(bias) from d_y = dLoss/d(y), (..., V).

    Raises:
        ValueError: arrays that do not fit together.
    """
    require("kernel", kernel, (None, None))
    H, V = kernel.shape
    require("x", x, (*x.shape[:-1], H))
    require("d_y", d_y, (*x.shape[:-1], V))
    d_x = empty(*x.shape)
    flat = x.reshape(-1, H), pack_panels(kernel.T), d_y.reshape(-1, V), d_x.reshape(-1, H)
    loop = cached_jit(backward_rows)

    def part(begin, end):
        d_kernel, d_bias = sums(H, V), zeros(V)
        widths = rounded(H, ROWS), rounded(V, COLUMNS) + PADDING, rounded(H, COLUMNS)
        space = [zeros(BLOCK, n) for n in widths]  # the padding beyond H and V is multiplied too
        loop(*flat, d_kernel, d_bias, begin, end, *space)
        return d_kernel[:H, :V], d_bias

    d_kernel, d_bias = zip(*parallel_for(part, len(flat[0]), 2 * d_y.size * H), strict=True)
    return [d_x, sum_parts(d_kernel), sum_parts(d_bias)]


def forward_rows(x, K, bias, y, begin, end, block):
    """Computes rows begin..end of y. K: from `pack_panels`. block: work space."""
    V = y.shape[1]
    for first in range(begin, end, BLOCK):
        n = min(BLOCK, end - first)
        for r in range(n):
            for v in range(V):
                block[r, v] = bias[v]
        multiply(x, first, n, K, block)
        for r in range(n):
            for v in range(V):
                y[first + r, v] = block[r, v]


def backward_rows(x, K_t, d_y, d_x, d_kernel, d_bias, begin, end, x_block, d_block, up):
    """Computes rows begin..end of d_x; adds to d_kernel and d_bias. K_t: `pack_panels` of K^T."""
    H, V = x.shape[1], d_y.shape[1]
    for first in range(begin, end, BLOCK):
        n = min(BLOCK, end - first)
        for r in range(n):
            for j in range(H):
                x_block[r, j] = x[first + r, j]
                up[r, j] = 0
            for v in range(V):
                d = d_y[first + r, v]
                d_block[r, v] = d
                d_bias[v] += d
        multiply(d_block, 0, n, K_t, up)
        for r in range(n):
            for j in range(H):
                d_x[first + r, j] = up[r, j]
        multiply_transposed(x_block, d_block, n, d_kernel)
