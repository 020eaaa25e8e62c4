"""The LSTM with coupled gates: what is forgotten is what is written, so one gate does for both.

For input x, previous output h' and previous cell state c' (all rows of a batch):

    f = sigmoid(x W_f + h' U_f + b_f)      forget gate: how much of the old cell stays
    g =    tanh(x W_g + h' U_g + b_g)      candidate
    o = sigmoid(x W_o + h' U_o + b_o)      output gate: how much of the cell shows
    c = f * c' + (1 - f) * g               cell state: the LSTM's, with i = 1 - f
    h = o * tanh(c)                        output

W = [W_f W_g W_o] is `kernel` (D, 3H), U likewise `recurrent_kernel` (H, 3H), b `bias` (3H,): a
quarter fewer weights than the LSTM's. Keras has no such layer.

Source: Greff et al. 2017, "LSTM: A Search Space Odyssey", where it is the variant CIFG and found as
good as the LSTM.
"""

import keras
from keras import ops

from charlm.cells import CELLS
from charlm.layers.cell import RecurrentCell, without
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class CoupledLSTMCell(RecurrentCell):
    """One step of an LSTM with coupled input and forget gates.

    Args:
        units: H.
        unit_forget_bias: start the forget gate's bias at 1, so that a new cell remembers.
        Others: see `RecurrentCell`.

    >>> h, (h, c) = CoupledLSTMCell(4)(ops.ones((2, 3)), [ops.zeros((2, 4)), ops.zeros((2, 4))])
    >>> h.shape == c.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["coupled"].gates, CELLS["coupled"].states
    COMPILED = "coupled"
    OPTIONS = RecurrentCell.OPTIONS | {"unit_forget_bias": True}

    def step(self, a_x, states, weights, masks=None):
        (h_prev, c_prev), (U,) = states, weights
        f, g, o = ops.split(a_x + self.recurrent_matmul(h_prev, U, masks), 3, axis=-1)
        f = self.recurrent_activation(f)
        g = self.activation(g)
        o = self.recurrent_activation(o)
        c = f * c_prev + (1 - f) * g
        h = o * self.activation(c)
        return (h, c), (ops.concatenate([f, g, o], axis=-1),)

    def step_backward(self, d_states, cache, before, after, transposed):
        """s = sigmoid(a) has the slope s (1 - s), t = tanh(a) has 1 - t^2."""
        (dh, dc), (_, c_prev), (_, c) = d_states, before, after
        (gates,), (U_t,) = cache, transposed
        f, g, o = ops.split(gates, 3, axis=-1)
        tanh_c = ops.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        da_f = dc * (c_prev - g) * f * (1 - f)
        da_g = dc * (1 - f) * (1 - g * g)
        da_o = dh * tanh_c * o * (1 - o)
        da = ops.concatenate([da_f, da_g, da_o], axis=-1)
        return (self.matmul(da, U_t), dc * f), da


@keras.saving.register_keras_serializable(package="charlm")
class CoupledLSTM(Recurrent):
    """An LSTM with coupled gates over time; named options are those of `keras.layers.LSTM`.

    Args: those of `CoupledLSTMCell` and `Recurrent`. States: h and c, each (B, H).

    >>> CoupledLSTM(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    """

    CELL = CoupledLSTMCell
    OPTIONS = without(Recurrent.OPTIONS, "use_cudnn")
