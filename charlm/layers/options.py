"""Options of cells and layers: one table gives constructors, signatures, docstrings and stubs."""

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from charlm.cells import CONTEXT_SCALE


class Option(NamedTuple):
    """One argument of a constructor."""

    default: Any
    kind: str
    """Its type, as the stub file writes it."""
    meaning: str
    """Its description in the docstring, one line."""


REQUIRED = inspect.Parameter.empty
CELL_OPTIONS = {
    "units": Option(REQUIRED, "int", "H, the width of the state."),
    "activation": Option("tanh", "Activation", "activation of the candidate."),
    "recurrent_activation": Option("sigmoid", "Activation", "activation of the gates."),
    "use_bias": Option(True, "bool", "whether the cell has a `bias`."),
    "kernel_initializer": Option("glorot_uniform", "Initializer", "initializer of `kernel`."),
    "recurrent_initializer": Option(
        "orthogonal", "Initializer", "initializer of `recurrent_kernel`."
    ),
    "bias_initializer": Option("zeros", "Initializer", "initializer of `bias`."),
    "kernel_regularizer": Option(None, "Regularizer", "regularizer of `kernel`."),
    "recurrent_regularizer": Option(None, "Regularizer", "regularizer of `recurrent_kernel`."),
    "bias_regularizer": Option(None, "Regularizer", "regularizer of `bias`."),
    "kernel_constraint": Option(None, "Constraint", "constraint on `kernel`."),
    "recurrent_constraint": Option(None, "Constraint", "constraint on `recurrent_kernel`."),
    "bias_constraint": Option(None, "Constraint", "constraint on `bias`."),
    "dropout": Option(0.0, "float", "share of the input dropped, one mask for all time steps."),
    "recurrent_dropout": Option(0.0, "float", "share of h dropped, one mask for all time steps."),
    "seed": Option(None, "int | None", "seed of the dropout masks."),
    "vocab_size": Option(
        None, "int | None", "None for vectors as input; D for integer ids, read as one-hot (D,)."
    ),
    "weight_drop": Option(
        0.0, "float", "share of `recurrent_kernel` dropped, drawn for each call of a layer."
    ),
    "context_size": Option(
        None,
        "int | None",
        "C, for inputs (B, T, 2) of an id and a context 1 to C, whose row is added; 0: their mean.",
    ),
    "context_scale": Option(
        CONTEXT_SCALE,
        "float",
        "factor of the contexts' rows; with a larger one they are learned faster.",
    ),
}
"""Options of every cell."""

UNIT_FORGET_BIAS = {
    "unit_forget_bias": Option(True, "bool", "start the forget gate's bias at 1, to remember."),
}
"""The option of cells with a forget gate."""

RESET_AFTER = {
    "reset_after": Option(True, "bool", "apply the reset gate after the recurrent product."),
}
"""The option of the GRU."""

LAYER_OPTIONS = {
    "activity_regularizer": Option(None, "Regularizer", "regularizer of the outputs."),
    "return_sequences": Option(
        False, "bool", "return h of every step, (B, T, H), instead of the last, (B, H)."
    ),
    "return_state": Option(False, "bool", "return the last states too, each (B, H)."),
    "go_backwards": Option(False, "bool", "read the sequence from its end."),
    "stateful": Option(
        False, "bool", "start each call from the last one's states; `reset_state` zeroes them."
    ),
    "unroll": Option(False, "bool", "write out the loop over time; T must be known."),
    "use_cudnn": Option(
        "auto", 'bool | Literal["auto"]', "accepted but never used; True is an error on a GPU."
    ),
}
"""Options of every layer, in addition to those of its cell."""

KERAS_OPTIONS = {
    "name": Option(None, "str | None", "name of the layer."),
    "trainable": Option(True, "bool", "whether training changes the weights."),
    "dtype": Option(None, "Any", "dtype or dtype policy; half precision affects products only."),
    "autocast": Option(True, "bool", "whether inputs are cast to the layer's dtype."),
    "implementation": Option(2, "int", "accepted for compatibility and ignored."),
}
"""Further arguments of every cell and layer, passed by keyword."""

KERAS_LAYER_OPTIONS = KERAS_OPTIONS | {
    "zero_output_for_mask": Option(False, "bool", "output zeros at masked steps."),
    "compiled_training": Option(True, "bool", "allow machine code in training."),
    "compiled_inference": Option(False, "bool", "allow machine code in inference."),
}
"""Further arguments of every layer, passed by keyword."""

