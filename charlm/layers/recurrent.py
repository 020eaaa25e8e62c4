"""A cell run over time: what recurrent layers share. No gates here.

`Recurrent` rests on `keras.layers.RNN` for the public contract (states, masks, stateful, functional
use) and replaces its loop.
"""

import re

import keras
from keras import ops
from keras.src.backend import AutocastScope

from charlm.layers import bptt, numpy_op
from charlm.layers.cell import MixedPrecisionMatmul, RecurrentCell, bind, set_signature, tensor

COMPILED = "compiled_training", "compiled_inference"  # attributes of layers


class Recurrent(MixedPrecisionMatmul, keras.layers.RNN):
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
        use_cudnn: accepted for the contract; these layers never run cuDNN, and on a GPU True is
            refused when the layer is built.
        vocab_size: None for vectors (B, T, D) as input; D for integer ids (B, T), which read
            rows of `kernel` instead of multiplying one-hot vectors by it.
        weight_drop: share of the recurrent weights that is dropped in training, anew in each call.

    Raises:
        ValueError: an option out of range.
    """

    CELL: type[RecurrentCell]
    compiled_training = True
    """Whether training may run in machine code. A TensorFlow graph that contains machine code can
    neither be saved nor be compiled later by an outer `tf.function(jit_compile=True)`: set this to
    False before tracing such a graph, or give `jit_compile=True` to the inner function too.
    """
    compiled_inference = False
    """Whether inference may too, as in `charlm.training.streams.Streams`, with the same limits."""
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
        if use_cudnn not in ("auto", True, False):
            raise ValueError(
                f"Expected use_cudnn to be 'auto', True or False. Received: use_cudnn={use_cudnn!r}"
            )
        kwargs.pop("implementation", None)  # Keras 2's, accepted and ignored as there
        compiled = {name: kwargs.pop(name) for name in COMPILED if name in kwargs}
        own = {name: options.pop(name) for name in self.CELL.OPTIONS}
        shared = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        super().__init__(
            self.CELL(**own, **shared, name=keras_name(self.CELL)), **options, **kwargs
        )
        if "use_cudnn" in self.OPTIONS:
            self.use_cudnn = use_cudnn
        for name, allowed in compiled.items():  # as `get_config` wrote them
            setattr(self, name, allowed)
        self.input_spec = keras.layers.InputSpec(ndim=2 if self.vocab_size else 3)

    def build(self, sequences_shape, initial_state_shape=None):
        if getattr(self, "use_cudnn", False) is True and numpy_op.on_gpu():
            raise ValueError(
                "Expected use_cudnn='auto' or False on a GPU: this layer is written by hand and "
                "never runs cuDNN; keras.layers has one that does. Received: use_cudnn=True"
            )
        if self.vocab_size:
            sequences_shape = (*sequences_shape, 1)
        super().build(sequences_shape, initial_state_shape)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """(B, T, D) or ids (B, T) -> h: (B, T, H) or (B, H), and the states if asked for."""
        if self.vocab_size:
            sequences = ops.expand_dims(sequences, -1)
        try:
            # a wrapper such as TimeDistributed calls this in an autocast scope of its own
            with AutocastScope(self.compute_dtype):
                result = super().call(sequences, initial_state, mask, training)
        finally:  # a call that was refused must not leave its dropout masks to the next one
            self._maybe_reset_dropout_masks(self.cell)
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
        states = self._checked_states(initial_state, sequences)
        if self.stateful:  # torch assigns in place to what autograd still needs
            states = tuple(ops.copy(s) for s in states)
        live = _time_mask(mask[0] if isinstance(mask, (list, tuple)) else mask, sequences)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            live = None if live is None else ops.flip(live, axis=1)
        masks = cell.input_masks(sequences[:, 0], training)
        drop = cell.recurrent_masks(states[0], training)
        if drop is not None:  # made for the states as they were given
            drop = [ops.broadcast_to(m, ops.shape(states[0])) for m in drop]
        weights = cell.recurrent_weights(training)
        way = self.backward_pass(live is not None, training, sequences)
        if way == "compiled":
            h, states = self._compiled(sequences, states, weights, masks, drop, live, training)
        elif way == "hand-derived":
            # (T, B, G*H); a mask (B, D) holds for every t
            a_x = cell.project(ops.swapaxes(sequences, 0, 1), masks)
            h, states = bptt.run(cell, a_x, states, weights)
            h = ops.swapaxes(h, 0, 1)
        else:
            h, states = self._autodiff(sequences, states, weights, masks, drop, live, training)
        if live is not None:
            h = self._masked_outputs(h, live, way)
        h = self._with_static_shape(h, sequences)
        return h[:, -1], h, list(states)

    def _checked_states(self, given, sequences):
        """The initial states as a tuple of (B, H), broadcast where Keras does.

        Raises:
            ValueError: another number of states, or one that cannot be broadcast.
        """
        B, H, S = sequences.shape[0], self.units, len(self.cell.STATES)
        shapes = [tuple(s.shape) for s in given]

        def fits(shape):
            rows = shape[0] if len(shape) == 2 else 1
            return len(shape) in (1, 2) and shape[-1] == H and (None in (B, rows) or rows in (1, B))

        if len(shapes) != S or not all(map(fits, shapes)):
            raise ValueError(
                f"Expected {S} initial state{'s' * (S > 1)} of shape (batch, {H}), where batch is "
                f"{'that of the input' if B is None else B}, or (1, {H}) or ({H},). "
                f"Received: shapes {shapes}"
            )
        known = [s if B is not None and s.shape == (B, H) else None for s in given]
        wanted = (ops.shape(sequences)[0], H)
        pairs = zip(given, known, strict=True)
        return tuple(ops.broadcast_to(s, wanted) if k is None else k for s, k in pairs)

    def _with_static_shape(self, h, sequences):
        """TensorFlow forgets lengths in its loops that layers above may need."""
        if keras.backend.backend() == "tensorflow" and not hasattr(h, "numpy"):
            h.set_shape((sequences.shape[0], h.shape[1] or sequences.shape[1], self.units))
        return h

    def backward_pass(self, masked=False, training=True, tensor=None):
        """How gradients are computed: "compiled", by "hand-derived" backward pass or "autodiff".

        Machine code serves training on a CPU in float32 or, where the processor multiplies it, in
        bfloat16, with Numba installed and not under TensorFlow's XLA; with `compiled_inference` it
        serves inference too. Without machine code, training is by the cell's `step_backward` if
        there is neither a time mask nor recurrent dropout. Autodiff serves the rest: inference,
        unrolled loops, activations that machine code has not.

        Args:
            masked: whether there is a time mask. training: as of the call. tensor: an input of it.
        """
        cell = self.cell
        dropped = training and 0 < cell.recurrent_dropout < 1
        wanted = self.compiled_training if training else self.compiled_inference
        if wanted and not self.unroll and cell.compiled(dropped) and numpy_op.is_supported(tensor):
            return "compiled"
        simple = training and not (masked or dropped or self.unroll)
        return "hand-derived" if simple and cell.can_step_backward() else "autodiff"

    def _compiled(self, sequences, states, weights, masks, drop, live, training):
        cell = self.cell
        arrays = dict(zip(("U", "d"), weights, strict=False))
        arrays |= dict(zip(cell.STATES, states, strict=True))
        if cell.vocab_size and masks is None:
            arrays |= {"rows": cell.input_table(), "ids": sequences[..., 0]}
        elif cell.vocab_size or isinstance(masks, list):  # a mask for each gate
            masks = keras.tree.map_structure(lambda m: m[:, None], masks)
            arrays["rows"] = cell.project(sequences, masks)
        else:
            x = ops.cast(sequences, "float32")
            arrays |= {"x": x if masks is None else x * masks[:, None]}
            arrays |= {"W": tensor(cell.kernel), "b": cell.input_bias()}
        arrays |= {"live": live, "drop": None if drop is None else ops.stack(drop)}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        show_first = keras.backend.backend() == "jax"  # see `_masked_outputs`
        return bptt.run_compiled(cell, sequences.shape[1], arrays, training, show_first)

    def _autodiff(self, sequences, states, weights, masks, drop, live, training):
        cell = self.cell
        if not training:  # see `RecurrentCell.projection`
            weights = cell.cast_operands(weights)
        xs, project = cell.projection(sequences, masks, training)
        given = xs, project, states, weights, drop, live
        return bptt.in_backend_ops(cell, *given, self.unroll, every_step=self.return_sequences)

    def _masked_outputs(self, h, live, way):
        """What is shown of h: where a step is left out, the output before it, or zeros.

        What stands before the first output differs between Keras's own loops: h in JAX's scan,
        zeros elsewhere. So it does here.
        """
        if self.zero_output_for_mask:
            shown = live[..., None]
        elif way == "compiled" or (keras.backend.backend() == "jax" and not self.unroll):
            return h  # machine code does the same by itself
        else:
            shown = bptt.begun(live)
        if not self.return_sequences:  # then h may hold the last step alone
            shown = shown[:, -1:]
        return ops.where(shown, h, ops.zeros_like(h))

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        if "use_cudnn" in self.OPTIONS:
            config["use_cudnn"] = self.use_cudnn
        # Bidirectional and clone_model make new layers of this, which must be allowed the same
        compiled = {name: getattr(self, name) for name in COMPILED}
        config |= {k: v for k, v in compiled.items() if v != getattr(type(self), k)}
        cell = self.cell.get_config()
        return config | {name: cell[name] for name in self.CELL.OPTIONS if name in cell}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _time_mask(mask, sequences):
    """A mask as booleans (B, T); it may be given as (B, T, 1), too."""
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == 3 and mask.shape[-1] == 1:
        mask = ops.squeeze(mask, -1)
    B, T = sequences.shape[:2]
    pairs = zip(mask.shape, (B, T), strict=False)
    if len(mask.shape) != 2 or any(None not in p and p[0] != p[1] for p in pairs):
        raise ValueError(
            f"Expected a mask of shape ({B or 'batch'}, {T or 'time'}). "
            f"Received: shape {tuple(mask.shape)}"
        )
    return mask


def keras_name(cls):
    """A class's name as Keras writes it, for example `lstm_cell`, `simple_rnn_cell`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
