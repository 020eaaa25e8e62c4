"""Weights in fewer bits: rounded to 16-bit floats, or to bytes with a scale for each column."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from charlm.config import ModelConfig
from charlm.reference.network import DENSE, layer_path

Kind = Literal["fp32", "fp16", "int8"]
LARGEST = 127  # of a byte


def rounded(
    weights: Mapping[str, np.ndarray], config: ModelConfig, kind: Kind
) -> dict[str, np.ndarray]:
    """Returns the weights with the values that they have after `packed`, as float32.

    Args:
        weights: {path: array}, as in weights files.
        config: the network's settings.
        kind: fp16 rounds to 11 binary digits; int8 rounds matrices to 255 levels, and keeps biases.
    """
    if kind == "fp32":
        return dict(weights)
    # files also hold random states of dropout, which are no weights
    return {
        path: _unpacked(*_packed(w, path, config, kind)) if path in _names(config) else w
        for path, w in weights.items()
    }


def packed(
    weights: Mapping[str, np.ndarray],
    config: ModelConfig,
    kind: Kind,
    contexts: np.ndarray | None = None,
) -> tuple[dict[str, dict[str, Any]], bytes]:
    """Packs a network's weights for `page/weights.mjs`.

    Args:
        weights, config, kind: see `rounded`.
        contexts: (C, G*H), what each context adds to the inputs of the first layer.

    Returns:
        A description of each array: its type, shape, offset in the bytes and, for int8, the offset
        of the scales and their axis (0: one for each row, 1: for each column); and the bytes.
    """
    about: dict[str, dict[str, Any]] = {}
    data = bytearray()

    def add(x):
        data.extend(bytes(-len(data) % 4))  # typed arrays of JavaScript begin at whole numbers
        data.extend(x.tobytes())
        return len(data) - x.nbytes

    for path, name in _names(config).items():
        x, scales, axis = _packed(weights[path], path, config, kind)
        kinds = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
        about[name] = {"type": kinds[x.dtype.name], "shape": list(x.shape), "offset": add(x)}
        if scales is not None:
            about[name] |= {"scales": add(scales), "axis": axis}
    if contexts is not None:
        at = add(contexts.astype("<f4"))
        about["contexts"] = {"type": "fp32", "shape": list(contexts.shape), "offset": at}
    return about, bytes(data)


def _names(config):
    """Returns {path of an array: its name in the page}."""
    names = {f"{DENSE}/0": "dense/W", f"{DENSE}/1": "dense/b"}
    for k in range(config.layers):
        names |= {f"{layer_path(config, k)}/{n}": f"{k}/{x}" for n, x in enumerate("WUb")}
    return names


def _packed(w, path, config, kind):
    """Returns an array in the fewer bits, and its scales and their axis if it has them."""
    if kind == "fp16":
        return w.astype("<f2"), None, None
    if kind == "fp32" or w.ndim == 1 or path.endswith("/2"):  # biases, of one row or two
        return w.astype("<f4"), None, None
    # the rows of the first kernel belong to characters, whose weights differ in size
    axis = 0 if path == f"{layer_path(config, 0)}/0" else 1
    most = np.abs(w).max(axis=1 - axis, keepdims=True)
    scales = (most / LARGEST).astype("<f4")
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(scales > 0, np.rint(w / scales), 0)
    return np.clip(whole, -LARGEST, LARGEST).astype(np.int8), scales.ravel(), axis


def _unpacked(x, scales, axis):
    if scales is None:
        return x.astype(np.float32)
    return x.astype(np.float32) * np.expand_dims(scales, 1 - axis)
