"""LSTM (long short-term memory) with a forget gate, in NumPy.

With input x, previous output h' and previous cell state c' (each a row per sequence of the batch):

    i = sigmoid(x W_i + h' U_i + b_i)      input gate: how much of the candidate enters
    f = sigmoid(x W_f + h' U_f + b_f)      forget gate: how much of the old cell stays
    g =    tanh(x W_g + h' U_g + b_g)      candidate
    o = sigmoid(x W_o + h' U_o + b_o)      output gate: how much of the cell is output
    c = f * c' + i * g                     cell state
    h = o * tanh(c)                        output

W = [W_i W_f W_g W_o] is `kernel` (D, 4H), U likewise `recurrent_kernel` (H, 4H), b `bias` (4H,),
in the order and shapes of `keras.layers.LSTM`, which calls g "c".

Sources: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", section 4. Forget gate: Gers,
Schmidhuber and Cummins 2000, "Learning to Forget: Continual Prediction with LSTM", section 3.
Initial forget bias of 1: Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of
Recurrent Network Architectures", on the forget gate's bias.
"""

import numpy as np

from charlm.cells import CELLS
from charlm.reference.activations import SIGMOID, TANH, Activation, Arrays
from charlm.reference.gates import split

GATES = CELLS["lstm"].gates


def step(
    a_x: np.ndarray,
    states: Arrays,
    weights: Arrays,
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, 4H), x W + b.
        states: (h, c) before the step, each (B, H).
        weights: (U,), U (H, 4H), blocks i, f, g, o.
        activation: of the candidate and of the cell state.
        recurrent_activation: of the gates.

    Returns:
        (h, c) after the step, and the cache that `step_backward` needs: the
        states before the step, the gates, and what follows from them.
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
