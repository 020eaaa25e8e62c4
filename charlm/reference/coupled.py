"""LSTM with coupled input and forget gates (CIFG): i = 1 - f, in NumPy.

With input x, previous output h' and previous cell state c' (each a row per sequence of the batch):

    f = sigmoid(x W_f + h' U_f + b_f)      forget gate: how much of the old cell stays
    g =    tanh(x W_g + h' U_g + b_g)      candidate
    o = sigmoid(x W_o + h' U_o + b_o)      output gate: how much of the cell is output
    c = f * c' + (1 - f) * g               cell state: the LSTM's, with i = 1 - f
    h = o * tanh(c)                        output

W = [W_f W_g W_o] is `kernel` (D, 3H), U likewise `recurrent_kernel` (H, 3H), b `bias` (3H,): a
quarter fewer weights than the LSTM's. Keras has no such layer.

Source: Greff et al. 2017, "LSTM: A Search Space Odyssey", where this variant is called CIFG and
performs as well as the LSTM.
"""

import numpy as np

from charlm.cells import CELLS
from charlm.reference.activations import SIGMOID, TANH, Activation, Arrays
from charlm.reference.gates import split

GATES = CELLS["coupled"].gates


def step(
    a_x: np.ndarray,
    states: Arrays,
    weights: Arrays,
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, 3H), x W + b.
        states: (h, c) before the step, each (B, H).
        weights: (U,), U (H, 3H), blocks f, g, o.
        activation: of the candidate and of the cell state.
        recurrent_activation: of the gates.

    Returns:
        (h, c) after the step, and the cache that `step_backward` needs: the
        states before the step, the gates, and what follows from them.
    """
    (h_prev, c_prev), (U,) = states, weights
    a_f, a_g, a_o = split(a_x + h_prev @ U, GATES)
    f = recurrent_activation(a_f)
    g = activation(a_g)
    o = recurrent_activation(a_o)
    c = f * c_prev + (1 - f) * g
    s = activation(c)
    h = o * s
    return (h, c), (h_prev, c_prev, f, g, o, s)


def step_backward(
    d_states: Arrays,
    cache: Arrays,
    weights: Arrays,
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
) -> tuple[Arrays, np.ndarray, Arrays]:
    """Computes the gradients, last equation first; comments repeat the equations of `step`.

    Args:
        d_states: (dh, dc), dLoss/d(h, c) after the step, each (B, H).
        cache: from `step`.
        weights: those given to `step`.
        activation: that of `step`.
        recurrent_activation: that of `step`.

    Returns:
        (dh, dc) before the step; da = dLoss/da_x (B, 3H); (dU,).
    """
    (dh, dc), (U,) = d_states, weights
    h_prev, c_prev, f, g, o, s = cache
    do = dh * s  # h = o * s
    ds = dh * o
    dc = dc + ds * activation.slope(s)  # s = tanh(c); c is also the next step's c'
    df = dc * (c_prev - g)  # c = f * c' + (1 - f) * g
    dc_prev = dc * f
    dg = dc * (1 - f)
    da_f = df * recurrent_activation.slope(f)  # f = sigmoid(a_f)
    da_g = dg * activation.slope(g)  # g = tanh(a_g)
    da_o = do * recurrent_activation.slope(o)  # o = sigmoid(a_o)
    da = np.concatenate([da_f, da_g, da_o], axis=-1)
    dU = h_prev.T @ da  # a = a_x + h' U
    dh_prev = da @ U.T
    return (dh_prev, dc_prev), da, (dU,)


def as_lstm(weights: Arrays) -> Arrays:
    """Writes the layer as an LSTM: 1 - sigmoid(a) = sigmoid(-a), so a_i is -a_f.

    Args:
        weights: kernel, recurrent kernel, bias, each (..., 3H).

    Returns:
        The LSTM's kernel, recurrent kernel and bias, each (..., 4H).
    """

    def widened(w):
        f, g, o = split(w, GATES)
        return np.concatenate([-f, f, g, o], axis=-1)

    return tuple(map(widened, weights))
