"""One recurrent step as a Keras layer: options, weights, dropout; a subclass adds its equations."""

import inspect
import numbers
from functools import partial

import keras
from keras import ops

# Private, because `keras.layers.RNN` asks for this very class when it prepares dropout masks: one
# mask for all time steps of a call, drawn before the loop begins.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from charlm.layers import bptt, numpy_op
from charlm.layers.dropout import dropped


class MixedPrecisionMatmul:
    """What a dtype policy of half precision means here: products are in it, all else in float32.

    Gates, states and the gradients of both are sums of many small steps, which half precision
    would not notice any more; products are where the time goes. So inputs, states and weights come
    in as `compute_dtype`, and `RecurrentCell.matmul` rounds what it multiplies.
    """

    @property
    def compute_dtype(self):
        """Of all but the operands of products: the policy's, float32 at least."""
        return keras.backend.result_type(self.product_dtype, "float32")

    @property
    def product_dtype(self):
        """Of the operands of products and of a layer's output: the policy's."""
        return super().compute_dtype


class RecurrentCell(MixedPrecisionMatmul, keras.layers.Layer, DropoutRNNCell):
    """Weights and options of one recurrent step; a subclass gives the equations.

    A subclass says its `GATES` and `STATES`, has `step` and, if it can train without autodiff
    through time, `step_backward`. Its constructor's options are `OPTIONS` and its own, in the order
    of its `keras.layers` namesake if it has one.

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
        weight_drop: share of `recurrent_kernel`'s elements that is dropped in training, the same
            for all sequences and time steps of a layer's call; in steps of 1/256. Unlike
            `recurrent_dropout` it leaves the loop over time as it is. A cell called on its own
            drops none. Source: Merity, Keskar and Socher 2018, "Regularizing and Optimizing LSTM
            Language Models", section 2.

    Raises:
        ValueError: an option out of range.
    """

    GATES: str  # a letter for each of the G blocks of H columns in `kernel`, in their order
    STATES: str  # a letter for each of the S state tensors (B, H); the first is the output, h
    SEEDS_ITSELF_FIRST = False  # create seed_generator before the initializers
    COMPILED: str | None = None  # the module of `charlm.kernels` with the same equations
    OPTIONS = {  # noqa: RUF012 - never changed
        "units": inspect.Parameter.empty,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "kernel_initializer": "glorot_uniform",
        "recurrent_initializer": "orthogonal",
        "bias_initializer": "zeros",
        "kernel_regularizer": None,
        "recurrent_regularizer": None,
        "bias_regularizer": None,
        "kernel_constraint": None,
        "recurrent_constraint": None,
        "bias_constraint": None,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "seed": None,
        "vocab_size": None,
        "weight_drop": 0.0,
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        set_signature(cls, cls.OPTIONS)
        # other equations than those it is the derivative of, or that were compiled
        equations = ["step", "recurrent_matmul", "matmul"]
        if _changed(cls, equations, since="step_backward"):
            cls.step_backward = None
        if _changed(cls, [*equations, "step_backward", "project", "input_table"], since="COMPILED"):
            cls.COMPILED = None

    def __init__(self, *args, **kwargs):
        options, kwargs = bind(self, args, kwargs)
        kwargs.pop("implementation", None)  # Keras's choice of a way to multiply; here is one
        super().__init__(**kwargs)
        units, vocab_size = options["units"], options["vocab_size"]
        ok = isinstance(units, numbers.Integral) and units > 0
        _require(ok, "units", "a positive integer", units)
        for name in ("dropout", "recurrent_dropout"):
            _require(0 <= options[name] <= 1, name, "from 0 to 1", options[name])
        ok = 0 <= options["weight_drop"] < 1
        _require(ok, "weight_drop", "from 0 to below 1", options["weight_drop"])
        ok = vocab_size is None or (isinstance(vocab_size, numbers.Integral) and vocab_size > 0)
        _require(ok, "vocab_size", "None or a positive integer", vocab_size)
        if self.SEEDS_ITSELF_FIRST:
            self.seed_generator = keras.random.SeedGenerator(seed=options["seed"])
        for name, value in options.items():
            setattr(self, name, _parsed(name, value))
        self.units = units = int(units)
        if self.recurrent_dropout:
            self.dropout_mask_count = len(self.GATES)  # as in Keras: each gate has its own masks
        if not self.SEEDS_ITSELF_FIRST:
            self.seed_generator = keras.random.SeedGenerator(seed=self.seed)
        S = len(self.STATES)
        self.state_size = units if S == 1 else [units] * S
        self.output_size = units

    def build(self, input_shape):
        """Makes `kernel` (D, G*H), `recurrent_kernel` (H, G*H) and `bias`."""
        D, H = self.vocab_size or input_shape[-1], self.units
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
    def bias_shape(self):
        """(G*H,)."""
        return (len(self.GATES) * self.units,)

    def initial_bias(self, shape, dtype=None):
        """The bias a cell starts with; the forget gate's is 1 with `unit_forget_bias`."""
        if not getattr(self, "unit_forget_bias", False):
            return self.bias_initializer(shape, dtype=dtype)
        H, f = self.units, self.GATES.index("f")
        before, after = f * H, (len(self.GATES) - f - 1) * H
        parts = [self.bias_initializer((n,), dtype=dtype) for n in (before, after)]
        return ops.concatenate([parts[0], ops.ones((H,), dtype=dtype), parts[1]])

    def recurrent_weights(self, training=False):
        """What `step` needs of the weights, as a tuple of tensors: (U,), U (H, G*H)."""
        U = tensor(self.recurrent_kernel)
        if training and self.weight_drop:
            U = dropped(U, self.weight_drop, self.seed_generator)
        return (U,)

    def step(self, a_x, states, weights, masks=None):
        """One time step: the cell's equations.

        Args:
            a_x: (B, G*H), from `project`.
            states: tuple of S tensors (B, H), h first.
            weights: from `recurrent_weights`.
            masks: recurrent dropout: None, or a list of one (B, H) for each gate.

        Returns:
            The new states, and a tuple of the tensors (B, ...) that `step_backward` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    # (d_states, cache, before, after, transposed) -> d_states, da, for tanh and sigmoid:
    #   d_states: dLoss/d(each state) (B, H), after the step, then before it
    #   cache: what `step` returned. before, after: the states around the step
    #   transposed: `recurrent_weights`, its matrices transposed
    #   da: dLoss/da_x (B, G*H)
    # A cell that has it trains without autodiff through time.
    step_backward = None

    def can_step_backward(self):
        """Whether there is a `step_backward`, and it is of these activations."""
        own = {
            "activation": keras.activations.tanh,
            "recurrent_activation": keras.activations.sigmoid,
        }
        found = {name: getattr(self, name) for name in own if name in self.OPTIONS}
        return self.step_backward is not None and all(found[n] is own[n] for n in found)

    def compiled(self, dropped=False):
        """The cell in machine code and how its factors lie, or None where there is no such.

        Args:
            dropped: whether there is recurrent dropout.
        """
        precision, jit = self.product_dtype, numpy_op.load_kernel("jit")
        if self.COMPILED is None or jit is None or precision not in ("float32", "bfloat16"):
            return None
        factors = numpy_op.load_kernel(precision)
        names = [n for n in ("activation", "recurrent_activation") if n in self.OPTIONS]
        activations = {n: _name_of_activation(getattr(self, n)) for n in names}
        # two bfloat16 share a word, so each gate needs an even number of columns
        odd = dropped and factors.IN_WORD > 1 and self.units % factors.IN_WORD
        if not factors.AVAILABLE or odd or None in activations.values():
            return None
        try:
            return jit.cell(self.COMPILED, **activations), factors
        except (ImportError, KeyError):
            return None

    def recurrent_gradients(self, da, cache, before):
        """Gradients of `recurrent_weights`, summed over all steps at once: dU = sum h'^T da.

        Args:
            da: (N, G*H), N = T * B rows of all steps. cache, before: as in `step_backward`, in
                rows too.
        """
        return (self.matmul(ops.transpose(before[0]), da),)

    def matmul(self, x, W):
        """x W of operands in `product_dtype`: (..., N), (N, M) -> (..., M) in `compute_dtype`."""
        if self.product_dtype == self.compute_dtype:
            return ops.matmul(x, W)
        x, W = self.cast_operands((x, W))
        return ops.cast(ops.matmul(x, W), self.compute_dtype)

    def cast_operands(self, tensors):
        """The matrices among tensors as `matmul` wants them, so that it need not round them."""
        return [ops.cast(x, self.product_dtype) if len(x.shape) > 1 else x for x in tensors]

    def project(self, inputs, masks=None):
        """The inputs' share of the pre-activations, x W + b, for any number of steps at once.

        Args:
            inputs: (..., D), or integer ids (..., 1) where `vocab_size` is set.
            masks: input dropout: None, one mask for all gates or a list of one each. A mask has
                the shape (B, D), or (B, 1, D) where `inputs` has a time axis.

        Returns:
            (..., G*H).
        """
        if self.vocab_size and masks is None:
            return bptt.gather_rows(self.input_table(), inputs[..., 0])
        return self._projected(tensor(self.kernel), self.input_bias(), inputs, masks)

    def _projected(self, kernel, bias, inputs, masks=None):
        """`project` with weights that were read before."""
        if not isinstance(masks, list):
            masks = [masks]
        kernels = ops.split(kernel, len(masks), axis=-1)
        parts = [self._times(inputs, m, k) for m, k in zip(masks, kernels, strict=True)]
        a_x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        return a_x if bias is None else a_x + bias

    def projection(self, inputs, masks=None, training=False):
        """`project` for a loop over time.

        It multiplies one time step at a time where it can. That is quicker, because the product of
        all steps is larger than the caches.

        Args:
            inputs: (B, T, D), or integer ids (B, T, 1). masks: as of `project`, for one step.
            training: whether gradients are wanted.

        Returns:
            (B, T, ...), and a function of a step of it, (B, ...) -> (B, G*H).
        """
        if _changed(type(self), ["project"], since="projection"):
            return inputs, partial(self.project, masks=masks)
        if self.vocab_size and training:  # the gradient of all rows together is one sum by id
            if masks is not None:
                masks = keras.tree.map_structure(lambda m: m[:, None], masks)
            return self.project(inputs, masks), lambda a_x: a_x
        if self.vocab_size:
            rows, ids = bptt.with_row_of_nan(self.input_table(), inputs[..., 0])
            return ids, lambda i: ops.take(rows, i, axis=0)
        kernel = tensor(self.kernel)
        if not training:  # in training each step rounds it, so that gradients add up in float32
            (kernel,) = self.cast_operands([kernel])
        return inputs, partial(self._projected, kernel, self.input_bias(), masks=masks)

    def input_table(self):
        """x W + b for each id x: (D, G*H). To add b here is cheaper than to all B * T inputs."""
        kernel, bias = tensor(self.kernel), self.input_bias()
        return kernel if bias is None else kernel + bias

    def _times(self, inputs, mask, kernel):
        if not self.vocab_size:
            # Keras's own RNN makes masks in half precision where the policy says so
            kept = inputs if mask is None else inputs * ops.cast(mask, inputs.dtype)
            return self.matmul(kept, kernel)
        rows = bptt.gather_rows(kernel, inputs[..., 0])
        inputs = ops.clip(ops.cast(inputs, "int32"), 0, self.vocab_size - 1)
        kept = ops.take_along_axis(mask + ops.zeros_like(inputs, dtype=mask.dtype), inputs, axis=-1)
        return rows * kept

    def input_bias(self):
        """The bias that is added to x W, (G*H,), or None."""
        return None if self.bias is None else tensor(self.bias)

    def recurrent_matmul(self, h, U, masks=None):
        """h U, where each gate may see its own part of h: (B, H), (H, n*H) -> (B, n*H)."""
        if masks is None:
            return self.matmul(h, U)
        kernels = ops.split(U, len(masks), axis=-1)
        dropped = [h * ops.cast(m, h.dtype) for m in masks]
        parts = [self.matmul(x, k) for x, k in zip(dropped, kernels, strict=True)]
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
        nested = isinstance(states, (list, tuple))
        states = tuple(states) if nested else (states,)
        masks = self.input_masks(inputs, training)
        drop_h = self.recurrent_masks(states[0], training)
        a_x = self.project(inputs, masks)
        states, _ = self.step(a_x, states, self.recurrent_weights(), drop_h)
        return states[0], list(states) if nested else states[0]

    def get_initial_state(self, batch_size=None):
        """Zeros, S of (B, H)."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype) for _ in self.STATES]

    def get_config(self):
        config = super().get_config()
        for name in type(self).OPTIONS:
            config[name] = _serialized(name, getattr(self, name))
        for name in ("vocab_size", "weight_drop"):
            if not config[name]:
                del config[name]  # so that Keras's namesake can be made of it
        return config


def tensor(variable):
    """A variable's value in the compute dtype; TensorFlow's custom gradients refuse variables."""
    return ops.copy(ops.convert_to_tensor(variable))


def _name_of_activation(function):
    """As `keras.activations` has it, or None for a function of somebody's own."""
    name = getattr(function, "__name__", None)
    return name if getattr(keras.activations, name or "", None) is function else None


def _changed(cls, names, since):
    """Whether a class defines one of `names` below the class that defines `since`."""
    return min(_depth(cls, name) for name in names) < _depth(cls, since)


def _depth(cls, name):
    """How far up the bases an attribute is defined."""
    return next(k for k, base in enumerate(cls.__mro__) if name in vars(base))


def without(options, name):
    """`options` less one."""
    return {k: v for k, v in options.items() if k != name}


def set_signature(cls, options):
    """Gives a class its constructor: `options` {name: default}, in its Keras namesake's order."""
    ours = [base for base in cls.__mro__ if not base.__module__.startswith("keras.")]
    namesakes = filter(None, (getattr(keras.layers, base.__name__, None) for base in ours))
    namesake = next(namesakes, None)
    order = list(inspect.signature(namesake).parameters) if namesake else []
    names = [n for n in order if n in options] + [n for n in options if n not in order]
    kind = inspect.Parameter
    parameters = [kind(n, kind.POSITIONAL_OR_KEYWORD, default=options[n]) for n in names]
    cls._signature = inspect.Signature([*parameters, kind("kwargs", kind.VAR_KEYWORD)])
    own = inspect.signature(cls.__init__)
    if list(own.parameters) == ["self", "args", "kwargs"]:
        cls.__signature__ = cls._signature
    else:  # a subclass's constructor of its own
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])


def bind(instance, args, kwargs):
    """The options of a call to the constructor, defaults filled in, and Keras's other arguments."""
    try:
        bound = instance._signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{type(instance).__name__}: {error}") from None
    bound.apply_defaults()
    rest = bound.arguments.pop("kwargs")
    return bound.arguments, rest


KINDS = ("activation", "initializer", "regularizer", "constraint")  # of objects among the options


def _parsed(name, value):
    for kind in KINDS:
        if name.endswith(kind):
            return getattr(keras, f"{kind}s").get(value)
    return value


def _serialized(name, value):
    for kind in KINDS:
        if name.endswith(kind):
            return getattr(keras, f"{kind}s").serialize(value)
    return value


def _require(ok, name, expected, value):
    if not ok:
        raise ValueError(f"Expected {name} to be {expected}. Received: {name}={value!r}")
