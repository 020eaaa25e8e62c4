"""Weights that others wrote: Keras 3 (`.weights.h5`, `.keras`), the HDF5 files of Keras 1 and 2,
and PyTorch's state dicts (`.safetensors`).

Arrays and JSON text only: nothing in a file is ever run and no link in it is followed.
NumPy, h5py and safetensors, neither Keras nor torch.
"""

import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm import untrusted
from charlm.errors import InputError
from charlm.foreign import other_formats, pytorch
from charlm.foreign.description import describe
from charlm.foreign.kinds import GATES, check_order
from charlm.foreign.layers import (
    CELL,
    DENSE,
    TABLE,
    all_slashed,
    check_shape,
    keras_3_layers,
    legacy_layers,
    pack,
    slashed,
)
from charlm.foreign.widths import check_widths
from charlm.vocab import Vocab

MAX_JSON = 2**24  # bytes; a model's description has thousands
BY_GATES = {4: "lstm", 3: "gru", 1: "rnn"}
ROLES = {CELL: "recurrent", DENSE: "dense", TABLE: "embedding"}


@dataclass(frozen=True)
class Foreign:
    """A character model's arrays as found in a file, in Keras 3's packing, float32."""

    cell: str
    """"lstm", "gru", "rnn", or "coupled", which is ours."""
    layers: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    """First to last: kernel (D, GH), recurrent_kernel (H, GH), bias (GH,), or (2, 3H) of a GRU
    with reset_after; zeros where the layer had none."""
    dense: tuple[np.ndarray, np.ndarray]
    """Kernel (H, V), bias (V,)."""
    embedding: np.ndarray | None
    """(V, D)."""
    activation: str | None
    recurrent_activation: str | None
    """Keras's names, None where the file does not say."""
    keras_version: str | None
    kind: str
    """For messages: "Keras 3 weights", "Keras 2.1.3 model", "PyTorch weights" ..."""
    program: str = "Keras"
    """Which wrote it: Keras or PyTorch."""
    vocab: Vocab | None = None
    corpus_sha256: str | None = None
    """The characters in the order of their ids, and the fingerprint of the text that was learned
    from, where `charlm export` wrote them."""
    notes: tuple[str, ...] = ()
    """What was taken for granted."""

    @property
    def version(self) -> tuple[int, int]:
        """Of Keras, major and minor, by what the file looks like where it does not say."""
        numbers = re.findall(r"\d+", f"{self.keras_version or self.kind}.0.0")
        return int(numbers[0]), int(numbers[1])


def read(path: Path) -> Foreign:
    """A model of [Embedding], LSTMs or GRUs or SimpleRNNs, and Dense, from a file.

    Args:
        path: `.weights.h5`, `.keras`, `.h5`, `.hdf5` or `.safetensors`; known by its bytes, not by
            its name.

    Raises:
        InputError: no such file, damaged, another format or another kind of model; one line.
    """
    with untrusted.refusals(path, "a whole file of weights"):
        other_formats.refuse_path(path)
        return _parsed(path, untrusted.file_bytes(path))


def _parsed(path, data):
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            other_formats.refuse_zip(path, archive.namelist())
            about = json.loads(untrusted.member(archive, "metadata.json", MAX_JSON))
            described = describe(json.loads(untrusted.member(archive, "config.json", MAX_JSON)))
            weights = untrusted.member(archive, "model.weights.h5", untrusted.MAX_BYTES)
        return _hdf5(weights, _version(about["keras_version"]), described)
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return _hdf5(data)
    if data[4:9] == b"\0\0\0\0{":  # the header, after its length of 8 bytes
        tensors, metadata = untrusted.tensors(data)
        found = pytorch.read(tensors, metadata)
        return Foreign(**found, keras_version=None, kind="PyTorch weights", program="PyTorch")
    other_formats.refuse(path, data)


def _version(version):
    """The text if it is like a version, else None; it goes into messages."""
    return version if re.fullmatch(r"\d[\w.+-]{0,40}", version) else None


def _hdf5(data, version=None, described=None):
    with untrusted.hdf5(data) as (file, datasets):
        datasets = all_slashed(datasets)
        if "charlm/meta" in datasets:
            raise InputError(
                "expected weights that others wrote, found charlm's own; charlm sample and charlm "
                "train --resume read such a file as it is"
            )
        root = file.get("model_weights", file)
        legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
        if legacy:
            said = untrusted.texts(root, "keras_version") or untrusted.texts(file, "keras_version")
            version = _version("".join(said))
            for text in untrusted.texts(file, "model_config"):
                described = describe(json.loads(text))
            layers = legacy_layers(root, datasets, described.kinds if described else {})
        else:
            layers = keras_3_layers(datasets, map(slashed, untrusted.groups(file)))
        found = [dataset for layer in layers for dataset in layer.arrays.values()]
        untrusted.check_size(
            "arrays", sum(map(untrusted.declared_bytes, found)), len(data)
        )  # two names may have one array
        for layer in layers:
            layer.arrays = {
                key: untrusted.numbers(dataset, data) for key, dataset in layer.arrays.items()
            }
            pack(layer)
    spoken = version or ("1" if legacy else "3")  # Keras 1 began to write it late, 2 always did
    kind = f"Keras {'3' if spoken[:2] == '3.' else spoken} {'model' if described else 'weights'}"
    return Foreign(**_assembled(layers, described, legacy), keras_version=version, kind=kind)


