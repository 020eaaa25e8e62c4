"""Specification: charlm/reference/coupled.py

The same equations as a Keras cell and a Keras layer.
"""

import keras
from keras import ops

from charlm.cells import CELLS
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.options import UNIT_FORGET_BIAS, without
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class CoupledLSTMCell(RecurrentCell):
    """One step of an LSTM with coupled input and forget gates.

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import CoupledLSTMCell
    >>> cell = CoupledLSTMCell(4)
    >>> h, (h, c) = cell(ops.ones((2, 3)), [ops.zeros((2, 4)), ops.zeros((2, 4))])
    >>> h.shape == c.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["coupled"].gates, CELLS["coupled"].states
    COMPILED = "coupled"
    OPTIONS = RecurrentCell.OPTIONS | UNIT_FORGET_BIAS

    def step(
        self, a_x: Tensor, states: Tensors, weights: Tensors, masks: Masks = None
    ) -> tuple[Tensors, Tensors]:
        (h_prev, c_prev), (U,) = states, weights
        f, g, o = ops.split(a_x + self.recurrent_matmul(h_prev, U, masks), 3, axis=-1)
        f = self.recurrent_activation(f)
        g = self.activation(g)
        o = self.recurrent_activation(o)
        c = f * c_prev + (1 - f) * g
        h = o * self.activation(c)
        return (h, c), (ops.concatenate([f, g, o], axis=-1),)

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
    """An LSTM with coupled input and forget gates over time.

    Its arguments are named as those of `keras.layers.LSTM`. The states are h and c, each (B, H).

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import CoupledLSTM
    >>> CoupledLSTM(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    """

    CELL = CoupledLSTMCell
    OPTIONS = without(Recurrent.OPTIONS, "use_cudnn")
