"""`charlm import FILE`: weights that others wrote, made into a run."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from charlm import cli
from charlm.config import NO_TEXT, Config, DataConfig
from charlm.errors import InputError, command_line
from charlm.interop import keras_files
from charlm.interop.keras_files.choice import Choice
from charlm.interop.keras_files.convert import network_weights
from charlm.interop.keras_files.readings import CODEPOINT, TextReadings
from charlm.interop.keras_files.settings import settle, with_version
from charlm.reference.network import Network
from charlm.runs import run_folder
from charlm.runs.checkpoint import Checkpoint, Progress
from charlm.text.encode import fingerprint

NOTHING = fingerprint([])  # that of no text


@dataclass(frozen=True)
class Import:
    """Makes a run of weights that Keras or PyTorch wrote: sample from it, or go on training it.

    Reads .weights.h5 and .keras of Keras 3 and .h5/.hdf5 of Keras 1 and 2, of models made of stock
    recurrent layers and one Dense; and .safetensors with the state dict of an nn.LSTM, nn.GRU or
    nn.RNN and an nn.Linear. Nothing in a file is run. Shapes say how large the model is.

    A file of weights does not say which characters its ids stand for: --vocab-from or --vocab does.
    The model is measured on the end of the text, and an import that does worse than a unigram
    model, which only knows how frequent each character is, is refused: its ids are in another
    order, or the text is another.
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
    """JSON file of the characters instead: a list or text of them in the order of their ids, a
    mapping from characters to ids or from ids to characters, or the .vocab.json of charlm export.
    "" in the place of an id says that it stands for no character. --vocab-from is then the text to
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
    hard_sigmoid before Keras 2.3, sigmoid since. Needed for weights of Keras 2.2.4-tf, which came
    with TensorFlow 1 (hard_sigmoid) and with TensorFlow 2.0 and 2.1 (sigmoid)."""
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
    found = with_version(keras_files.read(args.file), args.file, args.keras_version)
    _check_flags(args, found)
    settings = settle(found, args.file, args.activation, args.recurrent_activation)
    config = settings.config

    def network(reading):
        weights = network_weights(found, config, reading.ids, settings.scale)
        with np.errstate(over="ignore"):  # in a sum; what is stored is finite
            return Network(weights, len(reading.vocab), config)

    V, text = found.dense[1].size, None
    if args.vocab_from is not None:
        data = DataConfig(corpus=args.vocab_from, encoding=args.encoding)
        text = TextReadings(cli.corpus(data), V, cli.text, cli.progress)
    choice = Choice(args.file, V, network, text, cli.progress)
    folder = run_folder.new(args.runs_dir, args.name, args.file.name, args.overwrite)
    best = _best(args, found, choice, settings.notes)
    reading, name = best.reading, text.corpus.name if text else NO_TEXT
    sha256, learned_before = _learned_from(found, reading.text)
    saved = Checkpoint(
        config=Config(model=config, data=DataConfig(corpus=name, encoding=args.encoding)),
        vocab=reading.vocab,
        corpus_sha256=sha256,
        learned_before=learned_before,
        progress=Progress(samples_size=0),  # those of an overwritten run are not its own
        weights=network(reading).weights,
        optimizer=[],
        carried=[],
        versions=_versions(found),
    )
    run_folder.save_new(folder, saved, args.overwrite, cli.note)
    notes = [*settings.notes, *choice.notes, *reading.notes(V), best.describe(name)]
    print(
        f"{folder}: {found.kind}; {config.cell} {config.layers} x {config.units}, vocabulary "
        f"{len(reading.vocab)}; {'; '.join(notes)}; write text with: "
        f"{command_line('sample', folder)}; train on with: {_train_on(folder, reading)}"
    )


def _best(args, found, choice, notes):
    """The reading of the ids that was asked for, if it is of any use or is to be taken anyway."""
    if found.vocab is not None:
        return choice.given(dict(enumerate(found.vocab.characters)), args.file)
    order = None if args.vocab else args.vocab_order or CODEPOINT
    best = choice.in_order(order) if order else choice.in_file(args.vocab)
    if not (best.useful or args.allow_worse_than_unigram):
        choice.refuse(best, order, notes)
    return best


def _learned_from(found, text):
    """The fingerprints of the run's text and of those that its weights had learned from before."""
    sha256 = text.sha256 if text else found.corpus_sha256 or NOTHING
    before = *found.learned_before, found.corpus_sha256
    return sha256, [x for x in before if x not in (sha256, NOTHING, None)]


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
    if args.cell not in (None, found.cell):
        raise InputError(f"expected the cell {args.cell} in {args.file}, found {found.cell}")


def _versions(found):
    """The programs that made the weights."""
    if found.program != "Keras":
        return {"backend": found.program.lower()}
    return {"backend": "keras", "keras": found.keras_version or "unknown"}


def _train_on(folder, reading):
    """The command that goes on training with the run."""
    if reading.text is None:
        return command_line("train", "--init-from", folder, "--corpus", "FILE")
    again = command_line("train", "--resume", folder)
    return f"{again}{' --corpus FILE, the text in lower case' if reading.lower else ''}"


if __name__ == "__main__":
    sys.exit(main())
