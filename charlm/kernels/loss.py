"""Softmax cross-entropy and its gradient, as in `charlm.reference.loss`, row by row."""

import math

import numba
import numpy as np

from charlm.kernels.activations import exp
from charlm.kernels.arrays import indices, require
from charlm.kernels.buffer_pool import empty
from charlm.kernels.jit import OPTIONS, cached_jit, f4
from charlm.kernels.parallel import parallel_for

ONE = f4(1)
EXPONENTIAL, COPY = 80, 20  # multiplications of a product that take as long for one logit


def forward(targets: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes -log softmax(logits)[target], in nats, and its gradient by the logits.

    Args:
        targets: (...), whole numbers of any type.
        logits: (..., V), float32.

    Returns:
        The losses (...) and the gradients (..., V).

    Raises:
        ValueError: a target outside 0 to V - 1, or targets of a wrong shape.
    """
    require("logits", logits, (*targets.shape, None))
    V = logits.shape[-1]
    targets = indices(targets, V, "targets")
    losses, slopes = empty(*targets.shape), empty(*logits.shape)
    flat = targets.ravel(), logits.reshape(-1, V), losses.reshape(-1), slopes.reshape(-1, V)
    loop = cached_jit(rows)
    work = EXPONENTIAL * logits.size
    parallel_for(lambda begin, end: loop(*flat, begin, end), targets.size, work)
    return losses, slopes


def backward(slopes: np.ndarray, d_losses: np.ndarray) -> np.ndarray:
    """Computes dLoss/d(logits), (..., V), from the slopes and dLoss/d(losses), (...).

    Raises:
        ValueError: arrays that do not fit together.
    """
    require("slopes", slopes, (*d_losses.shape, None))
    require("d_losses", d_losses, d_losses.shape)  # checks its type
    found = empty(*slopes.shape)
    flat = slopes.reshape(-1, slopes.shape[-1]), d_losses.reshape(-1, 1)
    rows_of = found.reshape(flat[0].shape)

    def part(begin, end):
        np.multiply(flat[0][begin:end], flat[1][begin:end], out=rows_of[begin:end])

    parallel_for(part, d_losses.size, COPY * slopes.size)
    return found


def rows(targets, logits, losses, slopes, begin, end):
    """Fills losses (N,) and slopes (N, V) from row `begin` to `end`."""
    V = logits.shape[1]
    for n in range(begin, end):
        z, p, target = logits[n], slopes[n], targets[n]
        top = z[0]
        for v in range(1, V):
            top = max(top, z[v])
        for v in range(V):
            p[v] = exp(z[v] - top)
        total = add(p)
        losses[n] = math.log(total) + (top - z[target])
        scale = ONE / total
        for v in range(V):
            p[v] *= scale
        p[target] -= ONE


@numba.njit(**OPTIONS | {"fastmath": {"contract", "reassoc"}})
def add(values):
    """Sums values in an order that vectorizes; NaN stays NaN."""
    total = f4(0)
    for v in range(len(values)):
        total += values[v]
    return total