PLACEHOLDER = "Args: see `charlm.layers.options`."
"""The line of a class's docstring that `set_signature` replaces by one line for each argument."""


def without(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the options except one."""
    return {k: v for k, v in options.items() if k != name}


def set_signature(cls: Any, options: Mapping[str, Any], further: Mapping[str, Option]) -> None:
    """Gives a class its constructor's signature and the list of arguments in its docstring.

    Args:
        cls: a cell or layer.
        options: its options by name, in the order of its `keras.layers` namesake if it has one. A
            value that is no `Option` is a default without a description.
        further: arguments that Keras handles, for the docstring.
    """
    ours = [base for base in cls.__mro__ if not base.__module__.startswith("keras.")]
    namesakes = filter(None, (getattr(keras.layers, base.__name__, None) for base in ours))
    namesake = next(namesakes, None)
    order = list(inspect.signature(namesake).parameters) if namesake else []
    names = [n for n in order if n in options] + [n for n in options if n not in order]
    kind = inspect.Parameter
    parameters = [kind(n, kind.POSITIONAL_OR_KEYWORD, default=_default(options[n])) for n in names]
    cls._signature = inspect.Signature([*parameters, kind("kwargs", kind.VAR_KEYWORD)])
    own = inspect.signature(cls.__init__)
    if list(own.parameters) == ["self", "args", "kwargs"]:
        cls.__signature__ = cls._signature
    else:  # a subclass's constructor of its own
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])
    if PLACEHOLDER in (vars(cls)["__doc__"] or ""):  # no docstring under python -OO
        lines = [
            f"    {n}: {o.meaning}"
            for n, o in ({n: options[n] for n in names} | dict(further)).items()
            if isinstance(o, Option)
        ]
        text = inspect.cleandoc(cls.__doc__)
        cls.__doc__ = text.replace(PLACEHOLDER, "\n".join(["Args:", *lines]))


def _default(option):
    return option.default if isinstance(option, Option) else option


def bind(instance: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[dict, dict]:
    """Binds the arguments of a constructor.

    Returns:
        The options, with their defaults filled in, and the arguments that Keras handles.

    Raises:
        TypeError: arguments that do not match the signature.
    """
    try:
        bound = instance._signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{type(instance).__name__}: {error}") from None
    bound.apply_defaults()
    rest = bound.arguments.pop("kwargs")
    return bound.arguments, rest


KINDS = ("activation", "initializer", "regularizer", "constraint")  # options that hold objects


def parsed(name: str, value: Any) -> Any:
    """Converts an option's value to the object that it names, as Keras does."""
    for kind in KINDS:
        if name.endswith(kind):
            return getattr(keras, f"{kind}s").get(value)
    return value


def serialized(name: str, value: Any) -> Any:
    """Converts an option's value to what `get_config` returns: the reverse of `parsed`."""
    for kind in KINDS:
        if name.endswith(kind):
            return getattr(keras, f"{kind}s").serialize(value)
    return value


def activation_name(function: Any) -> str | None:
    """Returns the name in `keras.activations`, or None for a custom function."""
    name = getattr(function, "__name__", None)
    return name if getattr(keras.activations, name or "", None) is function else None


def check_cell_options(options: Mapping[str, Any]) -> None:
    """Checks the numbers among the options of a cell.

    Raises:
        ValueError: an option out of range.
    """

    def require(ok, name, expected):
        if not ok:
            value = options[name]
            raise ValueError(f"Expected {name} to be {expected}. Received: {name}={value!r}")

    units, vocab_size, contexts = (options[n] for n in ("units", "vocab_size", "context_size"))
    require(_is_positive(units), "units", "a positive integer")
    for name in ("dropout", "recurrent_dropout"):
        require(0 <= options[name] <= 1, name, "from 0 to 1")
    require(0 <= options["weight_drop"] < 1, "weight_drop", "from 0 to below 1")
    ok = vocab_size is None or _is_positive(vocab_size)
    require(ok, "vocab_size", "None or a positive integer")
    ok = contexts is None or (_is_positive(contexts) and vocab_size and not options["dropout"])
    require(ok, "context_size", "None, or a positive integer with vocab_size and without dropout")
    scale = options["context_scale"]
    ok = isinstance(scale, numbers.Real) and 0 < float(scale) < math.inf
    require(ok, "context_scale", "a finite number above 0")


def _is_positive(value):
    return isinstance(value, numbers.Integral) and int(value) > 0
