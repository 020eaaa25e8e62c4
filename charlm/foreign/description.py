"""What the JSON in a model's file says beside its arrays."""

import re
from dataclasses import dataclass

from charlm.errors import InputError
from charlm.foreign.kinds import GATES, check_order, forbid, kind_of
from charlm.foreign.wiring import chain

STOCK = {
    "InputLayer", "Embedding", "LSTM", "GRU", "SimpleRNN", "Dense", "TimeDistributed",
    "Activation", "Softmax", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise",
}  # fmt: skip


@dataclass
class Described:
    """What a model's JSON adds to its arrays."""

    kinds: dict[str, str]  # by layer
    activation: str | None
    recurrent_activation: str | None
    reset_after: bool


def describe(config):
    """What a model's JSON says.

    Raises:
        InputError: layers, options or wiring that charlm's models do not have; names them.
    """
    kinds, activations, resets = {}, set(), set()
    if config["class_name"] not in ("Sequential", "Functional", "Model"):
        raise InputError(f"expected a Sequential or Functional model, found {_class(config)}")
    for layer in _layers(config):
        name = layer["config"].get("name") or str(len(kinds))
        if layer["class_name"] == "TimeDistributed":
            layer = _stock(layer["config"]["layer"])
            if kind_of(layer["class_name"]) not in (None, "dense"):
                raise InputError(f"expected TimeDistributed(Dense), found it of {_class(layer)}")
        kind, options = kind_of(layer["class_name"]), layer["config"]
        if kind:
            kinds[name] = kind
        if options.get("mask_zero"):
            raise InputError(f"expected every id to be read, found mask_zero at {name!r}")
        activation = _text(options.get("activation"))
        if kind in GATES:
            inner = options.get("recurrent_activation", options.get("inner_activation"))
            activations.add((activation, _text(inner)))
            resets |= {bool(options.get("reset_after"))} if kind == "gru" else set()
            if options.get("go_backwards"):
                raise InputError(f"expected layers that read forward, found {name!r} backward")
            continue
        activation = "softmax" if layer["class_name"] == "Softmax" else activation
        allowed = (None, "linear", "softmax") if "dense" in kinds.values() else (None, "linear")
        if activation not in allowed:
            raise InputError(
                f"expected no activation but softmax at the end, found {activation!r} at {name!r}"
            )
    if len(activations) > 1 or len(resets) > 1:
        raise InputError(
            "expected one activation, recurrent_activation and reset_after in all recurrent layers,"
            f" found {sorted(activations)} and {sorted(resets)}"
        )
    check_order(kinds)
    return Described(kinds, *(activations or {(None, None)}).pop(), reset_after=True in resets)


def _layers(config):
    """From input to output; a Sequential model is a chain by construction."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner["layers"]  # a list until Keras 2.2.2
    for layer in layers:
        _stock(layer)
    return layers if config["class_name"] == "Sequential" else chain(inner)


def _stock(layer):
    module = layer.get("module") or "keras"
    forbid(layer["class_name"])
    if (
        layer["class_name"] not in STOCK
        or layer.get("registered_name")
        or module.split(".")[0] not in ("keras", "tf_keras")
    ):
        raise InputError(
            "expected layers of Keras itself, of these: Embedding, LSTM, GRU, SimpleRNN, Dense, "
            f"TimeDistributed, Activation, Dropout; found {_class(layer)}"
        )
    return layer


def _class(layer):
    return repr(str(layer.get("registered_name") or layer["class_name"])[:60])


def _text(activation):
    if activation is not None and not (
        isinstance(activation, str) and re.fullmatch(r"\w{1,40}", activation)
    ):
        raise InputError(f"expected an activation by its name, found {str(activation)[:60]!r}")
    return activation
