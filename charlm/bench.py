"""`charlm bench`: charlm beside its peers on this machine, as a table, JSON and a picture."""

import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from charlm import cli
from charlm.benchmarks import drop_in, estimates, layer_case, machine, report
from charlm.benchmarks.case import Case
from charlm.benchmarks.layer_case import LayerCase
from charlm.benchmarks.measure import MEASURE
from charlm.benchmarks.peers import STEP, Peer
from charlm.benchmarks.sections import Setup
from charlm.benchmarks.workers import cpus
from charlm.cli import outputs
from charlm.config import MAX_UNITS, DataConfig, require
from charlm.errors import InputError
from charlm.runs import atomic
from corpora import Corpus, CorpusError

Section = Literal["step", "sampling", "fit", "memory", "quality", "layers"]
SECTIONS = get_args(Section)
DEFAULT = SECTIONS[:-1]
QUICK = "step", "sampling", "memory"
WINDOW = 100
ORIGINAL = "state_union_original"


@dataclass(frozen=True)
class Bench:
    """Measures charlm beside Keras, JAX and torch: every peer in its own process, in turn.

    Half an hour at most; --quick takes two minutes. Peers that are not installed are left out and
    named (extras "jax" and "bench" bring JAX and torch). On an idle machine, please: a busy one
    slows some peers far more than others.
    """

    quick: bool = False
    """Whole steps of an LSTM and a GRU of 128 units, sampling and memory; few rounds."""
    only: tuple[Section, ...] | None = None
    """What to measure: training steps, sampling, what fit adds to a step, memory, time to quality;
    or layers: charlm.layers in place of keras.layers. Default: all but layers, which takes 20
    minutes more."""
    layers: tuple[str, ...] | None = None
    """For --only layers: only models whose names contain one of these words, such as gru, relu or
    lstm-masked."""
    engines: tuple[Literal["tf", "tf-xla", "jax"], ...] | None = None
    """For --only layers: TensorFlow's graph, TensorFlow's XLA, JAX. Default: all three."""
    peers: tuple[str, ...] | None = None
    """Of training steps, these alone."""
    units: tuple[int, ...] | None = None
    """Widths of the layers. Default: 128 256 512; sampling takes the least and the largest."""
    batch_size: int = 64
    """B of training steps."""
    window: int | None = None
    """T of training steps. Default: 100, of layers 200."""
    rounds: int | None = None
    """Rounds in which all peers take their turn. Default: 7, of layers 11, with --quick 3."""
    threads: int | None = None
    """Of every process, each on a core of its own. Default: all cores that are allowed."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where to compute."""
    quality_epochs: int = 1
    """Epochs of the original recipe, minutes each, whose losses ours has to reach."""
    out: Path = Path("bench")
    """Folder for bench.md, bench.json and bench.png; made if it is not there."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.only is None or self.only, "only", f"some of {', '.join(SECTIONS)}", "none")
        names = [p.name for p in STEP if self.device in p.devices]
        given = names if self.peers is None else self.peers
        require(given and set(given) <= set(names), "peers", f"of {', '.join(names)}", given)
        self._check_layers()
        for units in self.sizes:
            require(1 <= units <= MAX_UNITS, "units", f"from 1 to {MAX_UNITS}", units)
        require(self.sizes, "units", "one or more", "none")
        require(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        require(self.window is None or self.window >= 1, "window", "1 or more", self.window)
        require(self.rounds is None or self.rounds >= 1, "rounds", "1 or more", self.rounds)
        cores = len(cpus())
        ok = self.threads is None or 1 <= self.threads <= cores
        require(ok, "threads", f"from 1 to {cores}, the cores allowed", self.threads)
        require(self.quality_epochs >= 1, "quality_epochs", "1 or more", self.quality_epochs)
        if not os.path.isdir(self.out):
            outputs.check_new_folder("out", self.out)
        if self.device == "gpu" and not machine.seems_to_have_gpu():
            raise InputError("expected a GPU for --device gpu, found none; leave --device out")

    def _check_layers(self):
        """The options of the section `layers`."""
        for option in ("layers", "engines"):
            given, there = getattr(self, option), "layers" in self.sections
            found = f"the sections {', '.join(self.sections)}"
            require(given is None or there, option, "given together with --only layers", found)
            require(given is None or given, option, "one or more", "none")
        for word in self.layers or ():
            known = any(word in name for name in layer_case.NAMES)
            require(known, "layers", f"words in the names {', '.join(layer_case.NAMES)}", word)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.units if self.units is not None else (128,) if self.quick else (128, 256, 512)

    @property
    def sections(self) -> tuple[str, ...]:
        return tuple(s for s in SECTIONS if s in (self.only or (QUICK if self.quick else DEFAULT)))

    @property
    def steps(self) -> int:
        """T of training steps."""
        return self.window or WINDOW

    @property
    def jobs(self) -> tuple[str, ...]:
        """Of training steps."""
        return ("step",) if self.quick else ("layer", "step")

    def lineup(self) -> tuple[Peer, ...]:
        """Peers of training steps."""
        return tuple(
            p for p in STEP
            if self.device in p.devices
            and (p.name in self.peers if self.peers else p.quick or not self.quick)
        )  # fmt: skip

    def cases(self) -> list[Case]:
        """Of training steps, small ones first; where only memory is asked for, LSTMs alone."""
        B, T = self.batch_size, self.steps
        found = [Case("lstm", H, 1, B, T) for H in self.sizes]
        if "step" in self.sections:
            found += [Case("gru", H, 1, B, T) for H in self.sizes]
            found += [] if self.quick else [Case("lstm", self.sizes[len(self.sizes) // 2], 2, B, T)]
        return found

    def layer_cases(self) -> list[LayerCase]:
        """Models of the section `layers`."""
        H, B, T = min(self.sizes), self.batch_size, self.window or drop_in.WINDOW
        names = [n for n in layer_case.NAMES if any(part in n for part in self.layers or ("",))]
        return [LayerCase(name, H, B, T) for name in names]

    def setup(self) -> Setup:
        rounds, seconds = (3, 0.2) if self.quick else (7, 0.4)
        began = time.monotonic()

        def say(text):
            print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

        return Setup(
            gpu=self.device == "gpu",
            cpus=cpus()[: self.threads],
            rounds=self.rounds or rounds,
            seconds=seconds,
            say=say,
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Bench, "charlm bench", argv)
    setup, text = args.setup(), _text(args)
    _check_memory(args, text)
    results = {
        "command": shlex.join(["charlm", "bench", *argv]), "began": time.strftime("%Y-%m-%d %H:%M"),
        "device": args.device, "threads": len(setup.cpus), "cpus": setup.cpus,
        "rounds": setup.rounds, "seconds": setup.seconds, "machine": machine.describe(),
        "load": os.getloadavg()[0], "peaks": {}, "measured": [],
    }  # fmt: skip
    told = []

    def tell(text):
        told.append(text)
        print(f"{text}\n", flush=True)

    tell(report.heading(results))
    for section in args.sections:
        MEASURE[section](args, setup, text, results, tell)
    return _write(args.out, "\n\n".join(told) + "\n", results)


def _write(out, told, results):
    from charlm.benchmarks import plot as view
    from charlm.plots import try_draw

    atomic.make_folder(out)
    files = {"bench.md": told.encode(), "bench.json": json.dumps(results, indent=1).encode()}
    picture = try_draw(lambda: view.draw(results["measured"]), out / "bench.png", cli.note)
    pictures = {} if picture is None else {"bench.png": picture}
    written = [name for name, data in (files | pictures).items()
               if atomic.try_write(out / name, data, cli.note)]  # fmt: skip
    print(f"{out}: {', '.join(written)}")
    return 0 if files.keys() <= set(written) else cli.FAILED


def _text(args):
    """The original program's text for quality, or why there is none, in one line."""
    if "quality" not in args.sections:
        return None
    try:
        return cli.corpus(DataConfig(ORIGINAL))
    except CorpusError as error:
        return str(error)


def _check_memory(args, text):
    """Raises InputError, with the estimate, where a section would not fit."""
    ids = cli.text(text) if isinstance(text, Corpus) else None
    needed = estimates.memory(args.lineup(), args.cases(), args.layer_cases(), ids)
    available = machine.available_memory()
    for section in args.sections:
        if needed.get(section, 0) > available:
            raise InputError(
                f"expected benchmarks that fit in the memory available, {available / 1e9:.1f} GB, "
                f"found {section} of about {needed[section] / 1e9:.1f} GB; give smaller --units, "
                "--batch-size or --window, fewer --peers, or leave it out with --only"
            )


if __name__ == "__main__":
    sys.exit(main())
