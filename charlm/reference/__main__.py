"""`charlm reference`: trains a network in plain NumPy, with hand-written gradients."""

import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from charlm import cli
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir, Text, with_text
from charlm.config import DataConfig, ModelConfig, SampleConfig
from charlm.errors import InputError, check_temperature, command_line, flag, require
from charlm.presets import FIT_OF_OTHERS
from charlm.reference import gradient_check
from charlm.reference.trainer import RMSprop
from charlm.runs import checkpoint, lookup, run_folder
from charlm.training import numpy_run
from charlm.training.resume import check_same_tokens

TOLERANCE = 1e-6  # of --check: relative, in float64
WITH_CHECK = {"check", "init", "runs_dir", "quiet", "debug"}  # what --check uses


@dataclass(frozen=True)
class ReferenceConfig:
    """Training and output."""

    epochs: int = 2
    """Passes over the training text."""
    learning_rate: float = 2e-3
    """Learning rate of RMSprop."""
    decay: float = 0.95
    """Decay of RMSprop's moving average of squared gradients."""
    clip_value: float = 5.0
    """Gradient clipping by value: each element is limited to this size; 0 for none."""
    sample_temperatures: tuple[float, ...] = (0.5, 1.0)
    """Sampling temperatures; one text for each after each epoch."""
    sample_length: int = 200
    """Characters in each sample; 0 for no samples."""
    text_file: Path | None = None
    """After training, write a text to this file."""
    text_length: int = 10_000
    """Characters in that text; its temperature is the first of --sample-temperatures."""
    init: str | None = None
    """Start from the weights of a run: its folder, a .weights.h5 file, or "latest"."""
    check: bool = False
    """Do not train; compare the gradients with finite differences and name the worst tensor."""
    name: str | None = None
    """Name of the new folder in --runs-dir. Default: the corpus and the time."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        ok = 0 < self.learning_rate < np.inf
        require(ok, "learning_rate", "a finite number above 0", self.learning_rate)
        require(0 <= self.decay < 1, "decay", "from 0 to below 1", self.decay)
        ok = 0 <= self.clip_value < np.inf
        require(ok, "clip_value", "a finite number, 0 or more", self.clip_value)
        require(self.sample_temperatures, "sample_temperatures", "one or more", "none")
        require(self.sample_length >= 0, "sample_length", "0 or more", self.sample_length)
        require(self.text_length >= 1, "text_length", "1 or more", self.text_length)
        for t in self.sample_temperatures:
            check_temperature(t, "sample_temperatures")


@dataclass(frozen=True)
class Reference:
    """Trains a character model in plain NumPy with hand-written gradients, for study.

    Its files are those of charlm train. Each command can continue with the other's weights: --init
    here, --resume there.
    """

    run: ReferenceConfig = field(default_factory=ReferenceConfig)
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(units=128, dropout=0.0, output_bias="zeros")
    )
    data: DataConfig = field(default_factory=DataConfig)
    text: Text = None


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    run = cli.parse_part(ReferenceConfig, "charlm reference", argv)
    if run.init is None:
        args, saved = _parse(argv), None
    else:
        args, saved = _from_run(run, argv)
    numpy_run.check_model(args.model, args.data)
    if args.run.check:
        return _check(args)
    if args.run.text_file is not None:
        outputs.check_replaceable("text_file", args.run.text_file, args.run.overwrite)
    corpus = cli.corpus(args.data, saved, command_line("reference", *argv))
    text = cli.text(corpus)
    separator = args.data.separator
    if saved is None:
        text = text.translated(text.learned_vocab(args.data.tokens, separator))
    else:
        text = text.translated(saved.vocab.with_separator(separator))
    data = replace(args.data, corpus=corpus.name)
    training = numpy_run.NumpyRun.start(args.model, data, text, saved and saved.weights)
    cli.note_overlap(text)
    folder = run_folder.new(args.run.runs_dir, args.run.name, corpus.name, args.run.overwrite)
    with run_folder.locked(folder):
        run_folder.clear(folder, args.run.overwrite)
        return _train(args.run, training, folder)


def _parse(argv, default=None):
    return with_text(cli.parse(Reference, "charlm reference", argv, default))


def _from_run(run, argv):
    """Returns the options, with a saved run's model as defaults, and its checkpoint."""
    found = lookup.find(run.runs_dir, run.init, True)
    saved = checkpoint.read(lookup.weights_file(found, (lookup.BEST, lookup.LAST))).in_context()
    kept = replace(saved.config.model.without_dropout(), cell=saved.config.model.cell_name)
    default = Reference(run, kept, replace(saved.config.data, corpus=None))
    args = _parse(argv, default)
    numpy_run.check_same_model(args.model, kept, found)
    check_same_tokens(args.data, saved.config.data, found)
    return args, saved


def _train(run, training, folder):
    cli.say(f"{training.describe()}; {folder}")
    samples = SampleConfig(run.sample_temperatures, sample_length=run.sample_length)
    optimizer = RMSprop(run.learning_rate, run.decay)
    training.train(folder, optimizer, run.epochs, run.clip_value, samples, cli.say)
    written = True
    if run.text_file is not None:
        temperature = run.sample_temperatures[0]
        written = training.save_text(run.text_file, run.text_length, temperature, cli.say)
    cli.say(
        f"done: {folder}; write text with: {command_line('sample', folder)}; continue in Keras, "
        f"for {FIT_OF_OTHERS.epochs} epochs, with: {command_line('train', '--resume', folder)}"
    )
    return 0 if written else cli.FAILED


def _check(args):
    """Checks the gradients; refuses options of training, which would have no effect."""
    given = {f.name: getattr(args.run, f.name) for f in fields(args.run)}
    defaults = {f.name: f.default for f in fields(args.run)}
    given["corpus"], defaults["corpus"] = args.data.corpus, None
    for name in sorted(given.keys() - WITH_CHECK):
        if given[name] != defaults[name]:
            raise InputError(f"{flag(name)} has no effect with --check; leave it out")
    worst, error, count = gradient_check.check_cell(args.model, args.data.seed)
    print(
        f"{args.model.cell}: {count} tensors, gradients by hand against central differences in "
        f"float64; worst {worst}, relative error {error:.1e}"
    )
    return 0 if error < TOLERANCE else cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
