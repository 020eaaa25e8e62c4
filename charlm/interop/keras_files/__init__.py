"""Reads weights that other programs wrote: files of Keras 1, 2 and 3 and PyTorch's state dicts.

Reads arrays and JSON only: no code in a file is run and no link in it is followed. Uses NumPy and
safetensors, and h5py in a separate process; it needs neither Keras nor torch.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm.errors import InputError
from charlm.interop.keras_files import other_formats, pytorch
from charlm.interop.keras_files.assembly import assemble
from charlm.interop.keras_files.description import describe
from charlm.interop.keras_files.layers import (
    all_slashed,
    keras_3_layers,
    legacy_layers,
    pack,
    slashed,
)
from charlm.runs import safe_hdf5, untrusted
from charlm.text.vocab import Vocab


@dataclass(frozen=True)
class KerasWeights:
    """A character model's arrays as found in a file, in Keras 3's packing, float32."""

    cell: str
    """The cell: "lstm", "gru", "rnn", or charlm's "coupled"."""
    layers: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    """Layers, first to last: kernel (D, GH), recurrent_kernel (H, GH), bias (GH,), or (2, 3H) for a
    GRU with reset_after; zeros if the layer has no bias."""
    dense: tuple[np.ndarray, np.ndarray]
    """Kernel (H, V), bias (V,)."""
    embedding: np.ndarray | None
    """(V, D)."""
    activation: str | None
    recurrent_activation: str | None
    """Keras's names of the activations; None if the file does not say."""
    program: str = "Keras"
    """The program that wrote the file: Keras or PyTorch."""
    keras_version: str | None = None
    """The version of Keras; None if the file does not say."""
    layout: int = 3
    """Layout of the file: 1 for Keras 1 and 2, 3 for Keras 3."""
    whole: bool = False
    """Whether the file describes the model, too."""
    vocab: Vocab | None = None
    """The characters in the order of their ids, if `charlm export` wrote the file."""
    corpus_sha256: str | None = None
    """The fingerprint of the training text, if `charlm export` wrote the file."""
    learned_before: tuple[str, ...] = ()
    """The fingerprints of earlier training texts, if `charlm export` wrote the file."""
    notes: tuple[str, ...] = ()
    """Assumptions about the model."""

    @property
    def kind(self) -> str:
        """The kind of file for messages, such as "Keras 2.1.3 model" or "PyTorch weights"."""
        version = self.keras_version or str(self.layout)
        keras = f" {'3' if version.startswith('3.') else version}"
        name = self.program + (keras if self.program == "Keras" else "")
        return f"{name} {'model' if self.whole else 'weights'}"

    @property
    def version(self) -> tuple[int, int]:
        """Keras's major and minor version; guessed from the layout if the file does not say."""
        # only late versions of Keras 1 wrote it; Keras 2 always does
        numbers = re.findall(r"\d+", f"{self.keras_version or self.layout}.0")
        return int(numbers[0]), int(numbers[1])


def read(path: Path) -> KerasWeights:
    """Reads a model of [Embedding], LSTM, GRU or SimpleRNN layers, and Dense.

    Args:
        path: a `.weights.h5`, `.keras`, `.h5`, `.hdf5` or `.safetensors` file, recognized by its
            content, not its name.

    Raises:
        InputError: the file is missing or damaged, or has another format or another kind of model.
    """
    with untrusted.refusals(path, "a whole file of weights"):
        other_formats.refuse_path(path)
        return _parsed(path, untrusted.file_bytes(path))


def _parsed(path, data):
    if data.startswith(b"PK\x03\x04"):
        archive = untrusted.Zip(data)
        other_formats.refuse_zip(path, archive.names)
        about, config = (
            untrusted.parsed_json(name, bytes(archive.read(name, untrusted.MAX_JSON)))
            for name in ("metadata.json", "config.json")
        )
        described = describe(config)
        weights = archive.read("model.weights.h5", untrusted.MAX_BYTES)
        return _hdf5(weights, _version(about["keras_version"]), described)
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return _hdf5(data)
    if data[4:9] == b"\0\0\0\0{":  # the header, after its length of 8 bytes
        return KerasWeights(**pytorch.read(*untrusted.tensors(data)), program="PyTorch")
    other_formats.refuse(path, data)


def _version(version):
    """Returns the text if it looks like a version, else None; messages contain it."""
    return version if re.fullmatch(r"\d[\w.+-]{0,40}", version) else None


def _hdf5(data, version=None, described=None):
    file = safe_hdf5.read(data)
    arrays = all_slashed(file.arrays)
    if "charlm/meta" in arrays:
        raise InputError(
            "expected weights of another program, found charlm's own; charlm sample and charlm "
            "train --resume read this file directly"
        )
    base = "model_weights" if "model_weights" in file.groups else ""
    root = file.groups[base]
    legacy = "layer_names" in root or "layer_names0" in root
    if legacy:
        said = safe_hdf5.texts(root, "keras_version") or safe_hdf5.texts(
            file.groups[""], "keras_version"
        )
        version = _version("".join(said))
        for text in safe_hdf5.texts(file.groups[""], "model_config"):
            described = describe(untrusted.parsed_json("model_config", text))
        layers = legacy_layers(file.groups, base, arrays, described and described.kinds)
    else:
        groups = [slashed(path) for path in file.groups if path]
        layers = keras_3_layers(arrays, groups, described is not None)
    found = [array for layer in layers for array in layer.arrays.values()]
    # two names may share an array
    untrusted.check_size("arrays", sum(array.nbytes for array in found), len(data))
    for layer in layers:  # checks all of them before copying any
        layer.arrays = {key: safe_hdf5.numbers(x, data) for key, x in layer.arrays.items()}
    for layer in layers:
        layer.arrays = {key: x.astype(np.float32) for key, x in layer.arrays.items()}
        pack(layer)
    return KerasWeights(
        **assemble(layers, described, ordered=legacy),
        keras_version=version,
        layout=1 if legacy else 3,
        whole=described is not None,
    )