def _role(layer):
    """CELL, DENSE or TABLE, whichever the layer must be; it must have those arrays."""
    if layer.kind in GATES or (layer.kind is None and "recurrent_kernel" in layer.arrays):
        role = CELL
    else:
        role = TABLE if layer.kind == "embedding" or "embeddings" in layer.arrays else DENSE
    if not set(role) - {"bias"} <= set(layer.arrays) <= set(role):
        found = ", ".join(map(repr, sorted(layer.arrays)))
        raise InputError(f"expected {', '.join(role)} in {layer.name!r}, found {found}")
    return role


def _assembled(layers, described, ordered):
    """Foreign's arrays, every width checked against its neighbour's."""
    cells, dense, tables = (
        [x for x in layers if _role(x) is role] for role in (CELL, DENSE, TABLE)
    )
    if not cells or len(dense) != 1 or len(tables) > 1:
        raise InputError(
            "expected recurrent layers, one Dense and at most one Embedding, found "
            f"{len(cells)} recurrent, {len(dense)} Dense, {len(tables)} Embedding: "
            + ", ".join(f"{layer.name!r} ({layer.kind or 'unknown'})" for layer in layers)
        )
    (head,) = dense
    if ordered:
        check_order({layer.name: layer.kind or ROLES[_role(layer)] for layer in layers})
    for layer in cells:
        _check_gates(layer, described)
    if len({layer.kind for layer in cells}) > 1:
        found = ", ".join(f"{layer.kind} {layer.name!r}" for layer in cells)
        raise InputError(f"expected recurrent layers of one kind, found {found}")
    units = [len(layer.arrays["recurrent_kernel"]) for layer in cells]
    if len(set(units)) > 1:
        raise InputError(f"expected recurrent layers of the same units, found {units}")
    kinds = sorted([x.kind for x in cells] + ["dense"] + ["embedding"] * len(tables))
    if described and kinds != sorted(described.kinds.values()):
        wanted = ", ".join(sorted(described.kinds.values()))
        raise InputError(f"expected {wanted}, as the model's JSON says, found {', '.join(kinds)}")
    H, V = units[0], head.arrays["kernel"].shape[-1]
    head.arrays.setdefault("bias", np.zeros(V, np.float32))
    check_shape(head, "kernel", (H, V))
    check_shape(head, "bias", (V,))
    check_widths(cells, head, tables)
    D = tables[0].arrays["embeddings"].shape[-1] if tables else V
    for table in tables:
        check_shape(table, "embeddings", (V, D))
    cells = cells if ordered else _in_order(cells, D)
    for k, layer in enumerate(cells):
        columns = GATES[layer.kind] * H
        check_shape(layer, "recurrent_kernel", (H, columns))
        check_shape(layer, "kernel", (H if k else D, columns))
        check_shape(layer, "bias", cells[0].arrays["bias"].shape)
    return {
        "cell": cells[0].kind,
        "layers": tuple(tuple(layer.arrays[key] for key in CELL) for layer in cells),
        "dense": tuple(head.arrays[key] for key in DENSE),
        "embedding": tables[0].arrays["embeddings"] if tables else None,
        "activation": described and described.activation,
        "recurrent_activation": described and described.recurrent_activation,
    }


def _check_gates(layer, described):
    """The kind follows from the name or from G, recurrent_kernel's columns by its rows."""
    shape = layer.arrays["recurrent_kernel"].shape
    H, columns = shape if len(shape) == 2 else (0, 0)
    G = columns / H if H else 0
    kind = layer.kind = layer.kind or BY_GATES.get(G)
    if kind is None or GATES[kind] != G:
        wanted = f"a {kind}'s (H, {GATES[kind]}H)" if kind else "(H, H), (H, 3H) or (H, 4H)"
        found = f"{shape}, a {BY_GATES[G]}'s {G:.0f} gates" if G in BY_GATES else shape
        raise InputError(f"expected recurrent_kernel {wanted} in {layer.name!r}, found {found}")
    allowed = [(columns,), (2, columns)] if kind == "gru" else [(columns,)]
    if kind == "gru" and described:
        allowed = [allowed[described.reset_after]]
    if "bias" not in layer.arrays and len(allowed) > 1:
        raise InputError(
            f"expected a bias in {layer.name!r}, since its shape says whether a GRU resets after "
            "the product, found none; build it as a Sequential model and save that as .keras"
        )
    layer.arrays.setdefault("bias", np.zeros(allowed[0], np.float32))
    check_shape(layer, "bias", *allowed)


def _in_order(cells, D):
    """By Keras's numbers, else by widths, where only one order is possible."""
    first = [layer for layer in cells if len(layer.arrays["kernel"]) == D]
    if len({re.sub(r"_\d+$", "", layer.name) for layer in cells}) == 1:
        return cells
    if len(cells) == 2 and len(first) == 1:
        return sorted(cells, key=lambda layer: layer is not first[0])
    names = ", ".join(repr(layer.name) for layer in cells)
    raise InputError(
        f"expected names or widths that give the order of the layers, found {names}; build "
        "it as a Sequential model and save that"
    )
