"""Layers and their arrays, as Keras 1, 2 and 3 lay them out in HDF5.

layers/lstm_1/cell/vars/0                 Keras 3, and from 2.12 on: named by class and number
lstm_13/lstm_13/lstm_cell/kernel:0        Keras 2; the attribute layer_names has the order
lstm_1/lstm_1_W_i ... lstm_1/lstm_1_b_o   Keras 1, one array for each gate
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.errors import InputError
from charlm.interop.keras_files.kinds import forbid, forbid_inputs, kind_of
from charlm.runs.safe_hdf5 import Attributes, names

ORDER = {"lstm": "ifco", "gru": "zrh"}  # Keras 1 lists i, c, f, o in its files
CELL, DENSE, TABLE = ("kernel", "recurrent_kernel", "bias"), ("kernel", "bias"), ("embeddings",)


@dataclass
class Layer:
    name: str
    kind: str | None  # a value of KINDS, if the class or the name says it
    arrays: dict  # by the names in CELL, DENSE or TABLE; in Keras 1 kernel_i ...


def slashed(path: str) -> str:
    """Replaces the "\\" that Keras 2.12 to 2.15 wrote in names of groups on Windows by "/"."""
    return path.replace("\\", "/")


def all_slashed(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a file by their `slashed` paths."""
    found = {slashed(path): dataset for path, dataset in datasets.items()}
    if len(found) < len(datasets):
        raise InputError("expected arrays of different names, found two that differ in / and \\")
    return found


def keras_3_layers(
    datasets: Mapping[str, Any], groups: Sequence[str], described: bool
) -> list[Layer]:
    """Returns the layers of paths `[container/]name/[cell/ or layer/]vars/k`, by their numbers.

    Args:
        datasets: arrays by their paths.
        groups: paths of all groups; layers without arrays have one, too.
        described: whether the model's JSON gives the kinds of layers; else their names do.
    """
    layers: dict[str, Layer] = {}
    if not described:
        _check_names(groups)
    for path, dataset in datasets.items():
        if re.match("(optimizer|metrics|charlm)/", path) or "/seed_generator/" in path:
            continue
        if not described:
            forbid(path)
        match = re.fullmatch(r"(.+?)/(cell/|layer/)?vars/(\d)", path)
        if not match:
            raise InputError(f"expected layers of a character model, found an array at {path!r}")
        place, part, k = match[1], match[2], int(match[3])
        name = place.split("/")[-1]
        kind = kind_of(name) or ("embedding" if "emb" in name.lower() else None)
        keys = CELL if part == "cell/" else TABLE if kind == "embedding" else DENSE
        if k >= len(keys):
            raise InputError(f"expected {len(keys)} arrays at most in {place!r}, found more")
        layers.setdefault(place, Layer(place, kind, {})).arrays[keys[k]] = dataset
    number = {place: int(re.findall(r"(?:_(\d+))?$", place)[0] or 0) for place in layers}
    return sorted(layers.values(), key=lambda layer: number[layer.name])


def _check_names(groups):
    idle = [group for group in groups if re.fullmatch("(layers|_layer_[a-z_]+)/[^/]+", group)]
    for group in idle:
        forbid(group)
    forbid_inputs(group for group in idle if kind_of(group.split("/")[-1]) is None)


def legacy_layers(
    groups: Mapping[str, Attributes],
    base: str,
    datasets: Mapping[str, Any],
    kinds: Mapping[str, str] | None,
) -> list[Layer]:
    """Returns the layers in the order of `layer_names`, with the arrays of `weight_names`.

    Args:
        groups: the attributes of each group of the file.
        base: the group of all layers.
        datasets: arrays by their paths.
        kinds: by the layers' names, from the model's JSON; None without it, then the names of the
            layers give their kinds.
    """
    listed = {
        name: names(groups[f"{base}/{name}".strip("/")], "weight_names")
        for name in names(groups[base], "layer_names")
    }
    if kinds is None:
        _check_legacy_names(listed)
    layers = []
    for name, weights in listed.items():
        layer = Layer(name, (kinds or {}).get(name) or kind_of(name), {})
        for weight in weights:
            key = re.sub(r":\d+$", "", weight.split("/")[-1])
            if old := re.search("_([WUb])(_[ifcozrh])?$", key):
                key = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}[old[1]]
                key = "embeddings" if layer.kind == "embedding" else key + (old[2] or "")
            dataset = datasets.get(slashed(f"{base}/{name}/{weight}".strip("/")))
            if dataset is None or key in layer.arrays:
                found = "none" if dataset is None else "two"
                raise InputError(f"expected one {key!r} in {name!r} ({weight!r}), found {found}")
            layer.arrays[key] = dataset
        layers.append(layer)
    return [layer for layer in layers if layer.arrays]


def _check_legacy_names(listed):
    for name, weights in listed.items():
        for path in (name, *(f"{name}/{weight}" for weight in weights)):
            forbid(path)
    forbid_inputs(name for name, weights in listed.items() if not weights)


def pack(layer: Layer) -> None:
    """Joins Keras 1's arrays, one for each gate, in Keras 3's order."""
    gates = {key[-1] for key in layer.arrays if re.search("_[ifcozrh]$", key)}
    if not gates:
        return
    order = ORDER["gru" if gates <= set("zrh") else "lstm"]
    wanted = {key: [f"{key}_{gate}" for gate in order] for key in CELL}
    if odd := {key for keys in wanted.values() for key in keys} ^ set(layer.arrays):
        raise InputError(
            f"expected kernel, recurrent_kernel and bias (W, U, b) of the gates {', '.join(order)} "
            f"in {layer.name!r}, found missing or unexpected: {', '.join(map(repr, sorted(odd)))}"
        )
    for keys in wanted.values():
        for key in keys:
            check_shape(layer, key, layer.arrays[keys[0]].shape)
    arrays = layer.arrays
    layer.arrays = {k: np.concatenate([arrays[g] for g in keys], -1) for k, keys in wanted.items()}


def check_shape(layer: Layer, key: str, *expected: tuple[int, ...]) -> None:
    found = layer.arrays[key].shape
    if found not in expected:
        wanted = " or ".join(map(str, expected))
        raise InputError(f"expected {key} {wanted} in {layer.name!r}, found {found}")
