"""`charlm gradients`: how much of a loss's gradient reaches back in time, by cell and remedy."""

import csv
import io
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cells import CELLS
from charlm.cli import outputs
from charlm.config import DataConfig, ModelConfig, require
from charlm.errors import InputError, command_line
from charlm.reference import gradient_flow, trainer
from charlm.reference.network import Network, initial_weights
from charlm.runs import atomic, checkpoint, run_folder
from charlm.text.encode import Text
from charlm.text.vocab import Vocab

DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # of the table
MAX_STEPS = 10_000
ENDINGS = ".csv", ".png"


@dataclass(frozen=True)
class Remedies:
    """Remedies, each drawn beside the cell without them; a cell they do not suit stays as it is."""

    activation: Literal["tanh", "relu", "linear"] | None = None
    """Of the candidate."""
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity"] | None = None
    """First recurrent weights; identity with --activation relu is the IRNN of Le et al. 2015."""
    forget_bias: float | None = None
    """First bias of the LSTM's forget gate."""
    reset: Literal["after", "before"] | None = None
    """GRU: whether the reset gate acts after the recurrent product or before it."""
    skip: Literal["none", "add"] | None = None
    """add: each layer from the second on adds its input to its output."""
    gain: float | None = None
    """Factor on the first recurrent weights: below 1 gradients vanish, above 1 they may explode."""

    def given(self) -> dict:
        """Those that the user named."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class TextConfig:
    """What is read."""

    corpus: str | None = None
    """As in charlm train. Default: of a run, its own text."""
    encoding: str = "utf-8"
    """Encoding of a file, a folder's files or standard input."""


