"""`charlm import FILE`: makes a run from weights that another program wrote."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir
from charlm.config import NO_TEXT, DataConfig
from charlm.errors import InputError, command_line
from charlm.interop import import_run, keras_files
from charlm.interop.keras_files.choice import Choice
from charlm.interop.keras_files.convert import network_weights
from charlm.interop.keras_files.readings import TextReadings
from charlm.interop.keras_files.settings import settle, with_version
from charlm.reference.network import Network
from charlm.runs import run_folder


@dataclass(frozen=True)
class Import:
    """Makes a run from Keras or PyTorch weights, to sample from or to continue training.

    Reads .weights.h5 and .keras of Keras 3 and .h5/.hdf5 of Keras 1 and 2, of models made of stock
    recurrent layers and one Dense layer; and .safetensors with the state dict of an nn.LSTM, nn.GRU
    or nn.RNN and an nn.Linear. No code in a file is run. The size of the model is read from the
    shapes of its weights.

    A file of weights does not say which characters its ids stand for: --vocab-from or --vocab says
    it. The model is measured on the end of the text. If its loss is higher than that of a unigram
    model, which only knows how frequent each character is, the import is refused: the order of the
    ids or the text is probably wrong.
    """

    file: tyro.conf.Positional[Path]
    """Weights file."""
    vocab_from: str | None = None
    """The training text of the model, whose characters are its ids: state_union,
    state_union_original, inaugural, pydoc, stdlib, a file, folder or glob. Not needed for a file
    that charlm export --format safetensors wrote, because it lists its characters."""
    vocab_order: Literal["codepoint", "frequency"] | None = None
    """Order of the text's characters as ids. codepoint (default): Python's sorted(); frequency:
    from the most to the least frequent, as in Keras's Tokenizer(char_level=True)."""
    vocab: Path | None = None
    """JSON file of the characters instead: a list or string of them in the order of their ids, a
    mapping from characters to ids or from ids to characters, or the .vocab.json of charlm export.
    An empty string marks an id that stands for no character. With --vocab, --vocab-from is optional
    and only names the text to measure on."""
    allow_worse_than_unigram: bool = False
    """Import a model even if its loss is higher than that of a unigram model of the text."""
    encoding: str = "utf-8"
    """Encoding of a file or of a folder's files."""
    cell: Literal["lstm", "gru", "rnn"] | None = None
    """Cell that the file should have; a file with another cell is refused."""
    activation: Literal["tanh", "relu", "linear"] | None = None
    """Activation of the cell, if the file does not say it. Default: tanh."""
    recurrent_activation: Literal["sigmoid", "hard_sigmoid"] | None = None
    """Activation of the gates, if the file does not say it; hard_sigmoid as defined in the Keras
    version that wrote the file. Default: hard_sigmoid before Keras 2.3, sigmoid since. Required for
    weights of Keras 2.2.4-tf, because TensorFlow 1 (hard_sigmoid) and TensorFlow 2.0 and 2.1
    (sigmoid) both have that version."""
    keras_version: str | None = None
    """Version of Keras that wrote the file, for example 2.15, if the file does not say it."""
    name: str | None = None
    """Name of the new folder in --runs-dir. Default: the file's name and the time."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Import, "charlm import", argv)
    found = with_version(keras_files.read(args.file), args.file, args.keras_version)
    _check_flags(args, found)
    settings = settle(found, args.file, args.activation, args.recurrent_activation)
    config = settings.config

    def network(reading):
        weights = network_weights(found, config, reading.ids, settings.scale)
        with np.errstate(over="ignore"):  # in a sum of biases; the weights are finite
            return Network(weights, len(reading.vocab), config)

    V, text = found.dense[1].size, None
    if args.vocab_from is not None:
        data = DataConfig(corpus=args.vocab_from, encoding=args.encoding)
        found_text = cli.corpus(data)
        if found_text.encoded:
            raise InputError(
                f"expected a text for --vocab-from, found {args.vocab_from}, an encoded text (made "
                "by charlm encode); name the original files"
            )
        text = TextReadings(found_text, V, cli.text)
    choice = Choice(args.file, V, network, text)
    folder = run_folder.new(args.runs_dir, args.name, args.file.name, args.overwrite)
    asked = args.vocab, args.vocab_order, args.allow_worse_than_unigram
    best = import_run.choose_reading(choice, found, args.file, *asked, settings.notes)
    reading, corpus = best.reading, text.corpus if text else None
    saved = import_run.checkpoint(found, config, network(reading), reading, corpus, args.encoding)
    run_folder.save_new(folder, saved, args.overwrite, cli.note)
    name = corpus.name if corpus else NO_TEXT
    notes = [*settings.notes, *choice.notes, *reading.notes(V), best.describe(name)]
    print(
        f"{folder}: {found.kind}; {config.cell} {config.layers} x {config.units}, vocabulary "
        f"{len(reading.vocab)}; {'; '.join(notes)}; write text with: "
        f"{command_line('sample', folder)}; continue training with: {_train_on(folder, reading)}"
    )


def _check_flags(args, found):
    """Raises InputError for flags that contradict each other or the file, or are missing."""
    if found.vocab is not None and (args.vocab or args.vocab_order):
        raise InputError(
            f"--vocab and --vocab-order have no effect with {args.file}, which lists its "
            "characters; leave them out"
        )
    if args.vocab is None and args.vocab_from is None and found.vocab is None:
        raise InputError(
            "expected --vocab-from, the text that the model was trained on, or --vocab, a JSON "
            "file of its characters, found neither"
        )
    if args.vocab and args.vocab_order:
        raise InputError(
            "--vocab-order has no effect with --vocab, which gives the order; leave one out"
        )
    if args.cell not in (None, found.cell):
        raise InputError(f"expected the cell {args.cell} in {args.file}, found {found.cell}")


def _train_on(folder, reading):
    """Returns the command that continues training."""
    if reading.text is None:
        return command_line("train", "--init-from", folder, "--corpus", "FILE")
    again = command_line("train", "--resume", folder)
    return f"{again}{' --corpus FILE, the text in lower case' if reading.lower else ''}"


if __name__ == "__main__":
    sys.exit(main())
