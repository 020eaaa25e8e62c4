"""`charlm import FILE`: weights that others wrote, made into a run."""

import re
import sys
from dataclasses import dataclass, fields, replace
from math import log
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import tyro

from charlm import cli, foreign, reference, run_folder
from charlm.checkpoint import Checkpoint, Progress
from charlm.config import Config, DataConfig, ModelConfig, check
from charlm.errors import InputError
from charlm.reference import trainer
from charlm.reference.network import DENSE, Network, layer_path
from charlm.windows import HeldOutWindows

MEASURED, DOCUMENTS = 20_000, 10  # characters an import is measured on, and of how many texts
LEAST = 100  # held-out characters below which a measurement would mean nothing
SIGMOID_SINCE = (2, 3)  # Keras's default for gates; before, hard_sigmoid
OLD_SLOPE = 1.2  # hard_sigmoid(a) of Keras 1 and 2, clip(0.2 a + 0.5, 0, 1), is Keras 3's of 1.2 a


@dataclass(frozen=True)
class Import:
    """Makes a run of weights that Keras or PyTorch wrote: sample from it, or go on training it.

    Reads .weights.h5 and .keras of Keras 3 and .h5/.hdf5 of Keras 1 and 2, of models made of stock
    recurrent layers and one Dense; and .safetensors with the state dict of an nn.LSTM, nn.GRU or
    nn.RNN and an nn.Linear. Nothing in a file is run. Shapes say how large the model is.
    """

    file: tyro.conf.Positional[Path]
    """The weights."""
    vocab_from: str | None = None
    """The text whose characters, in code point order, are the file's ids: state_union,
    state_union_original, pydoc, stdlib, a file, folder or glob. May be left out for a file that
    charlm export --format safetensors wrote, which has its characters."""
    encoding: str = "utf-8"
    """Encoding of a file or a folder's files."""
    cell: Literal["lstm", "gru", "rnn"] | None = None
    """What the file should hold; refused if it holds another."""
    activation: Literal["tanh", "relu", "linear"] | None = None
    """Where the file does not say. Default: tanh."""
    recurrent_activation: Literal["sigmoid", "hard_sigmoid"] | None = None
    """Where the file does not say; hard_sigmoid is that of the Keras that wrote it. Default:
    hard_sigmoid before Keras 2.3, sigmoid since."""
    keras_version: str | None = None
    """The Keras that wrote the file, for example 2.15, where the file does not say."""
    name: str | None = None
    """Folder in --runs-dir; by default the file's name and the time."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Import, "charlm import", argv)
    found = foreign.read(args.file)
    if args.keras_version is not None:
        if found.program != "Keras":
            raise InputError(
                f"expected no --keras-version, for {args.file} is of {found.program}, found "
                f"{args.keras_version}; leave it out"
            )
        if found.keras_version is not None:
            raise InputError(
                f"expected no --keras-version, for {args.file} says {found.keras_version}, found "
                f"{args.keras_version}; leave it out"
            )
        ok = re.fullmatch(r"\d{1,3}\.\d{1,3}(\.\w{1,20})*", args.keras_version)
        check(ok, "keras_version", "like 2.15", args.keras_version)
        what = found.kind.split()[-1]  # weights or a model
        kind = f"Keras {args.keras_version} {what}"
        found = replace(found, keras_version=args.keras_version, kind=kind)
    if args.cell not in (None, found.cell):
        raise InputError(f"expected the cell {args.cell} in {args.file}, found {found.cell}")
    vocab, text, data = _vocabulary(args, found)
    config, scale, notes = _settings(args, found)
    weights = _weights(found, config, scale)
    network = Network(weights, len(vocab), config)
    folder = run_folder.new(args.runs_dir, args.name, args.file.name, args.overwrite)
    saved = Checkpoint(
        config=Config(model=config, data=data),
        vocab=vocab,
        corpus_sha256=text.sha256 if text else found.corpus_sha256,
        progress=Progress(),
        weights=network.weights,
        optimizer=[],
        carried=[],
        versions=_versions(found),
    )
    measured = _measured(network, data.corpus, text)
    with run_folder.locked(folder):
        run_folder.clear(folder, args.overwrite)
        run_folder.save_last(folder, saved)
    where = folder if text else f"{folder} --corpus TEXT"
    print(
        f"{folder}: {found.kind}; {config.cell} {config.layers} x {config.units}, vocabulary "
        f"{len(vocab)}; {'; '.join([*notes, measured])}; write text with: python -m charlm.sample "
        f"{folder}; train on with: python -m charlm.train --resume {where}"
    )


def _vocabulary(args, found):
    """The characters in the order of their ids, the text if there is one, and where it is."""
    data = DataConfig(corpus=args.vocab_from, encoding=args.encoding)
    if args.vocab_from is None:
        if found.vocab is None:
            raise InputError(
                f"expected --vocab-from, for {args.file} does not say which characters its ids "
                "are; give the text that the model was trained on"
            )
        return found.vocab, None, data
    corpus = cli.corpus(data)
    text, V = cli.text(corpus), found.dense[1].size
    if found.vocab is not None:
        other = set(text.vocab.characters) - set(found.vocab.characters)
        if other:
            raise InputError(
                f"expected a text of the {V} characters that {args.file} names, found others in "
                f"{args.vocab_from}: {''.join(sorted(other))!r:.60}; leave --vocab-from out"
            )
        text = text.translated(found.vocab)
    elif len(text.vocab) != V:
        raise InputError(
            f"expected a vocabulary of {V} characters, as {args.file} has, found {len(text.vocab)} "
            f"in {args.vocab_from}; --vocab-from names the text that the model was trained on"
        )
    return text.vocab, text, replace(data, corpus=corpus.name)


def _versions(found):
    """The programs that made the weights."""
    if found.program != "Keras":
        return {"backend": found.program.lower()}
    return {"backend": "keras", "keras": found.keras_version or "unknown"}


def _settings(args, found):
    """The model's settings, the factor on its gates' weights, and what was taken for granted."""
    _, recurrent_kernel, bias = found.layers[0]
    activation, gates = _said(args, found, "activation"), "sigmoid"
    assumed, notes, scale = [], [*found.notes], 1.0
    if activation is None:
        activation = "tanh"
        assumed.append(activation)
    if found.cell == "rnn":
        flag = args.recurrent_activation
        check(flag is None, "recurrent_activation", "left out for a cell without gates", flag)
    else:
        gates = _said(args, found, "recurrent_activation")
        if gates is None:
            gates = "sigmoid" if found.version >= SIGMOID_SINCE else "hard_sigmoid"
            assumed.append(gates)
        if gates == "hard_sigmoid" and found.keras_version is None:
            notes.append(
                f"it does not say which Keras wrote it, taken for Keras {found.version[0]} "
                "(--keras-version)"
            )
        if gates == "hard_sigmoid" and found.version < (3, 0):
            scale = OLD_SLOPE
            notes.append(
                f"before Keras 3 hard_sigmoid had the slope 0.2, so the gates' weights are stored "
                f"times {scale}, for the slope 1/6"
            )
    if assumed:
        whose = "its Keras's" if found.program == "Keras" else f"{found.program}'s"
        notes.insert(
            0, f"the file names no activations, {' and '.join(assumed)} taken, {whose} default"
        )
    config = ModelConfig(
        cell=found.cell,
        units=len(recurrent_kernel),
        layers=len(found.layers),
        activation=activation,
        recurrent_activation=gates,
        reset="before" if found.cell == "gru" and bias.ndim == 1 else "after",
    )
    return config, scale, notes


def _said(args, found, name):
    """What the file says of an activation, or else the flag; None if neither does."""
    flag, said = getattr(args, name), getattr(found, name)
    if flag and said and flag != said:
        raise InputError(
            f"expected --{name.replace('_', '-')} {said}, which {args.file} says, found {flag}; "
            "leave it out"
        )
    known = get_args(next(f.type for f in fields(ModelConfig) if f.name == name))
    if said and said not in known:
        raise InputError(
            f"expected {name} {' or '.join(known)} in {args.file}, found {said}, which charlm's "
            "models do not have"
        )
    return said or flag


def _weights(found, config, scale):
    """{path: array} of our network; the gates of every layer scaled, an embedding multiplied in."""
    gates = reference.cell(config.cell).GATES
    weights = {f"{DENSE}/0": found.dense[0], f"{DENSE}/1": found.dense[1]}
    factors = np.repeat([1.0 if x in "gh" else scale for x in gates], config.units)
    for k, (kernel, recurrent_kernel, bias) in enumerate(found.layers):
        if k == 0 and found.embedding is not None:
            kernel = found.embedding @ kernel  # a row of it is what an id becomes in the end
        for n, w in enumerate((kernel, recurrent_kernel, bias)):
            weights[f"{layer_path(config, k)}/{n}"] = (w * factors).astype(np.float32)
    return weights


def _measured(network, name, text):
    """Bits per character on some of the text, which tells a fitting vocabulary from another."""
    if text is None:
        return "not measured, for no --vocab-from names a text"
    held_out = sorted(text.to_measure(), key=len, reverse=True)[:DOCUMENTS]
    if sum(map(len, held_out)) < LEAST:
        return f"not measured, for {name} has fewer than {LEAST} held-out characters"
    windows = HeldOutWindows([d[: MEASURED // len(held_out)] for d in held_out])
    bits = trainer.evaluate(network, windows) / log(2)
    return f"{bits:.2f} bits/char on {windows.targets:,} characters of {name}"


if __name__ == "__main__":
    sys.exit(main())
