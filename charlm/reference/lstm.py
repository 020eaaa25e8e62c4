"""An LSTM in NumPy. What it is, and its sources: `charlm.layers.lstm`."""

import numpy as np

from charlm.cells import CELLS
from charlm.reference.activations import SIGMOID, TANH
from charlm.reference.gates import split

GATES = CELLS["lstm"].gates


def step(a_x, states, weights, activation=TANH, recurrent_activation=SIGMOID):
    """One time step.

    Args:
        a_x: (B, 4H), x W + b.
        states: (h, c) before the step, each (B, H).
        weights: (U,), U (H, 4H), blocks i, f, g, o.

    Returns:
        (h, c) after the step, and the cache that `step_backward` needs.
    """
    (h_prev, c_prev), (U,) = states, weights
    a_i, a_f, a_g, a_o = split(a_x + h_prev @ U, GATES)
    i = recurrent_activation(a_i)
    f = recurrent_activation(a_f)
    g = activation(a_g)
    o = recurrent_activation(a_o)
    c = f * c_prev + i * g
    s = activation(c)
    h = o * s
    return (h, c), (h_prev, c_prev, i, f, g, o, s)


def step_backward(d_states, cache, weights, activation=TANH, recurrent_activation=SIGMOID):
    """The same step, last line first: each line is the derivative of the equation beside it.

    Args:
        d_states: (dh, dc), dLoss/d(h, c) after the step, each (B, H).

    Returns:
        (dh, dc) before the step; da = dLoss/da_x (B, 4H); (dU,).
    """
    (dh, dc), (U,) = d_states, weights
    h_prev, c_prev, i, f, g, o, s = cache
    do = dh * s  # h = o * s
    ds = dh * o
    dc = dc + ds * activation.slope(s)  # s = tanh(c); c is also the next step's c'
    df = dc * c_prev  # c = f * c' + i * g
    dc_prev = dc * f
    di = dc * g
    dg = dc * i
    da_i = di * recurrent_activation.slope(i)  # i = sigmoid(a_i)
    da_f = df * recurrent_activation.slope(f)  # f = sigmoid(a_f)
    da_g = dg * activation.slope(g)  # g = tanh(a_g)
    da_o = do * recurrent_activation.slope(o)  # o = sigmoid(a_o)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
    dU = h_prev.T @ da  # a = a_x + h' U
    dh_prev = da @ U.T
    return (dh_prev, dc_prev), da, (dU,)
