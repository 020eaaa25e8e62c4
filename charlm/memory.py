"""`charlm memory`: how far back each cell can remember, next to how far its gradient reaches."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir
from charlm.errors import InputError, flag, require
from charlm.evaluation import memory, memory_report, memory_texts
from charlm.runs import atomic

ENDINGS = ".json", ".png"
GAPS = {"recall": (10, 20, 30, 60), "copy": (2, 4, 8, 16), "brackets": (2, 4, 8, 16)}
SETTINGS = "task", "units", "seconds", "updates", "learning_rate", "seeds", "remedies"
MAX_GAP = 1000
TEXTS = 10_000


@dataclass(frozen=True)
class Memory:
    """Trains small networks to remember a character over a gap, and compares the cells.

    Like "I am French ... I speak ___": the next character depends on one far back. The remedies for
    vanishing gradients are compared one by one, from a plain RNN to an LSTM, each for the same
    time. Prints tables; writes a picture and JSON.
    """

    task: Literal["recall", "copy", "brackets"] = "recall"
    """recall: repeat a letter after a gap; copy: repeat several letters; brackets: close nested
    brackets in the right order."""
    gaps: tuple[int, ...] | None = None
    """Gaps to train for, in characters (copy: letters; brackets: depth). Default: 10 20 30 60;
    for copy and brackets 2 4 8 16."""
    cells: tuple[str, ...] = tuple(memory.LADDER)
    """Cells to compare: rnn, identity (ReLU and the identity matrix), leaky (leaky units), skips
    (skips through time), gru, lstm, lstm-open (larger forget bias), lstm-windows (short windows,
    between which the state is carried but no gradient)."""
    units: int = 32
    """Width (hidden units)."""
    seconds: float = 3.0
    """Time to train each network. There is one for each cell, gap and seed."""
    updates: int | None = None
    """Train for this number of updates instead; then all results are the same in each call."""
    learning_rate: float = 3e-3
    """Learning rate of RMSprop at the beginning; it falls to zero."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Random seeds of the initial weights and of the texts; the median is shown."""
    remedies: memory.Remedies = field(default_factory=memory.Remedies)
    texts: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Do not train; write 10,000 texts with the first gap to this new file, one in a line. To learn
    them, use charlm train FILE --records line."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """Files to write, with or without the ending .json or .png. Default: memory in --runs-dir,
    which each call replaces."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        require(self.gaps != (), "gaps", "at least one", "none")
        for gap in self.gaps or ():
            require(1 <= gap <= MAX_GAP, "gaps", f"from 1 to {MAX_GAP}", gap)
        known = ", ".join(memory.LADDER)
        ok = bool(self.cells) and {*self.cells} <= {*memory.LADDER}
        require(ok, "cells", f"some of {known}", " ".join(self.cells) or "none")
        require(2 <= self.units <= 1024, "units", "from 2 to 1024", self.units)
        require(0 < self.seconds <= 3600, "seconds", "above 0, up to 3600", self.seconds)
        require(self.updates is None or self.updates >= 1, "updates", "1 or more", self.updates)
        if self.updates is not None and self.seconds != Memory.seconds:
            raise InputError("--seconds has no effect with --updates; leave it out")
        ok = 0 < self.learning_rate < np.inf
        require(ok, "learning_rate", "a finite number above 0", self.learning_rate)
        ok = min(self.seeds, default=-1) >= 0
        require(ok, "seeds", "0 or more, at least one", " ".join(map(str, self.seeds)) or "none")
        r = self.remedies
        require(np.isfinite(r.forget_bias), "forget_bias", "a finite number", r.forget_bias)
        require(1 <= r.slowest < np.inf, "slowest", "a finite number, 1 or more", r.slowest)
        require(2 <= r.skip <= MAX_GAP, "skip", f"from 2 to {MAX_GAP}", r.skip)
        require(r.window >= 1, "window", "1 or more", r.window)
        if self.texts is not None:
            outputs.check_replaceable("texts", self.texts, False, "give another name")
            if self.output is not None:
                raise InputError(f"{flag('output')} has no effect with --texts; leave it out")
        if self.output is not None:
            outputs.check_stem("output", self.output, ENDINGS)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Memory, "charlm memory", argv)
    gaps = sorted({*(args.gaps or GAPS[args.task])})
    if args.texts is not None:
        return _write_texts(args, (args.gaps or gaps)[0])
    output = outputs.stem(args.output, args.runs_dir / "memory", ENDINGS)
    cells, seeds = dict.fromkeys(args.cells), dict.fromkeys(args.seeds)
    trials = [(cell, gap, seed) for cell in cells for gap in gaps for seed in seeds]
    found = []
    try:
        with cli.progress("training", len(trials)) as tell:
            for trial in trials:
                given = args.units, args.learning_rate, args.seconds, args.updates, args.remedies
                found.append(memory.trial(args.task, *trial, *given))
                tell()
    except KeyboardInterrupt:
        of_a_cell = len(gaps) * len(seeds)
        whole = found[: len(found) // of_a_cell * of_a_cell]
        if whole:
            print("\n".join(memory_report.tables(memory_report.summarized(whole), args.task)))
            cli.note("these are the cells that are trained; no file was written")
        raise
    rows = memory_report.summarized(found)
    print("\n".join(memory_report.tables(rows, args.task)))
    from charlm.plots import memory as view

    results = {
        "command": "charlm memory",
        "settings": {k: v for k, v in asdict(args).items() if k in SETTINGS},
        "chance": 1 / memory_texts.TASKS[args.task],
        "rows": [asdict(row) for row in rows],
    }
    data = json.dumps(results, indent=1).encode()
    return outputs.write(output, ENDINGS, data, lambda: view.draw(rows, args.task))


def _write_texts(args, gap):
    texts = memory_texts.made(args.task, gap, TEXTS, np.random.default_rng(args.seeds[0]))
    atomic.write(args.texts, texts.lines().encode())
    cli.say(f"{args.texts}: {TEXTS:,} texts; learn them: charlm train {args.texts} --records line")
    return 0


if __name__ == "__main__":
    sys.exit(main())
