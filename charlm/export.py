"""`charlm export RUN`: a run as a model for programs that have no charlm."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from charlm import cli, interrupt
from charlm.cli import outputs
from charlm.config import require
from charlm.errors import InputError
from charlm.interop import keras_files
from charlm.interop.keras_files import pytorch
from charlm.interop.keras_files.convert import network_weights
from charlm.interop.keras_files.vocabulary import OURS
from charlm.interop.stock import stock
from charlm.reference.network import Network
from charlm.runs import atomic, run_folder

SUFFIX = {
    "keras": ".keras",
    "saved_model": "-step",
    "onnx": "-step.onnx",
    "safetensors": ".safetensors",
}
TOLERANCE = 1e-4  # of logits in float32, against the sampler's, which sums in another order
STREAMS, CHECK_LENGTH = 3, 20  # of that comparison
SAVED_MODEL = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}


@dataclass(frozen=True)
class Export:
    """Writes a run as a model that needs no charlm, and checks it against the sampler.

    keras: a .keras file of stock Keras layers, ids (B, T) -> logits (B, T, V) from zero states.
    saved_model, onnx: a single step, ids (B,) and states -> logits (B, V) and next states.
    safetensors: the state dict of a PyTorch module with an nn.LSTM, nn.GRU or nn.RNN "rnn", which
    reads one-hot vectors (B, T, V), and an nn.Linear "linear"; the README has the module.
    Beside it goes a .vocab.json, the characters in the order of their ids.
    """

    run: tyro.conf.Positional[str] = run_folder.LATEST
    """A run folder, a .weights.h5 file of one, or "latest"."""
    format: Literal["keras", "saved_model", "onnx", "safetensors"] = "keras"
    """onnx needs the extra "onnx"."""
    output: Path | None = None
    """File (saved_model: folder) to write; by default the run's name in the current folder."""
    overwrite: bool = False
    """Replace what an earlier export wrote there."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Export, "charlm export", argv)
    path, saved = run_folder.read_best(args.runs_dir, args.run)
    name = path.parent.resolve().name
    output = args.output or Path(f"{name}{SUFFIX[args.format]}")
    require(output.name, "output", "the name of a file", output)
    vocab = output.with_name(f"{output.name}.vocab.json")
    _check_output(args, output, vocab)
    network = saved.to_network()
    temporary = tempfile.TemporaryDirectory(dir=output.parent, prefix=".charlm-export-")
    with temporary as folder, interrupt.before_leaving(temporary.cleanup):
        made, characters = Path(folder, output.name), Path(folder, vocab.name)
        with cli.quiet_stderr():
            difference = _writer(args.format)(saved, network, made)
        equal = difference <= TOLERANCE  # NaN is not
        if equal:
            about = json.dumps({OURS: list(saved.vocab.characters)})
            atomic.write(characters, about.encode(), like=vocab)
            _put(made, output, characters, vocab, Path(folder, f"{output.name}.old"))
    if not equal:
        print(
            f"failed: logits or states differ from the sampler's by {difference:.1e}, so nothing "
            "was written",
            file=sys.stderr,
        )
        return cli.FAILED
    what = "logits are" if args.format == "keras" else "logits and states are"
    print(
        f"{output}, {vocab}; its {what} the sampler's to {difference:.0e} over {CHECK_LENGTH} "
        f"characters of {STREAMS} streams"
    )
    return 0


def _put(made, output, characters, vocab, old):
    """Puts both into their places; at no moment does a model lie beside another's characters.

    If that fails, what lay there lies there again.
    """
    for path in (made, characters):
        atomic.sync_tree(path)  # what may fail comes first
    if output.is_file() and not output.is_symlink():  # it stays in its place until it is replaced
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
    """Undoes as much of `_put` as was done."""
    for path, (made, _) in places.items():
        if os.path.lexists(path) and not os.path.lexists(made):
            os.rename(path, made)
    for path, (_, old) in places.items():
        if os.path.lexists(old) and not os.path.lexists(path):
            os.rename(old, path)


def _check_output(args, output, vocab):
    ending = Path(f"x{SUFFIX[args.format]}").suffix  # none of a folder
    if ending and output.suffix != ending:
        raise InputError(f"expected --output to end in {ending}, found {output}")
    for path in (output, vocab):
        if not os.path.lexists(path):
            outputs.check_file("output", path)
            continue
        fits = _is_saved_model(path) if path == output and not ending else path.is_file()
        if not fits:
            raise InputError(f"expected {path} to be free, found something that no export wrote")
        if not args.overwrite:
            raise InputError(f"expected {path} to be free, found it there; --overwrite replaces it")


def _is_saved_model(folder):
    """Whether it holds what an export wrote, and nothing of anybody's beside it."""
    try:
        names = set(os.listdir(folder))
    except OSError:  # no folder, or one that may not be read
        return False
    return "saved_model.pb" in names and names <= SAVED_MODEL


def _writer(format_) -> Callable:
    """The function that exports and compares."""
    if format_ == "safetensors":
        return _safetensors  # which needs no backend
    if format_ == "onnx":
        try:
            import onnxruntime  # noqa: F401
            import tf2onnx  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"expected the packages of the extra onnx, found {error.name} missing; "
                "pip install -e '.[onnx]' in charlm's folder brings them"
            ) from None
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only one that writes the others
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
    again = tf.saved_model.load(path)  # kept: its variables go with it
    return _compare(network, lambda feed: {k: v.numpy() for k, v in again.serve(feed).items()})


def _onnx(saved, network, path):
    import onnxruntime

    from charlm.interop import keras_model

    model = keras_model.step_model(saved.config.model, saved.weights, len(saved.vocab))
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return _compare(network, lambda feed: dict(zip(names, session.run(None, feed), strict=True)))


def _safetensors(saved, network, path):
    config, weights = stock(saved.config.model, saved.weights)
    learned_from = saved.corpus_sha256, saved.learned_before
    atomic.write(path, pytorch.to_bytes(config, weights, saved.vocab, *learned_from))
    found = keras_files.read(path)
    if found.vocab != saved.vocab:
        raise OSError("expected to read back the vocabulary that was written, found another")
    config = replace(config, cell=found.cell, activation=found.activation)
    again = network_weights(found, config, np.arange(len(found.vocab)))
    return _compare(network, _by_name(Network(again, len(found.vocab), config)))


def _by_name(network):
    """Its step from dictionary to dictionary, as exported models have it."""

    def step(feed):
        states = [tuple(feed[f"{letter}_{k}"] for letter in network.states)
                  for k in range(network.config.layers)]  # fmt: skip
        logits, after = network.step(feed["ids"], states)
        named = _named(network, after).items()
        return {"logits": logits} | {f"next_{name}": state for name, state in named}

    return step


def _compare(network, step):
    """The largest difference of logits and states to the sampler's, each going its own way."""
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
    letters = network.states
    return {f"{x}_{k}": s for k, layer in enumerate(states)
            for x, s in zip(letters, layer, strict=True)}  # fmt: skip


def _ids(vocab_size):
    return np.random.default_rng(0).integers(
        vocab_size, size=(STREAMS, CHECK_LENGTH), dtype=np.int32
    )


if __name__ == "__main__":
    sys.exit(main())
