"""GRU (gated recurrent unit), whose output is its whole state, in NumPy.

With input x and previous output h' (each a row per sequence of the batch):

    z = sigmoid(x W_z + b_z + h' U_z + d_z)            update gate: how much of the old output stays
    r = sigmoid(x W_r + b_r + h' U_r + d_r)            reset gate: how much of it the candidate sees
    g =    tanh(x W_g + b_g + r * (h' U_g + d_g))      candidate
    h = z * h' + (1 - z) * g                           output

W = [W_z W_r W_g] is `kernel` (D, 3H), U likewise `recurrent_kernel` (H, 3H), and `bias` (2, 3H) has
b and d as rows, in the order and shapes of `keras.layers.GRU`, which calls g "h".

This is `reset_after=True`: the reset gate acts after the product, so that h' U is one product. In
the published paper it acts before; then there is no d, and `bias` is b (3H,):

    g = tanh(x W_g + b_g + (r * h') U_g)

Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
Machine Translation", section 2.3: version 1 (arXiv 1406.1078v1) resets after the product, as
cuDNN does; the published version resets before it.
"""

import numpy as np

from charlm.cells import CELLS
from charlm.reference.activations import SIGMOID, TANH, Activation, Arrays
from charlm.reference.gates import split

GATES = CELLS["gru"].gates


def step(
    a_x: np.ndarray,
    states: Arrays,
    weights: Arrays,
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    reset_after: bool = True,
) -> tuple[Arrays, Arrays]:
    """Computes one time step.

    Args:
        a_x: (B, 3H), x W + b.
        states: (h,) before the step, (B, H).
        weights: (U,) or, with a bias after the product, (U, d); U (H, 3H), blocks z, r, g; d (3H,).
        activation: of the candidate.
        recurrent_activation: of the gates.
        reset_after: apply the reset gate after the product h' U, not before.

    Returns:
        (h,) after the step, and the cache that `step_backward` needs: the
        states before the step, the gates, and what follows from them.
    """
    (h_prev,), (U, *d) = states, weights
    a_z, a_r, a_g = split(a_x, GATES)
    if reset_after:
        u_z, u_r, u_g = split(h_prev @ U + (d[0] if d else 0), GATES)
        z = recurrent_activation(a_z + u_z)
        r = recurrent_activation(a_r + u_r)
        q = u_g  # the operand of the reset gate
        g = activation(a_g + r * q)
    else:
        U_z, U_r, U_g = split(U, GATES)
        z = recurrent_activation(a_z + h_prev @ U_z)
        r = recurrent_activation(a_r + h_prev @ U_r)
        q = h_prev
        g = activation(a_g + (r * q) @ U_g)
    h = z * h_prev + (1 - z) * g
    return (h,), (h_prev, z, r, g, q)


def step_backward(
    d_states: Arrays,
    cache: Arrays,
    weights: Arrays,
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    reset_after: bool = True,
) -> tuple[Arrays, np.ndarray, Arrays]:
    """Computes the gradients, last equation first; comments repeat the equations of `step`.

    Args:
        d_states: (dh,), dLoss/dh after the step, (B, H).
        cache: from `step`.
        weights: those given to `step`.
        activation: that of `step`.
        recurrent_activation: that of `step`.
        reset_after: that of `step`.

    Returns:
        (dh,) before the step; da = dLoss/da_x (B, 3H); (dU,) or (dU, dd).
    """
    (dh,), (U, *d) = d_states, weights
    h_prev, z, r, g, q = cache
    dz = dh * (h_prev - g)  # h = z * h' + (1 - z) * g
    dg = dh * (1 - z)
    dh_prev = dh * z
    da_g = dg * activation.slope(g)  # g = tanh(a_g)
    da_z = dz * recurrent_activation.slope(z)  # z = sigmoid(a_z)
    if reset_after:
        dr = da_g * q  # a_g = x W_g + b_g + r * (h' U_g + d_g)
        du_g = da_g * r
        da_r = dr * recurrent_activation.slope(r)  # r = sigmoid(a_r)
        du = np.concatenate([da_z, da_r, du_g], axis=-1)
        dh_prev = dh_prev + du @ U.T  # u = h' U + d
        d_weights = (h_prev.T @ du, *([du.sum(axis=0)] if d else []))
    else:
        U_z, U_r, U_g = split(U, GATES)
        drq = da_g @ U_g.T  # a_g = x W_g + b_g + (r * h') U_g
        dr = drq * q
        dh_prev = dh_prev + drq * r
        da_r = dr * recurrent_activation.slope(r)  # r = sigmoid(a_r)
        dh_prev = dh_prev + da_z @ U_z.T + da_r @ U_r.T  # a_z = x W_z + b_z + h' U_z, a_r likewise
        d_weights = (np.concatenate([h_prev.T @ da_z, h_prev.T @ da_r, (r * q).T @ da_g], axis=-1),)
    return (dh_prev,), np.concatenate([da_z, da_r, da_g], axis=-1), d_weights
