"""Plain recurrent network (Elman network), a tanh layer that reads its own last output, in NumPy.

With input x and previous output h' (each a row per sequence of the batch):

    h = tanh(x W + h' U + b)

W is `kernel` (D, H), U `recurrent_kernel` (H, H), b `bias` (H,), as in `keras.layers.SimpleRNN`.

Over k steps back a gradient is multiplied k times by U^T and by slopes of at most 1, so it vanishes
or explodes; the gated cells were designed to prevent that.

Sources: Elman 1990, "Finding Structure in Time". The vanishing gradient: Hochreiter 1991 (his
diploma thesis); Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient
Descent is Difficult". With ReLU and U initialized to the identity: Le, Jaitly and
Hinton 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units".
"""

import numpy as np

from charlm.reference.activations import TANH, Activation, Arrays


def step(
    a_x: np.ndarray, states: Arrays, weights: Arrays, activation: Activation = TANH
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, H), x W + b.
        states: (h,) before the step, (B, H).
        weights: (U,), U (H, H).
        activation: of the output.

    Returns:
        (h,) after the step, and the cache that `step_backward` needs: the
        states before the step, the gates, and what follows from them.
    """
    (h_prev,), (U,) = states, weights
    a = a_x + h_prev @ U
    h = activation(a)
    return (h,), (h_prev, h)


def step_backward(
    d_states: Arrays, cache: Arrays, weights: Arrays, activation: Activation = TANH
) -> tuple[Arrays, np.ndarray, Arrays]:
    """Computes the gradients, last equation first; comments repeat the equations of `step`.

    Args:
        d_states: (dh,), dLoss/dh after the step, (B, H).
        cache: from `step`.
        weights: those given to `step`.
        activation: that of `step`.

    Returns:
        (dh,) before the step; da = dLoss/da_x (B, H); (dU,).
    """
    (dh,), (U,) = d_states, weights
    h_prev, h = cache
    da = dh * activation.slope(h)  # h = tanh(a)
    dU = h_prev.T @ da  # a = a_x + h' U
    dh_prev = da @ U.T
    return (dh_prev,), da, (dU,)
