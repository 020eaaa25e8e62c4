"""A cell run over time: what recurrent layers share. No gates here.

`Recurrent` rests on `keras.layers.RNN` for the public contract (states, masks, stateful, functional
use) and replaces its loop.
"""

import re

import keras
from keras import ops

from charlm.layers import bptt, host
from charlm.layers.cell import HalfProducts, RecurrentCell, bind, set_signature
from charlm.layers.loops import scan


class Recurrent(HalfProducts, keras.layers.RNN):
    """A cell run over time, with the constructor, calls, weights and files of its Keras namesake.

    A subclass names its `CELL`. Its constructor's options are the cell's and `OPTIONS`, in the
    order of its `keras.layers` namesake if it has one.

    Args:
        units ... seed: of the cell, see `RecurrentCell`.
        activity_regularizer: of the outputs.
        return_sequences: whether h of every step is the output, (B, T, H), or of the last, (B, H).
        return_state: whether the states after the last step, each (B, H), are outputs too.
        go_backwards: read the sequence from its end.
        stateful: begin each call with the states after the last; `reset_state` makes them zero.
        unroll: write the loop over time out; T must be known.
        use_cudnn: accepted for the contract; these layers never run cuDNN.
        vocab_size: None for vectors (B, T, D) as input; D for integer ids (B, T), which read
            rows of `kernel` instead of multiplying one-hot vectors by it.
        weight_drop: share of the recurrent weights that is dropped in training, anew in each call.

    Raises:
        ValueError: an option out of range.
    """

    CELL: type[RecurrentCell]
    # Set it on a layer to have inference in machine code too, as `charlm.model.Streams` does. It is
    # three times as fast for six sequences of speeches, but such a graph cannot be saved.
    compiled_inference = False
    OPTIONS = {  # noqa: RUF012 - never changed; beside those of the cell
        "activity_regularizer": None,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "use_cudnn": "auto",
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        set_signature(cls, cls.CELL.OPTIONS | cls.OPTIONS)
        for name in cls.CELL.OPTIONS:  # layer.units is layer.cell.units, and so on
            if not hasattr(cls, name):
                setattr(cls, name, property(lambda self, name=name: getattr(self.cell, name)))

    def __init__(self, *args, **kwargs):
        options, kwargs = bind(self, args, kwargs)
        use_cudnn = options.pop("use_cudnn", "auto")
        if use_cudnn not in ("auto", False):
            raise ValueError(
                "Expected use_cudnn='auto' or False: this layer is written by hand and never runs "
                f"cuDNN; keras.layers has one that does. Received: use_cudnn={use_cudnn!r}"
            )
        kwargs.pop("implementation", None)  # Keras 2's, accepted and ignored as there
        own = {name: options.pop(name) for name in self.CELL.OPTIONS}
        shared = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        super().__init__(
            self.CELL(**own, **shared, name=keras_name(self.CELL)), **options, **kwargs
        )
        self.use_cudnn = use_cudnn
        self.input_spec = keras.layers.InputSpec(ndim=2 if self.vocab_size else 3)

    def build(self, sequences_shape, initial_state_shape=None):
        if self.vocab_size:
            sequences_shape = (*sequences_shape, 1)
        super().build(sequences_shape, initial_state_shape)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """(B, T, D) or ids (B, T) -> h: (B, T, H) or (B, H), and the states if asked for."""
        if self.vocab_size:
            sequences = ops.expand_dims(ops.cast(sequences, "int32"), -1)
        result = super().call(sequences, initial_state, mask, training)
        return self._shown(result, lambda h: ops.cast(h, self.product_dtype))

    def compute_output_spec(self, *args, **kwargs):
        spec = super().compute_output_spec(*args, **kwargs)
        return self._shown(spec, lambda h: keras.KerasTensor(h.shape, self.product_dtype))

    def _shown(self, result, convert):
        """The output as the dtype policy has it; states stay as they are."""
        return (convert(result[0]), *result[1:]) if self.return_state else convert(result)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """`keras.layers.RNN`'s hook for the loop: (last output, all outputs, states)."""
        cell = self.cell
        states = tuple(initial_state)
        if self.stateful:  # torch assigns in place to what autograd still needs
            states = tuple(ops.copy(s) for s in states)
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        masks = cell.input_masks(sequences[:, 0], training)
        drop_h = cell.recurrent_masks(states[0], training)
        weights = cell.recurrent_weights(training)
        way = self.backward_pass(mask is not None, training, sequences)
        if way == "compiled":
            outputs, states = self._compiled(sequences, states, weights, masks, training)
            return states[0], outputs, list(states)
        if not training:  # else each step rounds them, so that gradients add up in float32
            weights = cell.operands(weights)
        x = ops.swapaxes(sequences, 0, 1)  # (T, B, D); a mask (B, D) holds for every t
        a_x = cell.project(x, masks)  # (T, B, G*H)
        if way == "hand-derived":
            outputs, states = bptt.run(cell, a_x, states, weights)
        elif mask is None:
            outputs, states = self._autodiff(a_x, states, weights, drop_h)
        else:
            outputs, states = self._masked(a_x, states, weights, drop_h, mask)
        return outputs[-1], ops.swapaxes(outputs, 0, 1), list(states)

    def backward_pass(self, masked=False, training=True, tensor=None):
        """How gradients are computed: "compiled", by "hand-derived" backward pass or "autodiff".

        The hand-derived pass serves training, in machine code where there is some for the cell and
        its options: on a CPU, in float32 or, where the processor multiplies it, in bfloat16, with
        Numba installed and not under TensorFlow's XLA. Autodiff serves the rest: inference, which
        machine code serves too with `compiled_inference`, and time masks, recurrent dropout, other
        activations than the cell's own, unrolled loops.

        Args:
            masked: whether there is a time mask. training: as of the call. tensor: an input of it.
        """
        cell = self.cell
        own = (keras.activations.tanh, keras.activations.sigmoid)
        found = [
            getattr(cell, n) for n in ("activation", "recurrent_activation") if n in cell.OPTIONS
        ]
        plain = all(a is b for a, b in zip(found, own, strict=False))
        dropped = training and 0 < cell.recurrent_dropout < 1
        served = plain and not (dropped or masked or self.unroll)
        in_code = served and (training or self.compiled_inference)
        if in_code and cell.compiled() and host.usable(tensor):
            return "compiled"
        return "hand-derived" if served and training and cell.step_backward else "autodiff"

    def _compiled(self, sequences, states, weights, masks, training):
        cell = self.cell
        if cell.vocab_size and masks is None:
            rows, ids = cell.rows(), sequences[..., 0]
            return bptt.run_compiled(cell, rows, ids, states, weights, training)
        if masks is not None:  # (B, D) for every t
            masks = keras.tree.map_structure(lambda m: m[:, None], masks)
        a_x = cell.project(sequences, masks)  # (B, T, G*H)
        rows = ops.reshape(a_x, (-1, a_x.shape[-1]))
        return bptt.run_compiled(cell, rows, None, states, weights, training)

    def _autodiff(self, a_x, states, weights, drop_h):
        def step(states, x):
            states, _ = self.cell.step(x[0], states, weights, drop_h)
            return states, (states[0],)

        states, (outputs,) = scan(step, states, (a_x,), unroll=self.unroll)
        return outputs, states

    def _masked(self, a_x, states, weights, drop_h, mask):
        """A masked step leaves the states alone; its output is the one before, or zeros.

        What stands before the first output differs between Keras's own loops: h in JAX's scan,
        zeros elsewhere. So it does here.
        """

        def step(carry, x):
            a_x, keep = x
            (before, *states) = carry
            after, _ = self.cell.step(a_x, tuple(states), weights, drop_h)
            states = tuple(ops.where(keep, a, s) for a, s in zip(after, states, strict=True))
            shown = ops.zeros_like(before) if self.zero_output_for_mask else before
            output = ops.where(keep, after[0], shown)
            return (output, *states), (output,)

        keep = ops.cast(ops.swapaxes(mask, 0, 1), "bool")[..., None]  # (T, B, 1)
        h = states[0]
        jax_scan = keras.backend.backend() == "jax" and not self.unroll
        first = h if jax_scan else ops.zeros_like(h)
        carry = (first, *states)
        (_, *states), (outputs,) = scan(step, carry, (a_x, keep), unroll=self.unroll)
        return outputs, states

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        if "use_cudnn" in self.OPTIONS:
            config["use_cudnn"] = self.use_cudnn
        cell = self.cell.get_config()
        return config | {name: cell[name] for name in self.CELL.OPTIONS if name in cell}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def keras_name(cls):
    """A class's name as Keras writes it, for example `lstm_cell`, `simple_rnn_cell`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
