"""`charlm gradients`: how far back in time a loss's gradient reaches, by cell and remedy."""

import sys
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cells import CELLS
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir
from charlm.config import DataConfig
from charlm.errors import InputError, command_line, require
from charlm.notes import step_of_progress
from charlm.reference import gradient_series, gradient_tables
from charlm.runs import lookup, run_folder

MAX_STEPS = 10_000
UNTRAINED = """\
These networks are untrained: their initial weights alone decide what is shown. It is no ranking of
the cells. The rnn's orthogonal matrix keeps the gradient; the gates of the others start half open
and shrink it at each step (forget gate of the LSTM: sigmoid(1) = 0.73). Training opens gates:
"charlm gradients RUN" compares a trained network with an untrained one."""
ENDINGS = ".csv", ".png"


@dataclass(frozen=True)
class Remedies:
    """Remedies for vanishing gradients; each cell is measured without and with those it allows."""

    activation: Literal["tanh", "relu", "linear"] | None = None
    """Activation of the cell's candidate state."""
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity"] | None = None
    """Initializer of the recurrent weights; identity with --activation relu is the IRNN of Le et
    al. 2015."""
    forget_bias: float | None = None
    """Initial bias of the LSTM's forget gate."""
    reset: Literal["after", "before"] | None = None
    """GRU: apply the reset gate after or before the recurrent product."""
    skip: Literal["none", "add"] | None = None
    """add: residual connections; each layer from the second on adds its input to its output."""
    gain: float | None = None
    """Factor on the initial recurrent weights: below 1 gradients vanish, above 1 they may
    explode."""

    def given(self) -> dict:
        """Returns {name: value} of the remedies that the user gave."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class TextConfig:
    """Text to measure on."""

    corpus: str | None = None
    """A text, named as for charlm train. Default: for a run, its own text."""
    encoding: str = "utf-8"
    """Encoding of a file, a folder's files or standard input."""


@dataclass(frozen=True)
class Gradients:
    """Measures the norm |dLoss_T/dh_t| against the distance T - t, for trained or untrained models.

    Prints a table, writes a CSV file and a picture. If no run is given, it compares the cells of
    --cells with their initial weights. Each run is compared with an untrained model that has the
    same settings.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run folders, .weights.h5 files in them, or "latest"."""
    cells: tuple[str, ...] = ("rnn", "gru", "lstm")
    """Cells to compare if no run is given."""
    units: int = 128
    """Width (hidden units) of each recurrent layer of --cells."""
    layers: int = 1
    """Number of recurrent layers of --cells."""
    remedies: Remedies = field(default_factory=Remedies)
    clip_norm: float = 1.0
    """Show the effect of clipping the gradient of all weights to this norm."""
    clip_value: float = 0.01
    """Show the effect of clipping each element of that gradient to this size."""
    steps: int = 100
    """T, the largest distance in steps."""
    streams: int = 32
    """Number of places in the text to average over."""
    seed: int = 1
    """Random seed of those places and of initial weights."""
    text: TextConfig = field(default_factory=TextConfig)
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """Files to write, with or without the ending .csv or .png. Default: gradients in the first
    run's folder; without runs, in --runs-dir."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        require(1 <= self.steps <= MAX_STEPS, "steps", f"from 1 to {MAX_STEPS}", self.steps)
        require(self.streams >= 1, "streams", "1 or more", self.streams)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        require(self.cells, "cells", "one or more", "none")
        require(set(self.cells) <= set(CELLS), "cells", f"of {', '.join(CELLS)}", self.cells)
        gain = 1.0 if self.remedies.gain is None else self.remedies.gain
        sizes = {"clip_norm": self.clip_norm, "clip_value": self.clip_value, "gain": gain}
        for name, value in sizes.items():
            require(0 < value < np.inf, name, "a finite number above 0", value)
        if self.output is not None:
            outputs.check_stem("output", self.output, ENDINGS)
        given = [*self.remedies.given()]
        for name in ("cells", "units", "layers"):
            default = next(f.default for f in fields(self) if f.name == name)
            given += [name] * (getattr(self, name) != default)
        if self.runs and given:
            found = ", ".join(given)
            raise InputError(f"expected runs alone, found {found} with them; leave one of them out")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Gradients, "charlm gradients", argv)
    output = outputs.stem(args.output, _folder(args) / run_folder.GRADIENTS, ENDINGS)
    series = _of_runs(args, command_line("gradients", *argv)) if args.runs else _of_cells(args)
    for s in series:
        gradient_series.check_length(s, args.steps)
    step_of_progress(f"measuring gradients over {args.steps} steps at {args.streams} places")
    measured = []
    with cli.progress("measuring gradients", len(series)) as tell:
        for s in series:
            measured.append((s, gradient_series.measure(s, args.steps, args.streams, args.seed)))
            tell()
    for s, flow in measured:
        if not all(np.isfinite(norms).all() for norms in flow.states.values()):
            hint = "try fewer --steps" if args.runs else "try a smaller --gain or fewer --steps"
            print(f"NOTE: {s.label}: numbers too large for float64; {hint}", file=sys.stderr)
    clips = args.clip_norm, args.clip_value
    print(*gradient_tables.tables(measured, args.streams, *clips), sep="\n")
    about = "" if args.runs else UNTRAINED
    if about:
        print(f"\n{about}")
    from charlm.plots import gradient_flow as view

    shown = [
        (label, s.group, s.dashed, letter != "h", norms)
        for s, label, _, letter, norms in gradient_tables.curves(measured)
    ]
    data = gradient_tables.to_csv(measured)
    return outputs.write(output, ENDINGS, data, lambda: view.draw(shown, about))


def _folder(args):
    """Returns the folder of the files if --output is not given."""
    if args.runs:
        found = lookup.find(args.runs_dir, args.runs[0], True)
        return found if found.is_dir() else found.parent
    return args.runs_dir


def _of_cells(args):
    text = cli.text(cli.corpus(DataConfig(corpus=args.text.corpus, encoding=args.text.encoding)))
    remedies = args.remedies.given()
    return gradient_series.of_cells(text, args.cells, args.units, args.layers, remedies, args.seed)


def _of_runs(args, again):
    series = []
    for run in args.runs:
        found = lookup.find(args.runs_dir, run, True)
        _, saved = lookup.read_best(args.runs_dir, run)
        saved.vocab.require_characters("measure gradients")
        given = args.text if args.text.corpus is not None else saved.config.data
        form = saved.config.data.normalize
        data = DataConfig(corpus=args.text.corpus, encoding=given.encoding, normalize=form)
        text, config = cli.text(cli.corpus(data, saved, again)), saved.config.model
        label = found.name if found.is_dir() else f"{found.parent.name}/{found.name}"
        label += f" ({config.cell})" * (label != config.cell)
        series += gradient_series.of_run(label, config, saved.weights, saved.vocab, text, args.seed)
    return series


if __name__ == "__main__":
    sys.exit(main())