@dataclass(frozen=True)
class Gradients:
    """Measures |dLoss_T/dh_t| against T - t: for trained runs, or for cells as they are first made.

    Prints a table, writes a CSV and a picture. No run named: the cells of --cells at
    initialisation. A run is shown beside a new model of the same settings.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run folders, their .weights.h5 files, or "latest"."""
    cells: tuple[str, ...] = ("rnn", "gru", "lstm")
    """Cells to compare where no run is named."""
    units: int = 128
    """Width of each recurrent layer of --cells."""
    layers: int = 1
    """Recurrent layers of --cells."""
    remedies: Remedies = field(default_factory=Remedies)
    clip_norm: float = 1.0
    """Show what clipping the weights' gradient to this norm does to it."""
    clip_value: float = 0.01
    """Show what cutting each element of the weights' gradient to this size does to it."""
    steps: int = 100
    """T, how far back to look."""
    streams: int = 32
    """Places in the text to average over."""
    seed: int = 1
    """Of those places and of first weights."""
    text: TextConfig = field(default_factory=TextConfig)
    output: Annotated[str, tyro.conf.arg(metavar="PATH")] = "gradients"
    """Files to write, without their endings .csv and .png."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(1 <= self.steps <= MAX_STEPS, "steps", f"from 1 to {MAX_STEPS}", self.steps)
        require(self.streams >= 1, "streams", "1 or more", self.streams)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        require(self.cells, "cells", "one or more", "none")
        require(set(self.cells) <= set(CELLS), "cells", f"of {', '.join(CELLS)}", self.cells)
        for name, value in (
            ("clip_norm", self.clip_norm),
            ("clip_value", self.clip_value),
            ("gain", 1.0 if self.remedies.gain is None else self.remedies.gain),
        ):
            require(0 < value < np.inf, name, "a finite number above 0", value)
        outputs.check_stem("output", self.output, ENDINGS)
        given = [*self.remedies.given()]
        for name in ("cells", "units", "layers"):
            default = next(f.default for f in fields(self) if f.name == name)
            given += [name] * (getattr(self, name) != default)
        if self.runs and given:
            raise InputError(
                f"expected runs alone, found {', '.join(given)} with them; a run has its own "
                "model, leave out the one or the other"
            )


@dataclass(frozen=True)
class Series:
    """One network to measure: what it is called, whose colour it has, and its text."""

    label: str
    group: str
    dashed: bool
    network: Network
    vocab: Vocab
    text: Text


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Gradients, "charlm gradients", argv)
    again = command_line("gradients", *argv)
    series = _of_runs(args, again) if args.runs else _of_cells(args)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is said
        measured = [(s, gradient_flow.measure(s.network, _places(s, args))) for s in series]
    for s, flow in measured:
        if not all(np.isfinite(norms).all() for norms in flow.states.values()):
            hint = "try fewer --steps" if args.runs else "try a smaller --gain or fewer --steps"
            print(f"NOTE: {s.label}: numbers too large for float64; {hint}", file=sys.stderr)
    _tell(measured, args)
    return _write(measured, args.output)


def _of_cells(args):
    text = cli.text(cli.corpus(DataConfig(corpus=args.text.corpus, encoding=args.text.encoding)))
    vocab = text.vocab
    series, unused = [], set(args.remedies.given())
    for cell in args.cells:
        plain = ModelConfig(cell=cell, units=args.units, layers=args.layers)
        suited = {k: v for k, v in args.remedies.given().items() if _suits(plain, k, v)}
        unused -= set(suited)
        variants = [(cell, plain, 1.0)]
        if suited:
            gain = suited.pop("gain", 1.0)
            remedied = replace(plain, **suited)
            if gain != 1 or remedied != plain:
                what = [f"{k} {v}" for k, v in suited.items()] + [f"gain {gain:g}"] * (gain != 1)
                variants = [
                    (f"{cell}, {', '.join(what)}", remedied, gain),
                    (cell, plain, 1.0),
                ]
        for label, config, gain in variants:
            network = _initial(config, vocab, args.seed, gain)
            dashed = label == cell and len(variants) > 1
            series.append(Series(label, cell, dashed, network, vocab, text))
    if unused:
        raise InputError(
            f"expected remedies that suit a cell of --cells {' '.join(args.cells)} with --layers "
            f"{args.layers}, found {', '.join(sorted(unused))}, which suits none of them"
        )
    return series


def _suits(config, name, value):
    if name == "gain":
        return True
    try:
        replace(config, **{name: value})
    except InputError:
        return False
    return True


def _of_runs(args, again):
    series = []
    for run in args.runs:
        found = run_folder.find(args.runs_dir, run)
        saved = checkpoint.read(run_folder.weights_file(found, (run_folder.BEST, run_folder.LAST)))
        given = args.text if args.text.corpus is not None else saved.config.data
        data = DataConfig(corpus=args.text.corpus, encoding=given.encoding)
        text, config = cli.text(cli.corpus(data, saved, again)), saved.config.model
        vocab = saved.vocab
        name = found.name if found.is_dir() else f"{found.parent.name}/{found.name}"
        label = name if name == config.cell else f"{name} ({config.cell})"
        network = Network(saved.weights, len(vocab), config, np.float64)
        log_shares = text.log_shares(vocab)  # of the text that is measured on
        first = _initial(config, vocab, args.seed, log_shares=log_shares)
        series.append(Series(f"{label}, trained", label, False, network, vocab, text))
        series.append(Series(f"{label}, untrained", label, True, first, vocab, text))
    return series


def _initial(config, vocab, seed, gain=1.0, log_shares=None):
    rng = np.random.default_rng(seed)
    weights = initial_weights(config, len(vocab), rng, np.float64, log_shares)
    for path, value in weights.items():
        if path.endswith("cell/vars/1"):
            value *= gain
    return Network(weights, len(vocab), config, np.float64)


def _places(series, args):
    """(B, 2T + 1) ids from random places of the held-out text."""
    ids = series.text.held_out
    needed = 2 * args.steps + 1
    if len(ids) < needed:
        raise InputError(
            f"expected at least {needed:,} held-out characters for --steps {args.steps}, found "
            f"{len(ids):,}; give a smaller --steps or more text"
        )
    starts = np.random.default_rng(args.seed).integers(len(ids) - needed + 1, size=args.streams)
    places = ids[starts[:, None] + np.arange(needed)]
    text = series.text.vocab.decode(places)  # a run may have another vocabulary than this text
    return series.vocab.encode(text).reshape(places.shape)


def _curves(measured):
    for s, flow in measured:
        for (layer, letter), norms in flow.states.items():
            where = f" layer {layer + 1}" if s.network.config.layers > 1 else ""
            yield s, f"{s.label},{where} {letter}", layer, letter, norms


def _tell(measured, args):
    distances = [d for d in DISTANCES if d < args.steps] + [args.steps - 1] * (
        args.steps - 1 not in DISTANCES
    )
    curves = list(_curves(measured))
    width = max(len(label) for _, label, *_ in curves)
    print("norm of dLoss_T/d(state at T - k), mean over", args.streams, "places; k steps back:")
    print(" " * width, *(f"{f'k={d}':>8}" for d in distances))
    for _, label, _, _, norms in curves:
        print(f"{label:{width}}", *(f"{norms[d]:8.1e}" for d in distances))
    print()
    names = f"clipped to norm {args.clip_norm:g}", f"cut to +-{args.clip_value:g}"
    print(f"{'gradient of all weights, mean loss of all steps':{width}}")
    print(
        " " * width, f"{'norm':>10} {names[0]:>20} {names[1]:>18} {'its cosine to the whole':>24}"
    )
    for s, flow in measured:
        whole = flow.weights
        scaled = gradient_flow.clip_by_norm(whole, args.clip_norm)
        cut = trainer.clipped(whole, args.clip_value)
        sizes = [gradient_flow.norm(g) for g in (whole, scaled, cut)]
        print(
            f"{s.label:{width}} {sizes[0]:10.3g} {sizes[1]:20.3g} {sizes[2]:18.3g} "
            f"{gradient_flow.cosine(whole, cut):24.3f}"
        )


def _write(measured, output):
    from charlm.plots import gradient_flow as view
    from charlm.plots import try_draw

    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["network", "layer", "state", "steps_back", "norm"])
    for s, _, layer, letter, norms in _curves(measured):
        writer.writerows([s.label, layer + 1, letter, k, f"{n:.6e}"] for k, n in enumerate(norms))
    table, picture = outputs.files(output, ENDINGS)
    kept = atomic.try_write(table, rows.getvalue().encode(), cli.note)
    # h of each network alone: for c see the table
    lines = [(n, s.group, s.dashed, norms) for s, n, _, letter, norms in _curves(measured)
             if letter == "h"]  # fmt: skip
    drawn = try_draw(lambda: view.draw(lines), picture, cli.note)
    shown = drawn is not None and atomic.try_write(picture, drawn, cli.note)
    print("", ", ".join([str(table)] * kept + [str(picture)] * shown), sep="\n")
    return 0 if kept else cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
