"""Leaky units, in NumPy: each keeps a part of its last output, a remedy for vanishing gradients.

With input x and previous output h' (each a row per sequence of the batch):

    g = tanh(x W + h' U + b)
    h = (1 - r) h' + r g

r (H,) are fixed rates from 0 to 1, one for each unit: a unit with rate r forgets over about 1 / r
steps, and along it a gradient shrinks by 1 - r in a step. With r = 1 it is the cell of `rnn`.

Sources: Mozer 1992, "Induction of Multiscale Temporal Structure"; Goodfellow, Bengio and Courville
2016, "Deep Learning", section 10.9.2. `charlm memory` compares it with other cells.
"""

import numpy as np

from charlm.reference.activations import TANH, Activation, Arrays


def rates(units: int, slowest: float) -> np.ndarray:
    """Returns rates (H,), float32, from 1 to 1 / `slowest`, with equal ratios between them."""
    return np.geomspace(1, 1 / slowest, units, dtype=np.float32)


def step(
    a_x: np.ndarray,
    states: Arrays,
    weights: Arrays,
    rates: np.ndarray,
    activation: Activation = TANH,
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, H), x W + b.
        states: (h,) before the step, (B, H).
        weights: (U,), U (H, H).
        rates: (H,).
        activation: of g.

    Returns:
        (h,) after the step, and the cache that `step_backward` needs.
    """
    (h_prev,), (U,) = states, weights
    g = activation(a_x + h_prev @ U)
    h = (1 - rates) * h_prev + rates * g
    return (h,), (h_prev, g)


def step_backward(
    d_states: Arrays,
    cache: Arrays,
    weights: Arrays,
    rates: np.ndarray,
    activation: Activation = TANH,
) -> tuple[Arrays, np.ndarray, Arrays]:
    """Computes the gradients, last equation first; comments repeat the equations of `step`.

    Args:
        d_states: (dh,), dLoss/dh after the step, (B, H).
        cache: from `step`.
        weights: those given to `step`.
        rates: those given to `step`.
        activation: that of `step`.

    Returns:
        (dh,) before the step; da = dLoss/da_x (B, H); (dU,).
    """
    (dh,), (U,) = d_states, weights
    h_prev, g = cache
    da = dh * rates * activation.slope(g)  # h = (1 - r) h' + r g, g = tanh(a)
    dh_prev = dh * (1 - rates) + da @ U.T  # a = a_x + h' U
    return (dh_prev,), da, (h_prev.T @ da,)
