"""Reads and writes PyTorch state dicts: nn.LSTM, nn.GRU or nn.RNN, nn.Linear, nn.Embedding.

torch has rows where Keras has columns, and two biases. For layer k:

    weight_ih_lk (GH, D)             kernel (D, GH), transposed
    weight_hh_lk (GH, H)             recurrent_kernel (H, GH), transposed
    bias_ih_lk, bias_hh_lk (GH,)     bias (GH,), their sum; for a GRU, whose reset gate acts after
                                     the recurrent product, both: (2, 3H)

torch stacks the gates as i f g o (LSTM) and r z n (GRU; n is our g). Activations are tanh and
sigmoid; nn.RNN has tanh or relu, which its state dict does not say.

Source: the documentation of torch.nn.LSTM, torch.nn.GRU and torch.nn.RNN.
"""

import json
import re
from collections.abc import Sequence

import numpy as np
from safetensors.numpy import save

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.interop.keras_files import modules
from charlm.interop.keras_files.kinds import BY_GATES
from charlm.interop.keras_files.wiring import assumed_chain
from charlm.reference.network import DENSE, layer_path
from charlm.runs import untrusted
from charlm.text.vocab import Vocab

ORDER = {"lstm": "ifgo", "gru": "rzg", "rnn": "h"}  # torch's, in our letters
CLASSES = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn": "nn.RNN"}
PARAMETERS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
NONLINEARITIES = "tanh", "relu"  # of nn.RNN
OURS = "charlm"  # entry of the header for what a state dict does not contain; see `to_bytes`


def read(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> dict:
    """Returns a state dict as the fields of `charlm.interop.keras_files.KerasWeights`.

    Args:
        tensors: float32 arrays by their names.
        metadata: the texts of the file's header.

    Raises:
        InputError: it is another kind of model.
    """
    shared = {name: kept for name, kept in metadata.items() if kept in tensors}
    tensors = {name: tensors[kept] for name, kept in shared.items()} | tensors
    stacks, others = modules.split(tensors)
    order = modules.in_order(stacks, tensors)
    layers = [stacks[name][k] for name in order for k in range(len(stacks[name]))]
    cell, H = _cell(layers[0]["weight_hh"], tensors)
    D = tensors[layers[0]["weight_ih"]].shape[-1]
    for k, layer in enumerate(layers):
        _check_layer(layer, tensors, len(ORDER[cell]) * H, H if k else D, H)
    embedding, weight, bias = modules.ends(others, tensors, D, H)
    V = len(tensors[weight])
    if bias is not None:
        _check_shape(tensors, bias, (V,))
    if V < 2:
        raise InputError(f"expected 2 characters or more, found {modules.shown([weight], tensors)}")
    return {
        "cell": cell,
        "layers": tuple(_from_torch(cell, layer, tensors) for layer in layers),
        "dense": (tensors[weight].T, np.zeros(V, np.float32) if bias is None else tensors[bias]),
        "embedding": None if embedding is None else tensors[embedding],
        "activation": None if cell == "rnn" else "tanh",
        "recurrent_activation": None if cell == "rnn" else "sigmoid",
        "notes": tuple(_notes(order, embedding, weight, V == H)),
    } | _ours(metadata, cell, V)


def _notes(order, embedding, weight, square):
    """Yields the assumptions about a state dict."""
    reads = "one-hot characters" if embedding is None else "an nn.Embedding"
    yield assumed_chain(reads, order, "an nn.Linear")
    table = modules.shown([weight])
    if embedding == weight:
        yield f"assumed: the embedding is {table}, because there is no other"
    if embedding is None and square:
        yield (
            f"assumed: {table} is only the nn.Linear; if it is the embedding, too (tied weights), "
            "save it as embedding.weight as well"
        )


def _cell(name, tensors):
    shape = tensors[name].shape
    rows, H = shape if len(shape) == 2 else (0, 0)
    cell = BY_GATES.get(rows / H if H else 0)
    if cell is None:
        raise InputError(
            f"expected (4H, H) of an nn.LSTM, (3H, H) of an nn.GRU or (H, H) of an nn.RNN, found "
            f"{modules.shown([name], tensors)}"
        )
    return cell, H


def _check_layer(layer, tensors, rows, width, H):
    _check_shape(tensors, layer["weight_hh"], (rows, H))
    _check_shape(tensors, layer["weight_ih"], (rows, width))
    for part in PARAMETERS[2:]:
        if part in layer:
            _check_shape(tensors, layer[part], (rows,))


def _check_shape(tensors, name, expected):
    if tensors[name].shape != expected:
        raise InputError(
            f"expected {modules.shown([name])} of shape {expected}, as the recurrent layers are "
            f"of one kind and one width, found {tensors[name].shape}"
        )


def _from_torch(cell, layer, tensors):
    kernel, recurrent_kernel = (tensors[layer[part]].T for part in PARAMETERS[:2])
    none = np.zeros(kernel.shape[1], np.float32)
    biases = [tensors[layer[part]] if part in layer else none for part in PARAMETERS[2:]]
    with np.errstate(over="ignore"):
        bias = np.stack(biases) if cell == "gru" else biases[0] + biases[1]
    untrusted.check_finite(bias, layer.get("bias_ih"))
    ours = CELLS[cell].gates
    return tuple(_reordered(w, ORDER[cell], ours) for w in (kernel, recurrent_kernel, bias))


def _to_torch(cell, kernel, recurrent_kernel, bias):
    # b + -0.0 is b, bit for bit; -0.0 + 0.0 would not be
    biases = bias if cell == "gru" else (bias, np.full_like(bias, -0.0))
    ours = CELLS[cell].gates
    return [
        np.ascontiguousarray(_reordered(w, ours, ORDER[cell]).T)
        for w in (kernel, recurrent_kernel, *biases)
    ]


def _reordered(w, source, target):
    """Reorders the blocks of columns of w (..., GH), which are named by letters."""
    blocks = dict(zip(source, np.split(w, len(source), axis=-1), strict=True))
    return np.concatenate([blocks[letter] for letter in target], axis=-1)


def _ours(metadata, cell, V):
    """Returns the fields that `to_bytes` wrote into the header, if there are any."""
    if OURS not in metadata:
        return {}
    about = untrusted.parsed_json("a vocabulary", metadata[OURS])
    characters, activation, sha256 = (
        about[key] for key in ("characters", "activation", "corpus_sha256")
    )
    before = about.get("learned_before", [])  # older files have none
    if not all(isinstance(c, str) and len(c) == 1 for c in characters):
        raise InputError("expected a list of characters in the file's header, found something else")
    if len(characters) != V:
        raise InputError(f"expected {V} characters in the file's header, found {len(characters)}")
    if not isinstance(before, list) or not all(map(_is_sha256, [sha256, *before])):
        found = f"{[sha256, before]!r:.80}"
        raise InputError(f"expected SHA-256 of the texts in the file's header, found {found}")
    if activation not in (NONLINEARITIES if cell == "rnn" else NONLINEARITIES[:1]):
        raise InputError(f"expected an activation of {CLASSES[cell]}, found {activation!r:.60}")
    return {
        "vocab": Vocab("".join(characters)),
        "corpus_sha256": sha256,
        "learned_before": tuple(before),
        "activation": activation,
        "notes": (),  # charlm wrote it, so nothing is assumed
    }


def _is_sha256(text):
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text)


