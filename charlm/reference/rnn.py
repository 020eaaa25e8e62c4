"""The plain RNN in NumPy. What it is, and its sources: `charlm.layers.rnn`."""

from charlm.reference.activations import TANH


def step(a_x, states, weights, activation=TANH):
    """One time step.

    Args:
        a_x: (B, H), x W + b.
        states: (h,) before the step, (B, H).
        weights: (U,), U (H, H).

    Returns:
        (h,) after the step, and the cache that `step_backward` needs.
    """
    (h_prev,), (U,) = states, weights
    a = a_x + h_prev @ U
    h = activation(a)
    return (h,), (h_prev, h)


def step_backward(d_states, cache, weights, activation=TANH):
    """The same step, last line first: each line is the derivative of the equation beside it.

    Args:
        d_states: (dh,), dLoss/dh after the step, (B, H).

    Returns:
        (dh,) before the step; da = dLoss/da_x (B, H); (dU,).
    """
    (dh,), (U,) = d_states, weights
    h_prev, h = cache
    da = dh * activation.slope(h)  # h = tanh(a)
    dU = h_prev.T @ da  # a = a_x + h' U
    dh_prev = da @ U.T
    return (dh_prev,), da, (dU,)
