"""The base class of recurrent layers: a cell over time. It knows no gates.

`Recurrent` keeps the public contract of `keras.layers.RNN` (states, masks, stateful, functional
use) and replaces its loop.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src.backend import AutocastScope

from charlm.layers import bptt, numpy_op
from charlm.layers.annotations import Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.masks import has_started, time_mask
from charlm.layers.mixed_precision import MixedPrecisionMatmul, tensor
from charlm.layers.options import KERAS_LAYER_OPTIONS, LAYER_OPTIONS, bind, set_signature
from charlm.layers.shapes import broadcast_states, with_static_shape

COMPILED = "compiled_training", "compiled_inference"  # attributes of layers


class Recurrent(MixedPrecisionMatmul, keras.layers.RNN):
    """Runs a cell over time; constructor, calls, weights and files are those of `keras.layers`.

    A subclass names its `CELL`. The arguments of its constructor are the cell's options and its own
    `OPTIONS`, in the order of its `keras.layers` namesake if it has one.

    Raises:
        ValueError: an option out of range.
    """

    CELL: type[RecurrentCell]
    compiled_training = True
    """Allows machine code in training. A TensorFlow graph that contains machine code cannot be
    saved, and an outer `tf.function(jit_compile=True)` cannot compile it: set this to False before
    tracing such a graph, or give `jit_compile=True` to the inner function too.
    """
    compiled_inference = False
    """Allows machine code in inference too, with the same limits."""
    OPTIONS = LAYER_OPTIONS

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        set_signature(cls, cls.CELL.OPTIONS | cls.OPTIONS, KERAS_LAYER_OPTIONS)
        for name in cls.CELL.OPTIONS:  # layer.units is layer.cell.units, and so on
            if not hasattr(cls, name):
                setattr(cls, name, _of_cell(name))

    def __init__(self, *args: Any, **kwargs: Any):
        options, kwargs = bind(self, args, kwargs)
        use_cudnn = options.pop("use_cudnn", "auto")
        if use_cudnn not in ("auto", True, False):
            raise ValueError(
                f"Expected use_cudnn to be 'auto', True or False. Received: use_cudnn={use_cudnn!r}"
            )
        kwargs.pop("implementation", None)  # of Keras 2, ignored as in Keras 3
        compiled = {name: kwargs.pop(name) for name in COMPILED if name in kwargs}
        own = {name: options.pop(name) for name in self.CELL.OPTIONS}
        shared = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        super().__init__(
            self.CELL(**own, **shared, name=keras_name(self.CELL)), **options, **kwargs
        )
        if "use_cudnn" in self.OPTIONS:
            self.use_cudnn = use_cudnn
        for name, allowed in compiled.items():  # from `get_config`
            setattr(self, name, allowed)
        axes = {-1: 2} if self.context_size else None
        self.input_spec = keras.layers.InputSpec(
            ndim=2 if self._reads_single_ids() else 3, axes=axes
        )

    def build(
        self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None
    ) -> None:
        if getattr(self, "use_cudnn", False) is True and numpy_op.on_gpu():
            raise ValueError(
                "Expected use_cudnn='auto' or False on a GPU: this layer is written by hand and "
                "never runs cuDNN; keras.layers has one that does. Received: use_cudnn=True"
            )
        if self._reads_single_ids():
            sequences_shape = (*sequences_shape, 1)
        super().build(sequences_shape, initial_state_shape)

    def call(
        self,
        sequences: Tensor,
        initial_state: Sequence[Tensor] | None = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Tensor | Tensors:
        """Computes h, (B, T, H) or (B, H), of (B, T, D) or ids (B, T), and states if asked.

        With `context_size`, the input is ids and contexts (B, T, 2).
        """
        if self._reads_single_ids():
            sequences = ops.expand_dims(sequences, -1)
        try:
            # a wrapper such as TimeDistributed calls this in an autocast scope of its own
            with AutocastScope(self.compute_dtype):
                result = super().call(sequences, initial_state, mask, training)
        finally:  # a call that failed must not leave its dropout masks to the next one
            self._maybe_reset_dropout_masks(self.cell)
        return self._shown(result, lambda h: ops.cast(h, self.product_dtype))

    def _reads_single_ids(self):
        return self.vocab_size and not self.context_size

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Tensor | Tensors:
        spec = super().compute_output_spec(*args, **kwargs)
        return self._shown(spec, lambda h: keras.KerasTensor(h.shape, self.product_dtype))

    def _shown(self, result, convert):
        """Converts the output to the policy's dtype; states stay as they are."""
        return (convert(result[0]), *result[1:]) if self.return_state else convert(result)

    def inner_loop(
        self, sequences: Tensor, initial_state: Sequence[Tensor], mask: Any, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Runs the loop: `keras.layers.RNN` calls this for (last output, all outputs, states)."""
        cell = self.cell
        states = broadcast_states(initial_state, sequences, len(cell.STATES), self.units)
        if self.stateful:  # torch assigns in place to what autograd still needs
            states = tuple(ops.copy(s) for s in states)
        live = time_mask(mask[0] if isinstance(mask, (list, tuple)) else mask, sequences)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            live = None if live is None else ops.flip(live, axis=1)
        masks = cell.input_masks(sequences[:, 0], training)
        drop = cell.recurrent_masks(states[0], training)
        if drop is not None:  # drawn for the states as the caller gave them
            drop = [ops.broadcast_to(m, ops.shape(states[0])) for m in drop]
        weights = cell.recurrent_weights(training)
        way = self.backward_pass(live is not None, training, sequences)
        if way == "compiled":
            h, states = self._compiled(sequences, states, weights, masks, drop, live, training)
        elif way == "hand-derived":
            # (T, B, G*H); a mask (B, D) serves every t
            a_x = cell.project(ops.swapaxes(sequences, 0, 1), masks)
            h, states = bptt.run(cell, a_x, states, weights)
            h = ops.swapaxes(h, 0, 1)
        else:
            h, states = self._autodiff(sequences, states, weights, masks, drop, live, training)
        if live is not None:
            h = self._masked_outputs(h, live, way)
        h = with_static_shape(h, sequences, self.units)
        return h[:, -1], h, list(states)

    def backward_pass(
        self, masked: bool = False, training: bool = True, tensor: Tensor | None = None
    ) -> str:
        """Chooses how gradients are computed: "compiled", "hand-derived" or "autodiff".

        Machine code runs training on a CPU in float32 or, where the processor multiplies it, in
        bfloat16, with Numba installed and not under TensorFlow's XLA; with `compiled_inference` it
        runs inference too. Otherwise training uses the cell's `step_backward` if there is neither a
        time mask nor recurrent dropout. Autodiff does the rest: inference, unrolled loops,
        activations without machine code.

        Args:
            masked: whether there is a time mask.
            training: whether the call trains.
            tensor: an input of the call.
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
            if cell.context_size:
                arrays |= {"context_rows": cell.context_table(), "contexts": sequences[..., 1]}
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
        """Fills the output at masked steps: with the output before it, or with zeros.

        Before the first unmasked step Keras's own loops differ: JAX's scan outputs h, the others
        output zeros. This does the same.
        """
        if self.zero_output_for_mask:
            shown = live[..., None]
        elif way == "compiled" or (keras.backend.backend() == "jax" and not self.unroll):
            return h  # machine code has filled it
        else:
            shown = has_started(live)
        if not self.return_sequences:  # then h may hold only the last step
            shown = shown[:, -1:]
        return ops.where(shown, h, ops.zeros_like(h))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        if "use_cudnn" in self.OPTIONS:
            config["use_cudnn"] = self.use_cudnn
        # for Bidirectional and clone_model, which make new layers from this configuration
        compiled = {name: getattr(self, name) for name in COMPILED}
        config |= {k: v for k, v in compiled.items() if v != getattr(type(self), k)}
        cell = self.cell.get_config()
        return config | {name: cell[name] for name in self.CELL.OPTIONS if name in cell}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Recurrent":
        return cls(**config)


def _of_cell(name):
    return property(lambda self: getattr(self.cell, name))


def keras_name(cls: type) -> str:
    """Converts a class's name as Keras does, for example to `lstm_cell` or `simple_rnn_cell`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
