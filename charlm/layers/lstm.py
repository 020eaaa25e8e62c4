"""LSTM: long short-term memory with a forget gate.

For input x, previous output h' and previous cell state c' (all rows of a batch):

    i = sigmoid(x W_i + h' U_i + b_i)      input gate: how much of the candidate comes in
    f = sigmoid(x W_f + h' U_f + b_f)      forget gate: how much of the old cell stays
    g =    tanh(x W_g + h' U_g + b_g)      candidate
    o = sigmoid(x W_o + h' U_o + b_o)      output gate: how much of the cell shows
    c = f * c' + i * g                     cell state
    h = o * tanh(c)                        output

W = [W_i W_f W_g W_o] is `kernel` (D, 4H), U likewise `recurrent_kernel` (H, 4H), b `bias` (4H,),
in the order and the shapes of `keras.layers.LSTM` (which calls g "c").

Sources: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", section 4. Forget gate: Gers,
Schmidhuber and Cummins 2000, "Learning to Forget: Continual Prediction with LSTM", section 3.
Forget bias of 1 at the start: Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of
Recurrent Network Architectures", on the forget gate's bias.
"""

import keras
from keras import ops

from charlm.cells import CELLS
from charlm.layers.cell import RecurrentCell
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class LSTMCell(RecurrentCell):
    """One step of an LSTM. Takes the place of `keras.layers.LSTMCell`.

    Args:
        units: H.
        unit_forget_bias: start the forget gate's bias at 1, so that a new cell remembers.
        Others: see `RecurrentCell`.

    >>> cell = LSTMCell(4)
    >>> h, (h, c) = cell(ops.ones((2, 3)), [ops.zeros((2, 4)), ops.zeros((2, 4))])
    >>> h.shape == c.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["lstm"].gates, CELLS["lstm"].states
    COMPILED = "lstm"
    OPTIONS = RecurrentCell.OPTIONS | {"unit_forget_bias": True}

    def step(self, a_x, states, weights, masks=None):
        (h_prev, c_prev), (U,) = states, weights
        a = a_x + self.recurrent_matmul(h_prev, U, masks)  # (B, 4H)
        i, f, g, o = ops.split(a, 4, axis=-1)
        i = self.recurrent_activation(i)
        f = self.recurrent_activation(f)
        g = self.activation(g)
        o = self.recurrent_activation(o)
        c = f * c_prev + i * g
        h = o * self.activation(c)
        return (h, c), (ops.concatenate([i, f, g, o], axis=-1),)

    def step_backward(self, d_states, cache, before, after, transposed):
        """s = sigmoid(a) has the slope s (1 - s), t = tanh(a) has 1 - t^2."""
        (dh, dc), (_, c_prev), (_, c) = d_states, before, after
        (gates,), (U_t,) = cache, transposed
        i, f, g, o = ops.split(gates, 4, axis=-1)
        tanh_c = ops.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        da_i = dc * g * i * (1 - i)
        da_f = dc * c_prev * f * (1 - f)
        da_g = dc * i * (1 - g * g)
        da_o = dh * tanh_c * o * (1 - o)
        da = ops.concatenate([da_i, da_f, da_g, da_o], axis=-1)
        return (self.matmul(da, U_t), dc * f), da


@keras.saving.register_keras_serializable(package="charlm")
class LSTM(Recurrent):
    """An LSTM over time. Takes the place of `keras.layers.LSTM` in any model.

    Args: those of `LSTMCell` and `Recurrent`. States: h and c, each (B, H).

    >>> LSTM(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    >>> LSTM(4, vocab_size=7)(ops.zeros((2, 5), dtype="int32")).shape == (2, 4)
    True
    """

    CELL = LSTMCell
