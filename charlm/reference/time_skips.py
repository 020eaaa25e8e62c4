"""A recurrent network with skips through time, in NumPy: a remedy for vanishing gradients.

It reads its output of d steps ago, h_d, next to its last one, h' (each a row per sequence):

    h = tanh(x W + h' U_1 + h_d U_d + b)

Over k steps back a gradient can pass through k / d skips, so it is multiplied by a matrix d times
less often than in a plain network. U = [U_1; U_d] is (2H, H); the d last outputs are the states.

Source: Lin, Horne, Tino and Giles 1996, "Learning Long-Term Dependencies in NARX Recurrent Neural
Networks", section 3. `charlm memory` compares it with other cells.
"""

import numpy as np

from charlm.reference.activations import TANH, Activation, Arrays


def step(
    a_x: np.ndarray, states: Arrays, weights: Arrays, activation: Activation = TANH
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, H), x W + b.
        states: the d last outputs, the newest first, each (B, H); d is 2 or more.
        weights: (U,), U (2H, H).
        activation: of the output.

    Returns:
        The states after the step, and the cache that `step_backward` needs.
    """
    (U,) = weights
    read = np.concatenate([states[0], states[-1]], axis=-1)  # (B, 2H)
    h = activation(a_x + read @ U)
    return (h, *states[:-1]), (read, h)


def step_backward(
    d_states: Arrays, cache: Arrays, weights: Arrays, activation: Activation = TANH
) -> tuple[Arrays, np.ndarray, Arrays]:
    """Computes the gradients, last equation first; comments repeat the equations of `step`.

    Args:
        d_states: dLoss/d(states after the step), d of (B, H).
        cache: from `step`.
        weights: those given to `step`.
        activation: that of `step`.

    Returns:
        dLoss/d(states before the step); da = dLoss/da_x (B, H); (dU,).
    """
    (dh, *older), (U,) = d_states, weights
    read, h = cache
    da = dh * activation.slope(h)  # h = tanh(a)
    d_read = da @ U.T  # a = a_x + [h', h_d] U
    d_last, d_skipped = np.split(d_read, 2, axis=-1)
    before = [*older, np.zeros_like(dh)]  # each output moves one place on
    before[0] = before[0] + d_last
    before[-1] = before[-1] + d_skipped
    return tuple(before), da, (read.T @ da,)
