"""`charlm bench`: charlm beside its peers on this machine, as a table, JSON and a picture."""

import json
import os
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from charlm import cli
from charlm.benchmarks import figures, machine, report, sections
from charlm.benchmarks.case import Case
from charlm.benchmarks.peers import FIT, SAMPLING, STEP, Peer
from charlm.benchmarks.sections import Setup
from charlm.benchmarks.workers import PeerFailed, cpus
from charlm.checkpoint import write_atomically
from charlm.config import MAX_UNITS, DataConfig, check
from charlm.errors import InputError
from corpora import Corpus, CorpusError

SECTIONS = "step", "sampling", "fit", "memory", "quality"
QUICK = "step", "sampling", "memory"
STREAMS, PROMPT = (1, 64), 40  # of sampling; the window is the original program's
ORIGINAL = "state_union_original"
# Of a process with its libraries loaded, bytes: measured, without what processes share.
LIBRARY = {"numpy": 1e8, "numba": 2e8, "tensorflow": 6e8, "jax": 5e8, "torch": 4e8}


@dataclass(frozen=True)
class Bench:
    """Measures charlm beside Keras, JAX and torch: every peer in its own process, in turn.

    Half an hour at most; --quick takes two minutes. Peers that are not installed are left out and
    named (extras "jax" and "bench" bring JAX and torch). On an idle machine, please: a busy one
    slows some peers far more than others.
    """

    quick: bool = False
    """Whole steps of an LSTM and a GRU of 128 units, sampling and memory; few rounds."""
    only: tuple[Literal["step", "sampling", "fit", "memory", "quality"], ...] | None = None
    """What to measure: training steps, sampling, what fit adds to one, memory, time to quality."""
    peers: tuple[str, ...] | None = None
    """Of training steps, these alone."""
    units: tuple[int, ...] | None = None
    """Widths of the layers. Default: 128 256 512; sampling takes the least and the largest."""
    batch_size: int = 64
    """B of training steps."""
    window: int = 100
    """T of training steps."""
    rounds: int | None = None
    """Rounds in which all peers take their turn. Default: 7, with --quick 3."""
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
        check(self.only is None or self.only, "only", f"some of {', '.join(SECTIONS)}", "none")
        names = [p.name for p in STEP if self.device in p.devices]
        given = names if self.peers is None else self.peers
        check(given and set(given) <= set(names), "peers", f"of {', '.join(names)}", given)
        for units in self.sizes:
            check(1 <= units <= MAX_UNITS, "units", f"from 1 to {MAX_UNITS}", units)
        check(self.sizes, "units", "one or more", "none")
        check(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        check(self.window >= 1, "window", "1 or more", self.window)
        check(self.rounds is None or self.rounds >= 1, "rounds", "1 or more", self.rounds)
        cores = len(cpus())
        ok = self.threads is None or 1 <= self.threads <= cores
        check(ok, "threads", f"from 1 to {cores}, the cores allowed", self.threads)
        check(self.quality_epochs >= 1, "quality_epochs", "1 or more", self.quality_epochs)
        there = self.out.exists()
        ok = self.out.is_dir() if there else self.out.parent.is_dir()
        check(ok, "out", "a folder, or a new one in a folder that exists", self.out)
        if self.device == "gpu" and not machine.seems_to_have_gpu():
            raise InputError("expected a GPU for --device gpu, found none; leave --device out")

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.units if self.units is not None else (128,) if self.quick else (128, 256, 512)

    @property
    def sections(self) -> tuple[str, ...]:
        return tuple(s for s in SECTIONS if s in (self.only or (QUICK if self.quick else SECTIONS)))

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
        B, T = self.batch_size, self.window
        found = [Case("lstm", H, 1, B, T) for H in self.sizes]
        if "step" in self.sections:
            found += [Case("gru", H, 1, B, T) for H in self.sizes]
            found += [] if self.quick else [Case("lstm", self.sizes[len(self.sizes) // 2], 2, B, T)]
        return found

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
    args.out.mkdir(exist_ok=True)
    write_atomically(args.out / "bench.md", ("\n\n".join(told) + "\n").encode())
    write_atomically(args.out / "bench.json", json.dumps(results, indent=1).encode())
    from charlm.views import benchmarks as view

    view.draw(results["measured"], args.out / "bench.png")
    print(f"{args.out}: bench.md, bench.json, bench.png")


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
    largest = max(case.bytes() for case in args.cases())
    lineup = [LIBRARY[p.needs] + largest for p in args.lineup() if not p.missing()]
    needed = {
        "step": sum(lineup) + LIBRARY["tensorflow"],  # and the large products
        "sampling": sum(LIBRARY[p.needs] for p in SAMPLING if not p.missing()),
        "fit": 2 * (LIBRARY["tensorflow"] + largest),
        "memory": sum(lineup),
    }
    if isinstance(text, Corpus):
        # one byte for each character of the vocabulary in windows of 40 every 3, and a copy
        ids = cli.text(text)
        windows = len(ids.training) / 3
        needed["quality"] = LIBRARY["tensorflow"] + 2 * windows * 40 * len(ids.vocab)
    available = machine.available_memory()
    for section in args.sections:
        if needed.get(section, 0) > available:
            raise InputError(
                f"expected benchmarks that fit in the memory available, {available / 1e9:.1f} GB, "
                f"found {section} of about {needed[section] / 1e9:.1f} GB; give smaller --units, "
                "--batch-size or --window, fewer --peers, or leave it out with --only"
            )


def _keep(measured, results, tell):
    figures.add_figures(measured)
    results["measured"].append(measured)
    tell(report.measurement(measured))


def _step(args, setup, text, results, tell):
    with ExitStack() as stack:
        peak, results["peaks"] = sections.find_peak(setup, stack)
        found = sections.compare("step", args.lineup(), args.cases(), args.jobs, setup, peak)
        for measured in found:
            _keep(measured, results, tell)


def _sampling(args, setup, text, results, tell):
    cases = [
        Case("lstm", H, 1, B, PROMPT)
        for H in sorted({min(args.sizes), max(args.sizes)})
        for B in STREAMS
    ]
    for measured in sections.compare("sampling", SAMPLING, cases, ("characters",), setup):
        _keep(measured, results, tell)


def _fit(args, setup, text, results, tell):
    own = DataConfig()
    sizes = (own.batch_size, own.window), (args.batch_size, args.window)
    cases = [Case("lstm", min(args.sizes), 1, B, T) for B, T in sizes]
    for measured in sections.compare("fit", FIT, cases, ("windows",), setup):
        _keep(measured, results, tell)


def _memory(args, setup, text, results, tell):
    if "step" not in args.sections:
        once = replace(setup, rounds=0)
        lineup, cases = args.lineup(), args.cases()
        results["measured"] += sections.compare("step", lineup, cases, ("step",), once)
    case = args.cases()[0]
    try:
        found = sections.memory_of_training(case, setup)
    except PeerFailed as error:
        found = {"section": "memory", "case": asdict(case), "failed": str(error)}
    results["measured"].append(found)
    tell(report.memory(results["measured"]))


def _quality(args, setup, text, results, tell):
    try:
        if not isinstance(text, Corpus):
            raise PeerFailed(text)
        case = Case("lstm", min(args.sizes), 1, args.batch_size, args.window)
        found = sections.time_to_quality(case, text, args.quality_epochs, setup)
    except PeerFailed as error:
        found = {"section": "quality", "failed": str(error)}
    results["measured"].append(found)
    tell(report.quality(found))


MEASURE = {
    "step": _step, "sampling": _sampling, "fit": _fit, "memory": _memory, "quality": _quality,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
