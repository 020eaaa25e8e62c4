"""Reads the JSON that describes a model in a Keras file."""

import re
from dataclasses import dataclass
from typing import Any

from charlm.errors import InputError
from charlm.interop.keras_files.kinds import GATES, check_one_kind, check_order, forbid, kind_of
from charlm.interop.keras_files.wiring import chain

STOCK = {
    "InputLayer", "Embedding", "LSTM", "GRU", "SimpleRNN", "Dense", "TimeDistributed",
    "Activation", "Softmax", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise",
}  # fmt: skip
MAX_LAYERS = 1000
ONE_HOT = "OneHot"  # keras.ops.one_hot in a functional model of Keras 3


@dataclass
class ModelDescription:
    """The description of a model in its JSON."""

    kinds: dict[str, str]  # by layer
    activation: str | None
    recurrent_activation: str | None
    reset_after: bool
    one_hot: int | None  # the classes of a one_hot operation after the input


def describe(config: dict[str, Any]) -> ModelDescription:
    """Reads a model's JSON.

    Raises:
        InputError: the model has layers, options or wiring that charlm lacks; names them.
    """
    if config["class_name"] not in ("Sequential", "Functional", "Model"):
        raise InputError(f"expected a Sequential or Functional model, found {_class(config)}")
    layers = [_named(layer, k) for k, layer in enumerate(_layers(config))]
    kinds = {name: kind for name, kind, _, _ in layers if kind}
    cells = [layer for layer in layers if layer[1] in GATES]
    check_one_kind({name: kind for name, kind, _, _ in cells})
    _check_others([layer for layer in layers if layer[1] not in GATES])
    one_hot = _one_hot(layers)
    activation, recurrent_activation, reset_after = _options(cells)
    check_order(kinds)
    return ModelDescription(kinds, activation, recurrent_activation, reset_after, one_hot)


def _layers(config):
    """Returns the layers from input to output."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner["layers"]  # a list until Keras 2.2.2
    if len(layers) > MAX_LAYERS:
        raise InputError(f"expected {MAX_LAYERS} layers at most, found {len(layers)}")
    for layer in layers:
        # the prefix of charlm.layers in HDF5 files; their options and weights are as in Keras
        layer["class_name"] = layer["class_name"].removeprefix("charlm>")
        _check_stock(layer)
    return layers if config["class_name"] == "Sequential" else chain(inner)


def _named(layer, k):
    """Returns (name, kind, class, options) of layer k, or of the layer in its TimeDistributed."""
    name = layer["config"].get("name") or str(k)
    if layer["class_name"] == "TimeDistributed":
        layer = layer["config"]["layer"]
        _check_stock(layer)
        if kind_of(layer["class_name"]) not in (None, "dense"):
            raise InputError(f"expected TimeDistributed(Dense), found it of {_class(layer)}")
    options = layer["config"]
    if options.get("mask_zero"):
        raise InputError(f"expected every id to be read, found mask_zero at {name!r}")
    return name, kind_of(layer["class_name"]), layer["class_name"], options


def _options(cells):
    """Returns the activation, recurrent_activation and reset_after of all recurrent layers."""
    found = set()
    for name, kind, _, options in cells:
        if options.get("go_backwards"):
            raise InputError(f"expected layers that read forward, found {name!r} backward")
        inner = options.get("recurrent_activation", options.get("inner_activation"))
        reset_after = kind == "gru" and bool(options.get("reset_after"))
        found.add((_text(options.get("activation")), _text(inner), reset_after))
    if len(found) > 1:
        raise InputError(
            "expected one activation, recurrent_activation and reset_after in all recurrent layers,"
            f" found {', '.join(sorted(map(str, found)))}"
        )
    return found.pop() if found else (None, None, False)


def _check_others(layers):
    """Refuses activations outside the recurrent layers, except a softmax at the end."""
    dense, softmax = False, None
    for name, kind, class_name, options in layers:
        dense = dense or kind == "dense"
        activation = _text(options.get("activation"))
        if class_name == "Softmax":
            activation = "softmax"
            _check_last_axis(name, options)
        if activation in (None, "linear"):
            continue
        if activation != "softmax" or not dense:
            raise InputError(
                f"expected no activation but softmax at the end, found {activation!r} at {name!r}"
            )
        if softmax:
            raise InputError(f"expected one softmax, found two: {softmax!r} and {name!r}")
        softmax = name


def _one_hot(layers):
    """Returns the classes of a one_hot operation after the input; None if there is none."""
    places = [k for k, (_, _, class_name, _) in enumerate(layers) if class_name == ONE_HOT]
    if not places:
        return None
    name, _, _, options = layers[places[-1]]
    if places != [1] or layers[0][2] != "InputLayer":
        raise InputError(f"expected one_hot of the input, found {name!r} of something else")
    if any(kind == "embedding" for _, kind, _, _ in layers):
        raise InputError(f"expected one_hot or an Embedding, found both ({name!r})")
    _check_last_axis(name, options)
    return options["num_classes"]


def _check_last_axis(name, options):
    if (axis := options.get("axis", -1)) != -1:
        raise InputError(f"expected {name!r} along the last axis, -1, found axis {axis!r:.20}")


def _check_stock(layer):
    module, registered = layer.get("module") or "keras", layer.get("registered_name")
    forbid(layer["class_name"])
    if layer["class_name"] == ONE_HOT:  # an operation, which Keras registers under its own name
        known = registered in (None, ONE_HOT)
    else:
        names = (None, f"charlm>{layer['class_name']}")
        known = layer["class_name"] in STOCK and registered in names
    if not known or module.split(".")[0] not in ("keras", "tf_keras", "charlm"):
        raise InputError(
            "expected layers of Keras or charlm, of these: Embedding, LSTM, GRU, SimpleRNN, Dense, "
            f"TimeDistributed, Activation, Dropout; found {_class(layer)}"
        )


def _class(layer):
    return repr(str(layer.get("registered_name") or layer["class_name"])[:60])


def _text(activation):
    if activation is not None and not (
        isinstance(activation, str) and re.fullmatch(r"\w{1,40}", activation)
    ):
        raise InputError(f"expected an activation by its name, found {str(activation)[:60]!r}")
    return activation
