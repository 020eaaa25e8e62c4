"""Specification: charlm/reference/rnn.py

The same equations as a Keras cell and a Keras layer.
"""

import keras

from charlm.cells import CELLS
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.options import without
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class SimpleRNNCell(RecurrentCell):
    """One step of a plain RNN: a drop-in replacement for `keras.layers.SimpleRNNCell`.

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import SimpleRNNCell
    >>> h, _ = SimpleRNNCell(4)(ops.ones((2, 3)), [ops.zeros((2, 4))])
    >>> h.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["rnn"].gates, CELLS["rnn"].states
    COMPILED, SEEDS_ITSELF_FIRST = "rnn", True
    OPTIONS = without(RecurrentCell.OPTIONS, "recurrent_activation")

    def step(
        self, a_x: Tensor, states: Tensors, weights: Tensors, masks: Masks = None
    ) -> tuple[Tensors, Tensors]:
        (h_prev,), (U,) = states, weights
        h = self.activation(a_x + self.recurrent_matmul(h_prev, U, masks))
        return (h,), ()

    def step_backward(
        self,
        d_states: Tensors,
        cache: Tensors,
        before: Tensors,
        after: Tensors,
        transposed: Tensors,
    ) -> tuple[Tensors, Tensor]:
        """Differentiates `step`: h = tanh(a) has the slope 1 - h^2."""
        (dh,), (h,), (U_t,) = d_states, after, transposed
        da = dh * (1 - h * h)
        return (self.matmul(da, U_t),), da


@keras.saving.register_keras_serializable(package="charlm")
class SimpleRNN(Recurrent):
    """A plain RNN over time: a drop-in replacement for `keras.layers.SimpleRNN`.

    The state is h, (B, H).

    Args: see `charlm.layers.options`.

    >>> from keras import ops
    >>> from charlm.layers import SimpleRNN
    >>> SimpleRNN(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    """

    CELL = SimpleRNNCell
    OPTIONS = without(Recurrent.OPTIONS, "use_cudnn")
