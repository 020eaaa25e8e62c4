"""`python -m charlm.experiments.recipe`: measures the presets and their alternatives.

Each row is a command line of `charlm train` (a trial's is one of `charlm.experiments.changes`), run
in its own process and timed from start to end. Each row is stored when it is finished, so an
interrupted measurement continues where it stopped.
"""

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from charlm import cli, presets
from charlm.evaluation import losses
from charlm.experiments.rows import BY_DEFAULT, MAIN, ROWS, TRIALS, Row
from charlm.runs import atomic, checkpoint, lookup
from charlm.text.encode import read
from corpora import load

NATS = np.log(2)
MAX_WINDOWS = 4096
DIVERGED = {"bpc": math.inf, "val_bpc": math.inf, "epoch": 0}  # within the first epoch


def main() -> int:
    """Runs the rows that are asked for, and prints tables of all stored rows."""
    return cli.run(_main, None)


def _parsed(argv):
    """Returns the arguments, and the names of the rows to run."""
    parser = argparse.ArgumentParser(
        prog="python -m charlm.experiments.recipe", description=__doc__
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", choices=ROWS, default=BY_DEFAULT, metavar="ROW")
    which.add_argument(
        "--trials",
        choices=("short", "long", "tokens", "units", "softmax", "shakespeare-tokens", "gpu-batch"),
        help="all rows of these instead",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--shakespeare", type=Path, help="tinyshakespeare's text")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("recipe"),
        help="folder for runs and rows; rows in it are not measured again, so after a change of "
        "the code or the text give another folder",
    )
    args = parser.parse_args(argv)
    names = args.only
    if args.trials:
        names = [name for name in TRIALS if name.startswith(args.trials)]
    if not args.shakespeare and any(ROWS[name].corpus == "shakespeare" for name in names):
        parser.error("expected --shakespeare with the text's file for rows of it, found none")
    return args, names


def _main(argv):
    args, names = _parsed(argv)
    atomic.make_folder(args.out)
    kept = args.out / "rows.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    found = [json.loads(line) for line in lines]
    found = [x for x in found if x["name"] in ROWS and x.get("asked") == ROWS[x["name"]].asked]
    done = {(x["name"], x["seed"]) for x in found}
    for seed in args.seeds:
        for name in names:
            if (name, seed) in done:
                continue
            row = ROWS[name]
            corpus = str(args.shakespeare) if row.corpus == "shakespeare" else row.corpus
            figures = {"name": name, "seed": seed, "asked": row.asked}
            if name in TRIALS:
                figures |= tried(row, corpus, seed)
            else:
                figures |= measured(row, corpus, seed, args.out, name)
            found.append(figures)
            lines.append(json.dumps(figures))
            atomic.write(kept, ("\n".join(lines) + "\n").encode())
            print(json.dumps(figures), flush=True)
    for kind in (MAIN, TRIALS):
        if rows := [x for x in found if x["name"] in kind]:
            print(table(rows))


def measured(row: Row, corpus: str, seed: int, out: Path, name: str) -> dict:
    """Runs a row; returns its seconds and the bits per character of its best weights."""
    folder = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    kept = ("--runs-dir", str(out), "--name", folder, "--overwrite")
    seconds, printed = _run(["charlm.train"], row, corpus, seed, *kept)
    saved = checkpoint.read(out / folder / lookup.BEST)
    network = saved.to_network()
    data: Any = saved.config.data
    text = read(load(data.corpus, data.encoding)).translated(saved.vocab)
    documents = text.to_measure(data.max_held_out)
    best = saved.progress.history[saved.progress.best_epoch - 1]

    lengths, per_token = saved.vocab.lengths, text.held_out_characters / len(text.held_out)

    def bits(found, ids):
        """Bits per character; the first id of each array is not measured."""
        rows = zip(found, ids, strict=True)
        return losses.bits([losses.by_character(x, d, lengths) for x, d in rows])

    def cold(texts, n, only_last=False):
        n = max(1, round(n / per_token))
        found = losses.zero_state_losses(network, texts, n, MAX_WINDOWS)
        windows = losses.windows(texts, n, MAX_WINDOWS)
        if only_last:
            found, windows = found[:, -1:], [ids[-2:] for ids in windows]
        return bits(found, windows)

    return {
        "seconds": seconds,
        "flags": printed[0],
        "training": best["bpc"],
        # what the original recipe trains on: the character after a window of 40
        "after 40": cold([text.training], 40, only_last=True),
        "held out, carried": bits(losses.stateful_losses(network, documents), documents),
        "cold, 64": cold(documents, 64),
        "cold, 256": cold(documents, 256),
    }


def tried(row: Row, corpus: str, seed: int) -> dict:
    """Runs a trial; returns its seconds, speed and the best bits per character in its history."""
    program = ["charlm.experiments.changes", row.change or "nothing"]
    seconds, printed = _run(program, row, corpus, seed)
    history = json.loads(printed[-1])
    best = min(history, key=lambda epoch: epoch["val_bpc"], default=DIVERGED)
    figures = {"training": best["bpc"], "held out, carried": best["val_bpc"]}
    speeds = [epoch["chars_per_second"] for epoch in history[1:] or history]  # first: compiles
    speed = round(statistics.median(speeds)) if speeds else 0
    return {"seconds": seconds, "chars/s": speed} | figures | {"epoch": best["epoch"]}


def _run(program, row, corpus, seed, *more):
    """Runs a process; returns its seconds and the lines that it printed."""
    command = [sys.executable, "-m", *program, "--corpus", corpus, "--seed", str(seed)]
    command += [*more, *shlex.split(row.flags)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr.strip()}")
    return round(time.perf_counter() - began), done.stdout.splitlines()


def table(rows: list[dict]) -> str:
    """Formats rows as a table of medians over seeds, with minimum and maximum.

    In bits per character; in nats for rows that are compared with published figures in nats.
    """
    columns = [key for key in rows[-1] if key not in ("name", "seed", "asked", "flags", "seconds")]
    lines = [f"| | seeds | seconds | {' | '.join(columns)} |", "|---" * (3 + len(columns)) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        unit = 1.0 if name in (*presets.PRESETS, *TRIALS) else NATS
        cells = [_cell([row[key] for row in mine if key in row], unit) for key in columns]
        seconds = statistics.median(row["seconds"] for row in mine)
        title = name if unit == 1 else f"{name}, in nats"
        lines.append(f"| {title} | {len(mine)} | {seconds:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values, unit):
    if not values:  # of rows that an earlier version stored
        return ""
    if all(isinstance(x, int) for x in values):
        return f"{statistics.median(values):.0f}"
    found = [f"{x * unit:.4f}" for x in (statistics.median(values), min(values), max(values))]
    return "{} ({} to {})".format(*found) if len(values) > 1 else found[0]


if __name__ == "__main__":
    sys.exit(main())
