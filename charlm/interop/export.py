"""Exports a run: writes to a temporary folder, compares with the sampler, moves into place."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm import interrupt
from charlm.errors import InputError
from charlm.interop import keras_files, onnx
from charlm.interop.keras_files import pytorch
from charlm.interop.keras_files.convert import network_weights
from charlm.interop.keras_files.vocabulary import OURS
from charlm.interop.stock import stock
from charlm.reference.network import Network
from charlm.runs import atomic
from charlm.runs.checkpoint import Checkpoint
from charlm.text.tokens import TokenVocab

SUFFIX = {
    "keras": ".keras",
    "saved_model": "-step",
    "onnx": "-step.onnx",
    "safetensors": ".safetensors",
    "html": ".html",
}
TOLERANCE = 1e-4  # of float32 logits: the sampler sums in another order
STREAMS, CHECK_LENGTH = 3, 20  # B and T of the comparison
SAVED_MODEL = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}

Step = Callable[[dict], dict]


def vocab_file(output: Path) -> Path:
    """Returns the place of the vocabulary of an export, next to the model."""
    return output.with_name(f"{output.name}.vocab.json")


def check_replaceable(output: Path, format_: str, overwrite: bool) -> None:
    """Raises InputError if there is something at an export's places that may not be replaced.

    Args:
        output: place of the model.
        format_: a key of `SUFFIX`.
        overwrite: whether an earlier export may be replaced.
    """
    for path in (output, vocab_file(output)):
        if not os.path.lexists(path):
            continue
        is_folder = path == output and format_ == "saved_model"
        if not (_is_saved_model(path) if is_folder else path.is_file()):
            raise InputError(
                f"expected {path} to be free or an earlier export, found something else; move it "
                "away"
            )
        if not overwrite:
            raise InputError(f"cannot write {path}: it already exists; --overwrite replaces it")


def _is_saved_model(folder):
    """Whether a folder holds a SavedModel and nothing else."""
    try:
        names = set(os.listdir(folder))
    except OSError:  # not a folder, or not readable
        return False
    return "saved_model.pb" in names and names <= SAVED_MODEL


def write(
    saved: Checkpoint,
    network: Network,
    format_: str,
    output: Path,
    quiet: Callable[[], AbstractContextManager] = contextlib.nullcontext,
) -> float:
    """Writes a run as a model, and its vocabulary, if the model computes what the sampler computes.

    Args:
        saved: the run.
        network: its network, which the sampler uses.
        format_: a key of `SUFFIX`.
        output: place of the model.
        quiet: makes a context in which backends are loaded and used.

    Returns:
        The largest difference of logits and states. Above `TOLERANCE`, or NaN, nothing was written.
    """
    vocab = vocab_file(output)
    temporary = tempfile.TemporaryDirectory(dir=output.parent, prefix=".charlm-export-")
    with temporary as folder, interrupt.before_leaving(temporary.cleanup):
        made, characters = Path(folder, output.name), Path(folder, vocab.name)
        with quiet():
            difference = _writer(format_)(saved, network, made)
        if difference <= TOLERANCE:  # False for NaN
            atomic.write(characters, _described(saved.vocab).encode(), like=vocab)
            put(made, output, characters, vocab, Path(folder, f"{output.name}.old"))
    return difference


def _described(vocab):
    """Returns JSON text: the characters, or the tokenizer as Hugging Face's library reads it."""
    if isinstance(vocab, TokenVocab):
        return vocab.tokenizer.to_str(pretty=True)
    return json.dumps({OURS: list(vocab.characters)})


def put(made: Path, output: Path, characters: Path, vocab: Path, old: Path) -> None:
    """Moves a model and its vocabulary into place; they never belong to different exports.

    If a move fails, the earlier files are restored.

    Args:
        made: the new model, which goes to `output`.
        output: a file or folder that may exist.
        characters: the new vocabulary, which goes to `vocab`.
        vocab: a file that may exist.
        old: a free name in a temporary folder, for the replaced model.
    """
    for path in (made, characters):
        atomic.sync_tree(path)  # first, because it may fail
    if output.is_file() and not output.is_symlink():  # it stays in place until it is replaced
        atomic.write(old, output.read_bytes(), like=output)
    old_vocab = old.with_name(f"{vocab.name}.old")
    with contextlib.suppress(FileNotFoundError):
        os.replace(vocab, old_vocab)
    try:
        if os.path.lexists(output) and not os.path.lexists(old):
            os.rename(output, old)
        atomic.sync_folder(output.parent)
        atomic.move(made, output)
        atomic.move(characters, vocab)
    except OSError:
        _put_back({output: (made, old), vocab: (characters, old_vocab)})
        raise


