"""`charlm import FILE`: weights that others wrote, made into a run."""

import re
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

import tyro

from charlm import cli, foreign, run_folder
from charlm.checkpoint import Checkpoint, Progress
from charlm.config import Config, DataConfig, ModelConfig, check
from charlm.errors import InputError
from charlm.foreign.choice import Choice
from charlm.foreign.convert import network_weights
from charlm.foreign.readings import CODEPOINT, TextReadings
from charlm.reference.network import Network
from charlm.text import fingerprint

SIGMOID_SINCE = (2, 3)  # Keras's default for gates; before, hard_sigmoid
OLD_SLOPE = 1.2  # hard_sigmoid(a) of Keras 1 and 2, clip(0.2 a + 0.5, 0, 1), is Keras 3's of 1.2 a


@dataclass(frozen=True)
class Import:
    """Makes a run of weights that Keras or PyTorch wrote: sample from it, or go on training it.

    Reads .weights.h5 and .keras of Keras 3 and .h5/.hdf5 of Keras 1 and 2, of models made of stock
    recurrent layers and one Dense; and .safetensors with the state dict of an nn.LSTM, nn.GRU or
    nn.RNN and an nn.Linear. Nothing in a file is run. Shapes say how large the model is.

    A file of weights does not say which characters its ids stand for: --vocab-from or --vocab does.
    The model is measured on the end of the text, and an import that does worse than a unigram model
    is refused: its ids are in another order, or the text is another.
    """

    file: tyro.conf.Positional[Path]
    """The weights."""
    vocab_from: str | None = None
    """The text that the model was trained on, whose characters are its ids: state_union,
    state_union_original, pydoc, stdlib, a file, folder or glob. May be left out for a file of
    charlm export --format safetensors, which has its characters."""
    vocab_order: Literal["codepoint", "frequency"] | None = None
    """Order of the text's characters as ids. codepoint (default): Python's sorted(); frequency:
    from the most frequent to the rarest, as Keras's Tokenizer(char_level=True) has them."""
    vocab: Path | None = None
    """JSON file of the characters instead: a list or text of them in the order of their ids, or a
    mapping from characters to ids or from ids to characters. --vocab-from is then the text to
    measure on, and may be left out."""
    allow_worse_than_unigram: bool = False
    """Import a model that does worse than a unigram model of the text."""
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
    found = _told_version(args, foreign.read(args.file))
    _check_flags(args, found)
    if args.cell not in (None, found.cell):
        raise InputError(f"expected the cell {args.cell} in {args.file}, found {found.cell}")
    config, scale, notes = _settings(args, found)

    def network(reading):
        weights = network_weights(found, config, reading.ids, scale)
        return Network(weights, len(reading.vocab), config)

    V, text = found.dense[1].size, None
    if args.vocab_from is not None:
        data = DataConfig(corpus=args.vocab_from, encoding=args.encoding)
        text = TextReadings(cli.corpus(data), V, cli.text, cli.progress)
    choice = Choice(args.file, V, network, text, cli.progress)
    folder = run_folder.new(args.runs_dir, args.name, args.file.name, args.overwrite)
    order = None if args.vocab else args.vocab_order or CODEPOINT
    if found.vocab is not None:
        best = choice.given(dict(enumerate(found.vocab.characters)), args.file)
    else:
        best = choice.in_order(order) if order else choice.in_file(args.vocab)
        if not (best.useful or args.allow_worse_than_unigram):
            choice.refuse(best, order, notes)
    reading, name = best.reading, text.corpus.name if text else args.vocab and str(args.vocab)
    saved = Checkpoint(
        config=Config(model=config, data=DataConfig(corpus=name, encoding=args.encoding)),
        vocab=reading.vocab,
        corpus_sha256=reading.text.sha256 if text else found.corpus_sha256 or fingerprint([]),
        progress=Progress(),
        weights=network(reading).weights,
        optimizer=[],
        carried=[],
        versions=_versions(found),
    )
    with run_folder.locked(folder):
        run_folder.clear(folder, args.overwrite)
        run_folder.save_last(folder, saved)
    notes = [*notes, *reading.notes(V), best.describe(name)]
    print(
        f"{folder}: {found.kind}; {config.cell} {config.layers} x {config.units}, vocabulary "
        f"{len(reading.vocab)}; {'; '.join(notes)}; write text with: python -m charlm.sample "
        f"{folder}; train on with: python -m charlm.train {_train_flags(folder, reading)}"
    )


def _check_flags(args, found):
    if found.vocab is not None and (args.vocab or args.vocab_order):
        raise InputError(
            f"expected neither --vocab nor --vocab-order, for {args.file} names its characters, "
            "found one of them; leave it out"
        )
    if args.vocab is None and args.vocab_from is None and found.vocab is None:
        raise InputError(
            "expected --vocab-from, the text that the model was trained on, or --vocab, a JSON "
            "file of its characters, found neither"
        )
    if args.vocab and args.vocab_order:
        raise InputError(
            "expected --vocab-order without --vocab, which has an order of its own, found both; "
            "leave one out"
        )


def _told_version(args, found):
    """What was found, of the Keras that --keras-version names."""
    if args.keras_version is None:
        return found
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
    return replace(found, keras_version=args.keras_version, kind=kind)


def _versions(found):
    """The programs that made the weights."""
    if found.program != "Keras":
        return {"backend": found.program.lower()}
    return {"backend": "keras", "keras": found.keras_version or "unknown"}


def _train_flags(folder, reading):
    """What goes on training with the run."""
    if reading.text is None:
        return f"--init-from {folder} --corpus FILE"
    return f"--resume {folder}{' --corpus FILE, the text in lower case' if reading.lower else ''}"


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


if __name__ == "__main__":
    sys.exit(main())