def state_dict(config: ModelConfig, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns weights for a module with an nn.LSTM, nn.GRU or nn.RNN `rnn` and nn.Linear `linear`.

    `rnn` reads one-hot vectors: its input_size is V.

    Args:
        config: as `charlm.interop.stock.stock` returns it.
        weights: as `charlm.interop.stock.stock` returns them.

    Raises:
        InputError: torch's module lacks one of the options.
    """
    cell = config.cell_name
    _check_options(config)
    found = {}
    for k in range(config.layers):
        ours = [weights[f"{layer_path(config, k)}/{n}"] for n in range(3)]
        for part, w in zip(PARAMETERS, _to_torch(cell, *ours), strict=True):
            found[f"rnn.{part}_l{k}"] = w
    kernel, bias = weights[f"{DENSE}/0"], weights[f"{DENSE}/1"]
    return found | {"linear.weight": np.ascontiguousarray(kernel.T), "linear.bias": bias}


def _check_options(config):
    options = {
        "activation": NONLINEARITIES if config.cell_name == "rnn" else NONLINEARITIES[:1],
        "recurrent_activation": ("sigmoid",),
        "reset": ("after",),
        "skip": ("none",),
    }
    theirs = CLASSES[config.cell_name]
    for name, known in options.items():
        found = getattr(config, name)
        if found not in known:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"expected a run with {flag} {' or '.join(known)}, as {theirs} has it, "
                f"found {flag} {found}; --format keras writes it"
            )


def to_bytes(
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    vocab: Vocab,
    corpus_sha256: str,
    learned_before: Sequence[str],
) -> bytes:
    """Returns the .safetensors file of `state_dict`; its header holds the vocabulary."""
    about = {
        "characters": list(vocab.characters),  # in a string two surrogates might be joined
        "activation": config.activation,
        "corpus_sha256": corpus_sha256,
        "learned_before": [*learned_before],
    }
    ours = json.dumps(about, separators=(",", ":"))
    return save(state_dict(config, weights), {"format": "pt", OURS: ours})
