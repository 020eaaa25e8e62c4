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

    GATES, STATES = 4, 2

    def __init__(self, units, unit_forget_bias=True, **options):
        super().__init__(units, **options)
        self.unit_forget_bias = unit_forget_bias

    def initial_bias(self, shape, dtype=None):
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype=dtype)
        H = self.units
        i, go = (
            self.bias_initializer((H,), dtype=dtype),
            self.bias_initializer((2 * H,), dtype=dtype),
        )
        return ops.concatenate([i, ops.ones((H,), dtype=dtype), go])

    def step(self, a_x, states, recurrent_kernel, masks=None):
        h_prev, c_prev = states
        a = a_x + self.recur(h_prev, recurrent_kernel, masks)  # (B, 4H)
        i, f, g, o = ops.split(a, 4, axis=-1)
        i = self.recurrent_activation(i)
        f = self.recurrent_activation(f)
        g = self.activation(g)
        o = self.recurrent_activation(o)
        c = f * c_prev + i * g
        h = o * self.activation(c)
        return (h, c), ops.concatenate([i, f, g, o], axis=-1)

    def step_backward(self, d_states, gates, before, after, transposed):
        """Gradients of one step, for tanh and sigmoid: s' = s (1 - s), tanh' = 1 - tanh^2.

        Args:
            d_states: (dh, dc), dLoss/d(h, c) after the step, each (B, H).
            gates: (B, 4H), what `step` returned.
            before, after: the states (h, c) around the step.
            transposed: U^T (4H, H).

        Returns:
            (dh, dc) before the step, and da = dLoss/da (B, 4H).
        """
        (dh, dc), (_, c_prev), (_, c) = d_states, before, after
        i, f, g, o = ops.split(gates, 4, axis=-1)
        tanh_c = ops.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        da_i = dc * g * i * (1 - i)
        da_f = dc * c_prev * f * (1 - f)
        da_g = dc * i * (1 - g * g)
        da_o = dh * tanh_c * o * (1 - o)
        da = ops.concatenate([da_i, da_f, da_g, da_o], axis=-1)
        return (ops.matmul(da, transposed), dc * f), da


@keras.saving.register_keras_serializable(package="charlm")
class LSTM(Recurrent):
    """An LSTM over time. Takes the place of `keras.layers.LSTM` in any model.

    Constructor, call arguments, weights (names, shapes, order) and saved form are those of
    `keras.layers.LSTM`, so `set_weights(other.get_weights())` works both ways.

    Args:
        vocab_size: None for vectors (B, T, D) as input; D for integer ids (B, T), which read
            rows of `kernel` instead of multiplying one-hot vectors by it.
        use_cudnn: accepted for the contract; this layer never runs cuDNN.
        Others: see `keras.layers.LSTM`.

    >>> LSTM(4, return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
    True
    >>> LSTM(4, vocab_size=7)(ops.zeros((2, 5), dtype="int32")).shape == (2, 4)
    True
    """

    CELL = LSTMCell

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        use_cudnn="auto",
        vocab_size=None,
        **kwargs,
    ):
        options = locals()
        for name in ("self", "use_cudnn", "kwargs", "__class__"):
            del options[name]
        super().__init__(options, use_cudnn, **kwargs)
