"""Settles a model's settings from its file, the user's flags and its program's defaults.

The gates' default was hard_sigmoid(a) = clip(0.2 a + 0.5, 0, 1) before Keras 2.3; in Keras 3
hard_sigmoid has the slope 1/6. The default of tf.keras in TensorFlow 2 has always been sigmoid, but
TensorFlow 1.13 to 2.1 all write the same version, 2.2.4-tf.
"""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

from charlm.config import ModelConfig
from charlm.errors import InputError, require
from charlm.interop.keras_files import KerasWeights

SIGMOID_SINCE = (2, 3)  # Keras's default for gates; before, hard_sigmoid
OLD_SLOPE = 1.2  # hard_sigmoid(a) of Keras 1 and 2 equals hard_sigmoid(1.2 a) of Keras 3
TENSORFLOW_1_OR_2 = r"2\.2\.\d+-tf"  # versions of Keras


@dataclass(frozen=True)
class Settings:
    """The settings of a network."""

    config: ModelConfig
    scale: float
    """Factor on the weights of the gates."""
    notes: tuple[str, ...]
    """Assumptions about the model."""


def with_version(found: KerasWeights, file: Path, version: str | None) -> KerasWeights:
    """Sets the version of Keras that the user gave, if any.

    Raises:
        InputError: the file has a version, or another program wrote it.
    """
    if version is None:
        return found
    if found.program != "Keras" or found.keras_version is not None:
        what = f"says {found.keras_version}" if found.keras_version else f"is of {found.program}"
        raise InputError(
            f"expected no --keras-version, because {file} {what}, found {version}; leave it out"
        )
    ok = re.fullmatch(r"\d{1,3}\.\d{1,3}(\.\w{1,20})*", version)
    require(ok, "keras_version", "like 2.15", version)
    return replace(found, keras_version=version)


def settle(
    found: KerasWeights,
    file: Path,
    activation: str | None = None,
    recurrent_activation: str | None = None,
) -> Settings:
    """Settles the settings of a model that was found in a file.

    Args:
        found: the content of the file.
        file: the file.
        activation: the user's flag; None if it is not given.
        recurrent_activation: the user's flag; None if it is not given.

    Raises:
        InputError: the file and a flag contradict each other, the gates' activation is unknown, or
            charlm does not have such a model.
    """
    gated = found.cell != "rnn"
    ok = gated or recurrent_activation is None
    require(ok, "recurrent_activation", "left out for a cell without gates", recurrent_activation)
    told = {"activation": _told(found, file, "activation", activation)}
    if gated:
        name = "recurrent_activation"
        told[name] = _told(found, file, name, recurrent_activation)
    defaults = {"activation": lambda: "tanh", "recurrent_activation": lambda: _gates(found, file)}
    assumed = {name: defaults[name]() for name, value in told.items() if value is None}
    chosen = told | assumed
    old = chosen.get("recurrent_activation") == "hard_sigmoid" and found.version < (3, 0)
    _, recurrent_kernel, bias = found.layers[0]
    config = ModelConfig(
        cell=found.cell,
        units=len(recurrent_kernel),
        layers=len(found.layers),
        dropout=0.0,
        reset="before" if found.cell == "gru" and bias.ndim == 1 else "after",
        **chosen,
    )
    return Settings(config, OLD_SLOPE if old else 1.0, tuple(_notes(found, config, assumed, old)))


def _told(found, file, name, flag):
    """Returns an activation from the file or else from the flag; None if neither says it."""
    said = getattr(found, name)
    if flag and said and flag != said:
        raise InputError(
            f"expected --{name.replace('_', '-')} {said}, which {file} says, found {flag}; "
            "leave it out"
        )
    known = get_args(next(f.type for f in fields(ModelConfig) if f.name == name))
    if said and said not in known:
        raise InputError(
            f"expected {name} {' or '.join(known)} in {file}, found {said}, which charlm's models "
            "do not have"
        )
    return said or flag


def _gates(found, file):
    """Returns the default recurrent_activation of the program that wrote a file."""
    if not _is_of_either(found):
        return "sigmoid" if found.version >= SIGMOID_SINCE else "hard_sigmoid"
    if found.cell == "gru" and found.layers[0][2].ndim == 2:
        return "sigmoid"
    raise InputError(
        f"expected --recurrent-activation, because {file} does not say it and Keras "
        f"{found.keras_version}, which wrote it, came with TensorFlow 1 (hard_sigmoid by default) "
        "and with TensorFlow 2.0 and 2.1 (sigmoid), found none; give that of the TensorFlow that "
        "wrote it"
    )


def _is_of_either(found):
    """Whether TensorFlow 1 or 2 may have written the file; their defaults differ."""
    return bool(re.fullmatch(TENSORFLOW_1_OR_2, found.keras_version or ""))


def _notes(found, config, assumed, old):
    """Yields the assumptions about a model."""
    if assumed:
        values = " and ".join(assumed.values())
        default = "the default" if len(assumed) == 1 else "the defaults"
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in assumed)
        yield (
            f"the file names no activations, assumed: {values}, {default} of {_whose(found)} "
            f"({flags} if it had others)"
        )
    yield from found.notes
    if config.recurrent_activation == "hard_sigmoid" and found.keras_version is None:
        yield (
            f"the file names no version of Keras, assumed: {found.version[0]} (--keras-version if "
            "it was another)"
        )
    if old:
        yield (
            "before Keras 3 hard_sigmoid had the slope 0.2, so the gates' weights were multiplied "
            f"by {OLD_SLOPE} for the slope 1/6"
        )


def _whose(found):
    """Returns the program whose defaults were assumed."""
    if found.program != "Keras":
        return found.program
    if _is_of_either(found) and found.cell == "gru" and found.layers[0][2].ndim == 2:
        return "TensorFlow 2, to which the two rows of the GRU's bias point"
    major, minor = found.version
    return f"Keras {major}.{minor}" if found.keras_version else f"Keras {major}"
