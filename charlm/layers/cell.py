"""One recurrent step as a Keras layer: options, weights, dropout; a subclass adds its equations."""

import inspect
import numbers

import keras
from keras import ops

# Private, because `keras.layers.RNN` asks for this very class when it prepares dropout masks: one
# mask for all time steps of a call, drawn before the loop begins.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from charlm.layers import bptt


class RecurrentCell(keras.layers.Layer, DropoutRNNCell):
    """Weights and options of one recurrent step; a subclass gives `GATES`, `step` and the rest.

    Args:
        units: H, the width of the state.
        activation, recurrent_activation: of the candidate and of the gates.
        use_bias: whether `bias` exists.
        kernel_initializer ... bias_constraint: as in `keras.layers`.
        dropout, recurrent_dropout: share of the input, of h, that is dropped in training; one
            mask for all time steps of a call.
        seed: of the dropout masks.
        vocab_size: None for vectors as input; D where the input is integer ids, each standing
            for a one-hot vector (D,).

    Raises:
        ValueError: an option out of range.
    """

    GATES: int  # G, the blocks of H columns in `kernel` and `recurrent_kernel`
    STATES: int  # S, the number of state tensors (B, H); the first is the output

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        vocab_size=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        ok = isinstance(units, numbers.Integral) and units > 0
        _require(ok, "units", "a positive integer", units)
        for name, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            _require(0 <= rate <= 1, name, "from 0 to 1", rate)
        ok = vocab_size is None or (isinstance(vocab_size, int) and vocab_size > 0)
        _require(ok, "vocab_size", "None or a positive integer", vocab_size)
        self.units = units = int(units)
        self.activation = keras.activations.get(activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        if recurrent_dropout:
            self.dropout_mask_count = self.GATES  # as in Keras: then each gate has its own masks
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed=seed)
        self.vocab_size = vocab_size
        self.state_size = [units] * self.STATES
        self.output_size = units

    def build(self, input_shape):
        """Makes `kernel` (D, G*H), `recurrent_kernel` (H, G*H) and `bias` (G*H,)."""
        D, H, GH = self.vocab_size or input_shape[-1], self.units, self.GATES * self.units
        self.kernel = self.add_weight(
            name="kernel",
            shape=(D, GH),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(H, GH),
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(GH,),
                initializer=self.initial_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        super().build(input_shape)

    def initial_bias(self, shape, dtype=None):
        """The bias a cell starts with."""
        return self.bias_initializer(shape, dtype=dtype)

    def step(self, a_x, states, recurrent_kernel, masks=None):
        """One time step: the cell's equations.

        Args:
            a_x: (B, G*H), from `project`.
            states: tuple of S tensors (B, H), h first.
            recurrent_kernel: (H, G*H).
            masks: recurrent dropout, see `recur`.

        Returns:
            The new states, and the values (B, ...) that `step_backward` needs, as one tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    step_backward = None  # a cell that has one trains without autodiff through time

    def project(self, inputs, masks=None):
        """The inputs' share of the pre-activations, x W + b, for any number of steps at once.

        Args:
            inputs: (..., D), or integer ids (..., 1) where `vocab_size` is set.
            masks: input dropout: None, one mask for all gates or a list of one each. A mask has
                the shape (B, D), or (B, 1, D) where `inputs` has a time axis.

        Returns:
            (..., G*H).
        """
        kernel, bias = tensor(self.kernel), self._bias()
        if self.vocab_size and masks is None:
            ids = inputs[..., 0]  # the bias goes to the rows before they are gathered: D < B * T
            return bptt.gather_rows(kernel if bias is None else kernel + bias, ids)
        if not isinstance(masks, list):
            masks = [masks]
        kernels = ops.split(kernel, len(masks), axis=-1)
        parts = [self._times(inputs, m, k) for m, k in zip(masks, kernels, strict=True)]
        a_x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        return a_x if bias is None else a_x + bias

    def _times(self, inputs, mask, kernel):
        if not self.vocab_size:
            return ops.matmul(inputs if mask is None else inputs * mask, kernel)
        kept = ops.take_along_axis(mask + ops.zeros_like(inputs, dtype=mask.dtype), inputs, axis=-1)
        return bptt.gather_rows(kernel, inputs[..., 0]) * kept

    def _bias(self):
        return None if self.bias is None else tensor(self.bias)

    def recur(self, h, recurrent_kernel, masks=None):
        """h U, where each gate may see its own part of h: (B, H), (H, n*H) -> (B, n*H)."""
        if masks is None:
            return ops.matmul(h, recurrent_kernel)
        kernels = ops.split(recurrent_kernel, len(masks), axis=-1)
        parts = [ops.matmul(h * m, k) for m, k in zip(masks, kernels, strict=True)]
        return ops.concatenate(parts, axis=-1)

    def input_masks(self, inputs, training):
        """Dropout masks of a call for `project`, or None. `inputs` is one step, (B, D)."""
        return self.get_dropout_mask(inputs) if training and 0 < self.dropout < 1 else None

    def recurrent_masks(self, h, training):
        """Dropout masks of a call for `recur`, or None. `h` is (B, H)."""
        if not (training and 0 < self.recurrent_dropout < 1):
            return None
        return self.get_recurrent_dropout_mask(h)

    def get_dropout_mask(self, step_input):
        """Keras's, except that ids stand for vectors (B, D)."""
        if self.vocab_size:
            shape = (ops.shape(step_input)[0], self.vocab_size)
            step_input = ops.ones(shape, dtype=self.compute_dtype)
        return super().get_dropout_mask(step_input)

    def call(self, inputs, states, training=False):
        """One step on its own: (B, D) or ids (B,) or (B, 1), states -> h, states."""
        if self.vocab_size and len(inputs.shape) == 1:
            inputs = inputs[:, None]
        masks = self.input_masks(inputs, training)
        drop_h = self.recurrent_masks(states[0], training)
        U = tensor(self.recurrent_kernel)
        states, _ = self.step(self.project(inputs, masks), tuple(states), U, drop_h)
        return states[0], list(states)

    def get_initial_state(self, batch_size=None):
        """Zeros, S of (B, H)."""
        return [ops.zeros((batch_size, H), self.compute_dtype) for H in self.state_size]

    def get_config(self):
        config = super().get_config()
        for name in option_names(type(self)):
            config[name] = _serialize(name, getattr(self, name))
        return config


def tensor(variable):
    """A variable's value in the compute dtype; TensorFlow's custom gradients refuse variables."""
    return ops.copy(ops.convert_to_tensor(variable))


def option_names(cell):
    """Names of a cell's own options, in the order of its constructor and its bases'."""
    names = {}
    for base in (cell, RecurrentCell):
        for p in inspect.signature(base.__init__).parameters.values():
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self":
                names[p.name] = None
    return tuple(names)


def _serialize(name, value):
    for suffix in ("activation", "initializer", "regularizer", "constraint"):
        if name.endswith(suffix):
            return getattr(keras, f"{suffix}s").serialize(value)
    return value


def _require(ok, name, expected, value):
    if not ok:
        raise ValueError(f"Expected {name} to be {expected}. Received: {name}={value!r}")
