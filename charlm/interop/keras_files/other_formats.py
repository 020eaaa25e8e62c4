"""Refuses formats that are not supported, with advice on how to convert the weights."""

import contextlib
import itertools
import os
import re
import shlex
from pathlib import Path

from charlm.errors import InputError

READ = ".weights.h5, .keras, .h5, .hdf5 or .safetensors"
MAX_LISTED = 1000  # names in a folder

PYTORCH = (
    "a pickle of PyTorch, which may run code when it is loaded; convert it to .safetensors with "
    "`import torch; from safetensors.torch import save_file` and `save_file({{k: v.contiguous()"
    ".clone() for k, v in {load}.items()}}, {safetensors})`"
)
STATE_DICT = PYTORCH.replace("{load}", "torch.load({path}, map_location='cpu', weights_only=True)")
STATE_DICT += (
    " (if it is a dict that contains a state dict, add its key, for example ['model'], after "
    "torch.load(...); a whole model loads only in the program that saved it: save its state_dict() "
    "there)"
)
SCRIPT = PYTORCH.replace("{load}", "torch.jit.load({path}, map_location='cpu').state_dict()")
PICKLE = (
    "a pickle, which may run code when it is loaded; load it in the program that wrote it, and "
    "save the weights as .weights.h5 or .safetensors"
)
NUMPY = (
    "arrays of NumPy; give them the names and shapes of torch.nn (rnn.weight_ih_l0, "
    "linear.weight ...) and save them with safetensors.numpy.save_file"
)
CHECKPOINT = (
    "part of a TensorFlow checkpoint; build the model in the program that trained it, then "
    "model.load_weights({prefix}) and model.save_weights('x.weights.h5')"
)
SAVED_MODEL = (
    "a SavedModel of TensorFlow; with the package tf_keras, tf_keras.models.load_model({folder})"
    ".save('x.h5') turns it into a file that charlm reads"
)
TFJS = (
    "a model of TensorFlow.js; with the package tensorflowjs, tensorflowjs_converter "
    "--input_format=tfjs_layers_model --output_format=keras {json} x.h5 turns it into a file that "
    "charlm reads"
)
TORCH7 = (
    "a file of Torch 7 (torch-rnn, char-rnn); read its arrays with the package torchfile, put them "
    "into an nn.LSTM (torch-rnn has the gates i f o g, nn.LSTM i f g o) and save its state_dict() "
    "with safetensors.torch.save_file"
)
ONNX = (
    "an ONNX model, which is a graph without layers; save the weights in the program that made "
    f"it, as {READ}"
)
LFS = (
    "a Git LFS pointer, {size} bytes of text instead of the weights; git lfs pull in its "
    "repository fetches them"
)
WEB_PAGE = "a web page; download the file itself (on GitHub: Download raw file)"

BY_BYTES = [  # the beginning of the data, as a regular expression
    (rb"version https://git-lfs", LFS),
    (rb"(?i)\s*<(!doctype )?html", WEB_PAGE),
    (rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", STATE_DICT),  # before PyTorch 1.6
    (rb"\x80[\x02-\x05]|\([dl]p\d|c[\w.]+\n\w+\n[pq(]", PICKLE),
    (rb"\x93NUMPY", NUMPY),
    (rb"[\x03\x04]\0\0\0\x01\0\0\0|4\n1\n3\nV 1\n", TORCH7),  # the first table or object
    (rb"model_checkpoint_path:", CHECKPOINT),
    (rb"(?s)\s*\{.*\"(weightsManifest|modelTopology)\"", TFJS),
    (rb"\x08[\x01-\x20]\x12", ONNX),  # protobuf: ir_version, then producer_name
]
TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # of LevelDB's tables, as .index files are
OF_FOLDERS = [
    (r"(.*)\.(index|data-\d{5}-of-\d{5}|meta)", CHECKPOINT),
    (r"saved_model\.pb(txt)?|keras_metadata\.pb", SAVED_MODEL),
    (r"group\d+-shard\d+of\d+(\.bin)?", TFJS),
]
BY_NAME = [
    *OF_FOLDERS,
    (r".*\.onnx", ONNX),
    (r".*\.t7", TORCH7),
    (r".*\.(pt|pth)", STATE_DICT),
    (r".*\.(pkl|pickle)", PICKLE),
]


def refuse_path(path: Path) -> None:
    """Raises InputError for a folder, or the prefix of files, of another format."""
    if not path.is_dir():  # first, because "." has no name
        if path.with_name(f"{path.name}.index").is_file() and not path.exists():
            _refuse(CHECKPOINT, path)
        return
    with contextlib.suppress(OSError):  # reading the file reports it
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, MAX_LISTED))
        for name in names:
            if name == "checkpoint":
                _refuse(CHECKPOINT, path / name)
            for pattern, what in OF_FOLDERS:
                if re.fullmatch(pattern, name):
                    _refuse(what, path / name)


def refuse_zip(path: Path, names: list[str]) -> None:
    """Raises InputError for a zip file that is not a `.keras` file but of another known format."""
    if "metadata.json" in names:
        return
    last = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in last:
        _refuse(SCRIPT if "constants.pkl" in last else STATE_DICT, path)
    if names and all(name.endswith(".npy") for name in names):
        _refuse(NUMPY, path)


def refuse(path: Path, data: bytes) -> None:
    """Raises an InputError that names a file's format, by its content or else by its name."""
    for pattern, what in BY_BYTES:
        if re.match(pattern, data):
            _refuse(what, path, len(data))
    if data.endswith(TABLE_END):
        _refuse(CHECKPOINT, path)
    for name, what in BY_NAME:
        if re.fullmatch(name, path.name):
            _refuse(what, path)
    raise InputError(
        f"expected {READ}, found none of them: {len(data)} bytes that begin with {data[:8]!r}"
    )


def _refuse(what, path, size=None):
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5}|meta)$", "", str(path))
    found = what.format(
        path=repr(str(path)),
        safetensors=repr(str(path.with_suffix(".safetensors"))),
        prefix=f"tf.train.latest_checkpoint({str(path.parent)!r})"
        if path.name == "checkpoint"
        else repr(prefix),
        folder=repr(str(path.parent)),
        json=shlex.quote(str(path if path.suffix == ".json" else path.parent / "model.json")),
        size=size,
    )
    raise InputError(f"expected {READ}, found {found}")
