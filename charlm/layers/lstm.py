"""Specification: charlm/reference/lstm.py

The same equations as a Keras cell and a Keras layer.
"""

import keras
from keras import ops

from charlm.cells import CELLS
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.options import UNIT_FORGET_BIAS
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class LSTMCell(RecurrentCell):
    """One step of an LSTM: a drop-in replacement for `keras.layers.LSTMCell`.

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import LSTMCell
    >>> cell = LSTMCell(4)
    >>> h, (h, c) = cell(ops.ones((2, 3)), [ops.zeros((2, 4)), ops.zeros((2, 4))])
    >>> h.shape == c.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["lstm"].gates, CELLS["lstm"].states
    COMPILED = "lstm"
    OPTIONS = RecurrentCell.OPTIONS | UNIT_FORGET_BIAS

    def step(
        self, a_x: Tensor, states: Tensors, weights: Tensors, masks: Masks = None
    ) -> tuple[Tensors, Tensors]:
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

    def step_backward(
        self,
        d_states: Tensors,
        cache: Tensors,
        before: Tensors,
        after: Tensors,
        transposed: Tensors,
    ) -> tuple[Tensors, Tensor]:
        """Differentiates `step`; s = sigmoid(a) has slope s (1 - s), t = tanh(a) has 1 - t^2."""
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
    """An LSTM over time: a drop-in replacement for `keras.layers.LSTM`.

    The states are h and c, each (B, H).

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import LSTM
    >>> LSTM(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    >>> LSTM(4, vocab_size=7)(ops.zeros((2, 5), dtype="int32")).shape == (2, 4)
    True
    """

    CELL = LSTMCell
