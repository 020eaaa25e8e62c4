"""The plain recurrent network: one tanh layer that sees its own last output.

For input x and previous output h' (all rows of a batch):

    h = tanh(x W + h' U + b)

W is `kernel` (D, H), U `recurrent_kernel` (H, H), b `bias` (H,), as in `keras.layers.SimpleRNN`.

Back through k steps a gradient is multiplied k times by U^T and by slopes of at most 1, so that it
vanishes or explodes; the gated cells beside this one were made against that.

Sources: Elman 1990, "Finding Structure in Time". The vanishing gradient: Hochreiter 1991 (his
diploma thesis); Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient
Descent is Difficult". With ReLU and U = 1 at the start: Le, Jaitly and Hinton 2015, "A Simple Way
to Initialize Recurrent Networks of Rectified Linear Units".
"""

import keras

from charlm.cells import CELLS
from charlm.layers.cell import RecurrentCell, without
from charlm.layers.recurrent import Recurrent


@keras.saving.register_keras_serializable(package="charlm")
class SimpleRNNCell(RecurrentCell):
    """One step of a plain RNN. Takes the place of `keras.layers.SimpleRNNCell`.

    Args:
        units: H.
        Others: see `RecurrentCell`; there is no gate and so no `recurrent_activation`.

    >>> h, _ = SimpleRNNCell(4)(ops.ones((2, 3)), [ops.zeros((2, 4))])
    >>> h.shape == (2, 4)
    True
    """

    GATES, STATES = CELLS["rnn"].gates, CELLS["rnn"].states
    COMPILED, SEEDS_ITSELF_FIRST = "rnn", True
    OPTIONS = without(RecurrentCell.OPTIONS, "recurrent_activation")

    def step(self, a_x, states, weights, masks=None):
        (h_prev,), (U,) = states, weights
        h = self.activation(a_x + self.recurrent_matmul(h_prev, U, masks))
        return (h,), ()

    def step_backward(self, d_states, cache, before, after, transposed):
        """h = tanh(a) has the slope 1 - h^2."""
        (dh,), (h,), (U_t,) = d_states, after, transposed
        da = dh * (1 - h * h)
        return (self.matmul(da, U_t),), da


@keras.saving.register_keras_serializable(package="charlm")
class SimpleRNN(Recurrent):
    """A plain RNN over time. Takes the place of `keras.layers.SimpleRNN` in any model.

    Args: those of `SimpleRNNCell` and `Recurrent`. State: h, (B, H).

    >>> SimpleRNN(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    """

    CELL = SimpleRNNCell
    OPTIONS = without(Recurrent.OPTIONS, "use_cudnn")
