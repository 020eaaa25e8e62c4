"""A cell over time, forward and backward: back-propagation through time in plain loops.

Source: Werbos 1990, "Backpropagation Through Time: What It Does and How to Do It".
"""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from charlm.reference.activations import Arrays

Weights: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Kernel, recurrent kernel, bias: see `forward`."""


def forward(
    cell: ModuleType, x: np.ndarray, states: Arrays, weights: Weights, **options: Any
) -> tuple[np.ndarray, Arrays, tuple]:
    """Runs all time steps of one layer.

    Args:
        cell: a cell's module.
        x: (B, T, D), or integer ids (B, T), each standing for a one-hot vector (D,).
        states: the states before the first step, S of (B, H).
        weights: (kernel (D, G*H), recurrent_kernel (H, G*H), bias or None). If the bias has two
            rows, (2, G*H), the first is added to x W and the second to h' U.
        options: options of the cell's `step`.

    Returns:
        h (B, T, H); the states after the last step; the cache that `backward` needs.
    """
    W, _, bias = weights
    b, recurrent = parts(weights)
    a_x = W[x] if x.ndim == 2 else x @ W
    if bias is not None:
        a_x = a_x + b  # (B, T, G*H)
    hs, caches = [], []
    for t in range(x.shape[1]):
        states, cache = cell.step(a_x[:, t], states, recurrent, **options)
        hs.append(states[0])
        caches.append(cache)
    return np.stack(hs, axis=1), states, (x, caches)


def backward(
    cell: ModuleType,
    dh: np.ndarray,
    d_states: Arrays,
    cache: tuple,
    weights: Weights,
    **options: Any,
) -> tuple[np.ndarray | None, Arrays, Weights, list[Arrays]]:
    """Computes the gradients of a loss by the arguments of `forward`.

    Args:
        cell: a cell's module.
        dh: dLoss/dh (B, T, H) from the layer above, without the part that comes back through time.
        d_states: dLoss/d(states after the last step), S of (B, H).
        cache: from `forward`.
        weights: those given to `forward`.
        options: those given to `forward`.

    Returns:
        dx (B, T, D), None for ids; d_states before the first step; the gradients of the weights,
        shaped as `weights`; and the whole dLoss/d(states after step t), S of (B, H), for every t.
    """
    W, _, bias = weights
    _, recurrent = parts(weights)
    x, caches = cache
    da: Any = [None] * len(caches)
    flow: list[Any] = [None] * len(caches)
    sums = tuple(np.zeros_like(w) for w in recurrent)
    for t in reversed(range(len(caches))):
        d_states = (d_states[0] + dh[:, t], *d_states[1:])
        flow[t] = d_states
        d_states, da[t], d_w = cell.step_backward(d_states, caches[t], recurrent, **options)
        for s, d in zip(sums, d_w, strict=True):
            s += d
    da = np.stack(da, axis=1)  # (B, T, G*H)
    rows = da.reshape(-1, da.shape[-1])
    if x.ndim == 2:
        one_hot = np.zeros((len(W), len(rows)), rows.dtype)  # (D, B*T)
        one_hot[x.ravel(), np.arange(len(rows))] = 1
        dx, dW = None, one_hot @ rows
    else:
        dx, dW = da @ W.T, x.reshape(len(rows), -1).T @ rows
    dU, *dd = sums
    db: Any = None if bias is None else rows.sum(axis=0)
    if dd:
        db = np.stack([db, dd[0]])
    return dx, d_states, (dW, dU, db), flow


def parts(weights: Weights) -> tuple[np.ndarray | None, Arrays]:
    """Splits weights into the bias of x W and what a step reads: (U,), or (U, d) if d exists."""
    _, U, bias = weights
    if bias is None or bias.ndim == 1:
        return bias, (U,)
    return bias[0], (U, bias[1])