def _put_back(places):
    """Undoes the steps of `put` that were done."""
    for path, (made, _) in places.items():
        if os.path.lexists(path) and not os.path.lexists(made):
            os.rename(path, made)
    for path, (_, old) in places.items():
        if os.path.lexists(old) and not os.path.lexists(path):
            os.rename(old, path)


def _writer(format_):
    """Returns the function that writes a format and compares the result with the sampler."""
    if format_ == "safetensors":
        return _safetensors  # which needs no backend
    if format_ == "onnx":
        onnx.check_installed()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only one that writes these formats
    return {"keras": _keras, "saved_model": _saved_model, "onnx": _onnx}[format_]


def _keras(saved, network, path):
    import keras

    from charlm.interop import keras_model

    V = len(saved.vocab)
    keras_model.text_model(saved.config.model, saved.weights, V).save(path)
    again = keras.saving.load_model(path)
    ids = _ids(V)
    found = again.predict(ids, verbose=0)
    expected, states = [], network.initial_states(STREAMS)
    for column in ids.T:
        logits, states = network.step(column, states)
        expected.append(logits)
    return float(np.abs(found - np.stack(expected, axis=1)).max())


def _saved_model(saved, network, path):
    import tensorflow as tf

    from charlm.interop import keras_model

    model = keras_model.step_model(saved.config.model, saved.weights, len(saved.vocab))
    model.export(path, format="tf_saved_model", verbose=False)
    again = tf.saved_model.load(path)  # keep it: its weights live as long as the object
    return _compare(network, lambda feed: {k: v.numpy() for k, v in again.serve(feed).items()})


def _onnx(saved, network, path):
    return _compare(network, onnx.write(saved, path))


def _safetensors(saved, network, path):
    config, weights = stock(saved.config.model, saved.weights)
    learned_from = saved.corpus_sha256, saved.learned_before
    atomic.write(path, pytorch.to_bytes(config, weights, saved.vocab, *learned_from))
    found = keras_files.read(path)
    if found.vocab != saved.vocab:
        raise OSError("cannot export: the vocabulary that was read back is not the one written")
    told: dict[str, Any] = {"cell": found.cell, "activation": found.activation}
    config = replace(config, **told)
    again = network_weights(found, config, np.arange(len(found.vocab)))
    return _compare(network, _by_name(Network(again, len(found.vocab), config)))


def _by_name(network):
    """Returns the network's step from dictionary to dictionary, as in exported models."""

    def step(feed):
        states = [tuple(feed[f"{letter}_{k}"] for letter in network.states)
                  for k in range(network.config.layers)]  # fmt: skip
        logits, after = network.step(feed["ids"], states)
        named = _named(network, after).items()
        return {"logits": logits} | {f"next_{name}": state for name, state in named}

    return step


def _compare(network, step):
    """Returns the largest difference of logits and states; each side carries its own states."""
    expected = network.initial_states(STREAMS)
    states, differences = _named(network, expected), []
    for ids in _ids(network.weights["layers/dense/vars/1"].size).T:
        found = step({"ids": ids, **states})
        states = {name: found[f"next_{name}"] for name in states}
        logits, expected = network.step(ids, expected)
        differences.append(np.abs(found["logits"] - logits).max())
        for name, state in _named(network, expected).items():
            differences.append(np.abs(states[name] - state).max())
    return float(np.max(differences))


def _named(network, states):
    """Returns {"h_0": (B, H), ...} of a network's states."""
    letters = network.states
    return {f"{x}_{k}": s for k, layer in enumerate(states)
            for x, s in zip(letters, layer, strict=True)}  # fmt: skip


def _ids(vocab_size):
    return np.random.default_rng(0).integers(
        vocab_size, size=(STREAMS, CHECK_LENGTH), dtype=np.int32
    )
