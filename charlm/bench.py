"""`charlm bench`: compares charlm with other libraries on this machine."""

import math
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charlm import cli, systems
from charlm.benchmarks import layer_case, machine, report
from charlm.benchmarks.measure import MEASURE
from charlm.benchmarks.peers import STEP
from charlm.benchmarks.plan import SECTIONS, Plan, Section
from charlm.benchmarks.workers import cpus
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Debug, Quiet
from charlm.config import MAX_UNITS, DataConfig
from charlm.errors import InputError, require
from corpora import Corpus, CorpusError

ORIGINAL = "state_union_original"

DEFAULT_OUT = RUNS_DIR / "bench"


@dataclass(frozen=True)
class Bench(Plan):
    """Measures charlm next to Keras, JAX and torch: each peer in its own process, taking turns.

    Takes half an hour at most; --quick takes two minutes. Peers that are not installed are listed
    and left out (the extras "jax" and "bench" install JAX and torch). Run it on an idle machine:
    load slows some peers far more than others.
    """

    quick: bool = False
    """Measure whole steps of an LSTM and a GRU of 128 units, sampling and memory; few rounds."""
    only: tuple[Section, ...] | None = None
    """Sections to measure: step (training steps), sampling, fit (its overhead), memory, quality
    (time to quality), layers (charlm.layers as a drop-in replacement for keras.layers). Default:
    all but layers, which takes 20 minutes more."""
    layers: tuple[str, ...] | None = None
    """With --only layers: measure only models whose names contain one of these words, such as gru,
    relu or lstm-masked."""
    engines: tuple[Literal["tf", "tf-xla", "jax"], ...] | None = None
    """With --only layers: TensorFlow graphs, TensorFlow with XLA, JAX. Default: all three."""
    peers: tuple[str, ...] | None = None
    """Measure training steps of these peers only, such as ours-tf, keras-tf or torch."""
    cores: tuple[int, ...] | None = None
    """With --only step: measure charlm's training steps on these numbers of cores, for example
    1 2 4, instead of peers, and compare them with the first. Cores are as the system counts them;
    two of them may share one core of the processor."""
    units: tuple[int, ...] | None = None
    """Widths (hidden units) of the layers. Default: 128 256 512; sampling takes the smallest and
    the largest."""
    batch_size: int = 64
    """B, batch size of training steps."""
    window: int | None = None
    """T, sequence length of training steps. Default: 100; for layers 200."""
    rounds: int | None = None
    """Rounds in which each peer takes a turn. Default: 7; for layers 11; with --quick 3."""
    threads: int | None = None
    """Threads of each process, each on its own core. Default: all cores that are allowed."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Device to compute on."""
    minutes: float | None = None
    """Leave out the last measurements if the benchmark would take longer than this; they are
    listed. Default: no limit."""
    quality_epochs: int = 1
    """Time to quality: train the original recipe for this number of epochs, which take minutes
    each, and measure how long charlm takes to reach its losses."""
    out: Path = DEFAULT_OUT
    """Folder for bench.md, bench.json and bench.png; created if needed."""
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        require(self.only is None or self.only, "only", f"some of {', '.join(SECTIONS)}", "none")
        names = [p.name for p in STEP if self.device in p.devices]
        given = names if self.peers is None else self.peers
        require(given and set(given) <= set(names), "peers", f"of {', '.join(names)}", given)
        self._check_layers()
        self._check_cores()
        for units in self.sizes:
            require(1 <= units <= MAX_UNITS, "units", f"from 1 to {MAX_UNITS}", units)
        require(self.sizes, "units", "one or more", "none")
        require(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        require(self.window is None or self.window >= 1, "window", "1 or more", self.window)
        require(self.rounds is None or self.rounds >= 1, "rounds", "1 or more", self.rounds)
        allowed = len(cpus())
        ok = self.threads is None or 1 <= self.threads <= allowed
        require(ok, "threads", f"from 1 to {allowed}, the cores allowed", self.threads)
        ok = self.minutes is None or 0 < self.minutes < math.inf
        require(ok, "minutes", "above 0", self.minutes)
        require(self.quality_epochs >= 1, "quality_epochs", "1 or more", self.quality_epochs)
        if self.out == DEFAULT_OUT and not os.path.lexists(RUNS_DIR):
            pass  # both are made later
        elif not os.path.isdir(self.out):
            outputs.check_new_folder("out", self.out)
        else:
            outputs.check_own("out", [self.out / name for name in report.FILES])
        if self.device == "gpu" and not machine.seems_to_have_gpu():
            raise InputError("cannot use --device gpu: this machine has no GPU; leave --device out")

    def _check_layers(self):
        """Checks the options of the section `layers`."""
        for option in ("layers", "engines"):
            given, there = getattr(self, option), "layers" in self.sections
            if given is not None and not there:
                raise InputError(f"--{option} has no effect without --only layers; leave it out")
            require(given is None or given, option, "one or more", "none")
        for word in self.layers or ():
            known = any(word in name for name in layer_case.NAMES)
            require(known, "layers", f"words in the names {', '.join(layer_case.NAMES)}", word)

    def _check_cores(self):
        """Checks the option of steps on several numbers of cores."""
        if self.cores is None:
            return
        require(self.cores, "cores", "one or more", "none")
        distinct = len({*self.cores}) == len(self.cores)
        require(distinct, "cores", "distinct numbers", self.cores)
        for n in self.cores:
            require(1 <= n <= len(cpus()), "cores", f"from 1 to {len(cpus())}, those allowed", n)
        for name, other in (("peers", self.peers), ("threads", self.threads)):
            if other is not None:
                raise InputError(f"--{name} has no effect with --cores; leave it out")
        if self.sections != ("step",) or self.device != "cpu":
            raise InputError("expected --only step with --cores, on a CPU, found other options")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Bench, "charlm bench", argv)
    if systems.IS_WINDOWS:
        raise InputError(
            "cannot measure on Windows: the peers' processes inherit a pipe, which is not "
            "supported there; run charlm bench on Linux or macOS"
        )
    setup, text = args.setup(), _text(args)
    args.check_memory(cli.text(text) if isinstance(text, Corpus) else None)
    results = report.start(shlex.join(["charlm", "bench", *argv]), setup)
    written = []

    def tell(table):
        written.append(table)
        print(f"{table}\n", flush=True)

    tell(report.heading(results))
    for section in args.sections:
        if setup.limit.allows(f"the section {section}"):
            MEASURE[section](args, setup, text, results, tell)
    results["left_out"] = setup.limit.left_out
    if setup.limit.left_out:
        tell(f"Left out for want of time: {'; '.join(setup.limit.left_out)}.")
    return 0 if report.write(args.out, "\n\n".join(written) + "\n", results) else cli.FAILED


def _text(args):
    """Returns the original program's text for time to quality, or a line: why it is missing."""
    if "quality" not in args.sections:
        return None
    try:
        return cli.corpus(DataConfig(ORIGINAL))
    except CorpusError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
