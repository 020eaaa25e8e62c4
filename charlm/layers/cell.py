"""One recurrent step as a Keras layer: options, weights, dropout; a subclass adds its equations."""

from types import ModuleType
from typing import Any

import keras
from keras import ops

from charlm.layers import numpy_op
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.dropout import StepDropout, dropped
from charlm.layers.input_projection import InputProjection
from charlm.layers.mixed_precision import tensor
from charlm.layers.options import (
    CELL_OPTIONS,
    KERAS_OPTIONS,
    activation_name,
    bind,
    check_cell_options,
    parsed,
    serialized,
    set_signature,
)
from charlm.layers.overrides import overrides


class RecurrentCell(InputProjection, keras.layers.Layer, StepDropout):
    """Holds weights and options of one recurrent step; a subclass gives the equations.

    A subclass sets `GATES` and `STATES`, has `step` and, if it can train without autodiff through
    time, `step_backward`. The arguments of its constructor are its `OPTIONS`, in the order of its
    `keras.layers` namesake if it has one.

    Weight drop (DropConnect) leaves the loop over time as it is, unlike recurrent dropout: one
    mask serves all sequences and time steps of a layer's call. Its rate is rounded to 1/256. A
    cell called on its own does not drop weights. Source: Merity, Keskar and Socher 2018,
    "Regularizing and Optimizing LSTM Language Models", section 2.

    Args: see `charlm.layers.options`.

    Raises:
        ValueError: an option out of range.
    """

    GATES: str  # a letter for each of the G blocks of H columns in `kernel`, in their order
    STATES: str  # a letter for each of the S state tensors (B, H); the first is the output, h
    SEEDS_ITSELF_FIRST = False  # create seed_generator before the initializers
    COMPILED: str | None = None  # the module of `charlm.kernels` with the same equations
    OPTIONS = CELL_OPTIONS
    units: int

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        set_signature(cls, cls.OPTIONS, KERAS_OPTIONS)
        # changed equations: inherited derivatives and compiled code no longer match them
        equations = ["step", "recurrent_matmul", "matmul"]
        if overrides(cls, equations, since="step_backward"):
            cls.step_backward = None
        equations += ["step_backward", "project", "input_table", "context_table"]
        if overrides(cls, equations, since="COMPILED"):
            cls.COMPILED = None

    def __init__(self, *args: Any, **kwargs: Any):
        options, kwargs = bind(self, args, kwargs)
        kwargs.pop("implementation", None)  # chooses among Keras's ways to multiply; here is one
        super().__init__(**kwargs)
        check_cell_options(options)
        if self.SEEDS_ITSELF_FIRST:
            self.seed_generator = keras.random.SeedGenerator(seed=options["seed"])
        for name, value in options.items():
            setattr(self, name, parsed(name, value))
        self.units = units = int(self.units)
        if self.recurrent_dropout:
            self.dropout_mask_count = len(self.GATES)  # as in Keras: each gate has its own masks
        if not self.SEEDS_ITSELF_FIRST:
            self.seed_generator = keras.random.SeedGenerator(seed=self.seed)
        S = len(self.STATES)
        self.state_size = units if S == 1 else [units] * S
        self.output_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates `kernel` (D, G*H), `recurrent_kernel` (H, G*H) and `bias`.

        With `context_size`, D is `vocab_size` + `context_size`.
        """
        D, H = input_shape[-1], self.units
        if self.vocab_size:
            D = self.vocab_size + (self.context_size or 0)
        GH = len(self.GATES) * H
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
                shape=self.bias_shape,
                initializer=self.initial_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        super().build(input_shape)

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """The shape of `bias`: (G*H,)."""
        return (len(self.GATES) * self.units,)

    def initial_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """Initializes `bias`; with `unit_forget_bias` the forget gate's part is 1."""
        if not getattr(self, "unit_forget_bias", False):
            return self.bias_initializer(shape, dtype=dtype)
        H, f = self.units, self.GATES.index("f")
        before, after = f * H, (len(self.GATES) - f - 1) * H
        parts = [self.bias_initializer((n,), dtype=dtype) for n in (before, after)]
        return ops.concatenate([parts[0], ops.ones((H,), dtype=dtype), parts[1]])

    def recurrent_weights(self, training: bool = False) -> Tensors:
        """Returns the weights that `step` reads, a tuple of tensors: (U,), U (H, G*H)."""
        U = tensor(self.recurrent_kernel)
        if training and self.weight_drop:
            U = dropped(U, self.weight_drop, self.seed_generator)
        return (U,)

    def step(
        self, a_x: Tensor, states: Tensors, weights: Tensors, masks: Masks = None
    ) -> tuple[Tensors, Tensors]:
        """Computes one time step: the cell's equations.

        Args:
            a_x: (B, G*H), from `project`.
            states: tuple of S tensors (B, H), h first.
            weights: from `recurrent_weights`.
            masks: masks of recurrent dropout: None, or a list of one (B, H) for each gate.

        Returns:
            The new states, and a tuple of the tensors (B, ...) that `step_backward` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    # The derivative of `step` with tanh and sigmoid. A cell that has it trains without autodiff
    # through time. (d_states, cache, before, after, transposed) -> d_states, da:
    #   d_states: dLoss/d(each state) (B, H), after the step, then before it
    #   cache: what `step` returned
    #   before, after: the states before and after the step
    #   transposed: `recurrent_weights`, its matrices transposed
    #   da: dLoss/da_x (B, G*H)
    step_backward: Any = None

    def can_step_backward(self) -> bool:
        """Returns whether `step_backward` exists and matches the cell's activations."""
        own = {
            "activation": keras.activations.tanh,
            "recurrent_activation": keras.activations.sigmoid,
        }
        found = {name: getattr(self, name) for name in own if name in self.OPTIONS}
        return self.step_backward is not None and all(found[n] is own[n] for n in found)

    def compiled(self, dropped: bool = False) -> tuple[ModuleType, ModuleType] | None:
        """Finds the cell's machine code.

        Args:
            dropped: whether there is recurrent dropout.

        Returns:
            The compiled cell and the module of `charlm.kernels` for its products' precision; or
            None if there is no machine code for these options.
        """
        precision, jit = self.product_dtype, numpy_op.load_kernel("jit")
        if self.COMPILED is None or jit is None or precision not in ("float32", "bfloat16"):
            return None
        factors = numpy_op.load_kernel(precision)
        names = [n for n in ("activation", "recurrent_activation") if n in self.OPTIONS]
        activations = {n: activation_name(getattr(self, n)) for n in names}
        # two bfloat16 share a word, so each gate needs an even number of columns
        odd = dropped and factors.IN_WORD > 1 and self.units % factors.IN_WORD
        if not factors.AVAILABLE or odd or None in activations.values():
            return None
        try:
            return jit.cell(self.COMPILED, **activations), factors
        except (ImportError, KeyError):
            return None

    def recurrent_gradients(self, da: Tensor, cache: Tensors, before: Tensors) -> Tensors:
        """Computes gradients of `recurrent_weights`, all steps at once: dU = sum h'^T da.

        Args:
            da: (T, B, G*H).
            cache: as in `step_backward`, of all steps, (T, B, ...).
            before: as in `step_backward`, of all steps, (T, B, H).
        """
        return (self.sum_of_products(before[0], da),)

    def recurrent_matmul(self, h: Tensor, U: Tensor, masks: Masks = None) -> Tensor:
        """Multiplies h by U, each gate with its own mask: (B, H), (H, n*H) -> (B, n*H)."""
        if masks is None:
            return self.matmul(h, U)
        kernels = ops.split(U, len(masks), axis=-1)
        dropped = [h * ops.cast(m, h.dtype) for m in masks]
        parts = [self.matmul(x, k) for x, k in zip(dropped, kernels, strict=True)]
        return ops.concatenate(parts, axis=-1)

    def call(
        self, inputs: Tensor, states: Tensor | Tensors | list[Tensor], training: bool = False
    ) -> tuple[Tensor, Tensor | list[Tensor]]:
        """Computes one step: (B, D), ids (B,) or (B, 1), or with contexts (B, 2) -> h, states."""
        if self.vocab_size and len(inputs.shape) == 1:
            inputs = inputs[:, None]
        nested = isinstance(states, (list, tuple))
        states = tuple(states) if nested else (states,)
        masks = self.input_masks(inputs, training)
        drop_h = self.recurrent_masks(states[0], training)
        a_x = self.project(inputs, masks)
        states, _ = self.step(a_x, states, self.recurrent_weights(), drop_h)
        return states[0], list(states) if nested else states[0]

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Returns zeros, S of (B, H)."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype) for _ in self.STATES]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in type(self).OPTIONS:
            config[name] = serialized(name, getattr(self, name))
        unused = [n for n in ("vocab_size", "context_size", "weight_drop") if not config[n]]
        if not self.context_size:
            unused.append("context_scale")
        for name in unused:
            del config[name]  # so that Keras's namesake accepts the configuration
        return config
