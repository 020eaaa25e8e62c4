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
from typing import Any, NamedTuple

import numpy as np

from charlm import cli, presets
from charlm.config import Config
from charlm.evaluation import losses
from charlm.runs import atomic, checkpoint, lookup
from charlm.text.encode import read
from corpora import load

NATS = np.log(2)
MAX_WINDOWS = 4096
DIVERGED = {"bpc": math.inf, "val_bpc": math.inf, "epoch": 0}  # within the first epoch


class Row(NamedTuple):
    """A run to measure."""

    corpus: str  # or "shakespeare", for the file given as --shakespeare
    flags: str
    change: str | None = None  # of `changes`

    @property
    def preset(self) -> Config:
        """The preset that its flags change."""
        words = shlex.split(self.flags)
        name = words[words.index("--preset") + 1] if "--preset" in words else presets.DEFAULT
        return presets.PRESETS[name]

    @property
    def asked(self) -> str:
        """Everything that the run depends on, except the code and the text."""
        return f"{presets.flags(self.preset)}; {self.flags}; {self.change}"


MAIN = {
    **{name: Row("state_union", f"--preset {name}") for name in presets.PRESETS},
    "original": Row(
        "state_union_original", "--units 128 --dropout 0 --output-bias zeros --epochs 10"
    ),
    "shakespeare, nanoGPT's time": Row(
        "shakespeare", "--units 288 --dropout 0 --window 24 --learning-rate 0.015 --epochs 3"
    ),
    "shakespeare, 15 minutes": Row(
        "shakespeare",
        "--preset best --dropout 0.4 --weight-drop 0.4 --output-bias zeros --epochs 23",
    ),
}
# these need no other text and no GPU
BY_DEFAULT = ["quick", "default", "best", "quick-bpe", "default-bpe", "best-bpe", "original"]
# Trials: runs of a minute, and longer ones that overfit a small text
SHORT = Row("state_union", "--preset quick")
LONG = Row(
    "shakespeare",
    "--units 256 --dropout 0.2 --weight-drop 0.2 --output-bias zeros --epochs 10",
)
TRIED_SHORT = (
    *("", "--window 16", "--window 32", "--window 64", "--batch-size 16", "--batch-size 64"),
    *("--learning-rate 0.005", "--learning-rate 0.01", "--learning-rate 0.015"),
    *("--learning-rate 0.03", "--warmup-steps 50", "--dropout 0.1"),
    *("--units 136 --layers 2", "--units 136 --layers 2 --skip add", "--precision fp32"),
    *("--cell gru", "--cell gru --learning-rate 0.005", "--cell coupled", "--output-bias zeros"),
    *("label-smoothing", "embedding", "tied-output"),
    *("averaged-weights", "linear-schedule", "late-schedule", "constant-rate"),
    *("adam-beta-2-99", "adamw", "nadam", "rmsprop", "lion", "sgd"),
    *("layer-normalisation", "multiplicative"),
)
# on byte pairs: the more tokens, the smaller a network of the same time
EPOCHS_2, EPOCHS_3 = "--epochs 2 --learning-rate 0.025", "--epochs 3 --learning-rate 0.025"
TRIED_TOKENS = (
    *("--tokens bpe:1000", "--tokens bpe:2000", "--tokens bpe:1000 --batch-size 16"),
    "--tokens bpe:4000 --units 128 --learning-rate 0.025",
    "--epochs 2 --tokens bpe:4000 --units 96 --learning-rate 0.04",
    *(f"--epochs 2 --tokens bpe:{N}" for N in (1000, 1500, 2000)),
    *(f"--epochs 2 --tokens bpe:1000 --learning-rate {rate}" for rate in (0.014, 0.028)),
    "--epochs 2 --tokens bpe:1000 --window 16",
    *(f"{EPOCHS_2} --tokens bpe:1500 --units 144", f"{EPOCHS_2} --tokens bpe:2000 --units 128"),
    *(f"{EPOCHS_2} --tokens bpe:{N} --units 96" for N in (3000, 4000, 6000)),
    *(f"{EPOCHS_2} --tokens bpe:4000 --units 80", f"{EPOCHS_2} --tokens bpe:8000 --units 64"),
    f"{EPOCHS_2} --tokens bpe:4000 --units 96 --window 16",
    f"{EPOCHS_2} --tokens bpe:4000 --units 96 --dropout 0.1",
    *(f"{EPOCHS_3} --tokens bpe:2000 --units 112", f"{EPOCHS_3} --tokens bpe:4000 --units 80"),
)
# one unit of text after the other, each with a network and epochs of about the time of `quick`
TRIED_UNITS = (
    *("", "--tokens bpe:256", "--tokens bpe:500 --units 176 --epochs 2"),
    "--tokens bpe:1000 --units 160 --epochs 3",
    f"--tokens bpe:2000 --units 128 {EPOCHS_2}",
    f"--tokens bpe:4000 --units 96 {EPOCHS_2}",
    f"--tokens words:4000 --units 96 {EPOCHS_2}",
    f"--tokens words:8000 --units 64 {EPOCHS_2}",
)
SHAKESPEARE = Row("shakespeare", "--window 24")
TRIED_SHAKESPEARE = (
    "--units 288 --dropout 0 --learning-rate 0.015 --epochs 3",
    "--tokens bpe:1000 --units 192 --dropout 0.1 --learning-rate 0.015 --epochs 4",
    "--tokens bpe:2000 --units 128 --dropout 0.1 --learning-rate 0.02 --epochs 4",
    "--tokens bpe:500 --units 256 --dropout 0.4 --weight-drop 0.3 --learning-rate 0.012 --epochs 6",
    "--tokens bpe:1000 --units 192 --dropout 0.4 --weight-drop 0.2 --learning-rate 0.015 --epochs 8",
    "--tokens bpe:2000 --units 128 --dropout 0.4 --weight-drop 0.2 --learning-rate 0.02 --epochs 8",
)
TRIED_LONG = (
    *("", "--dropout 0 --weight-drop 0", "--dropout 0.4 --weight-drop 0"),
    *("--dropout 0 --weight-drop 0.4", "--dropout 0.4 --weight-drop 0.4"),
    *("dropout-by-step", "character-dropout", "label-smoothing", "averaged-weights", "adamw"),
    *("--units 192 --layers 2 --skip add", "--window 24", "--batch-size 16", "--cell gru"),
    *("zoneout", "recurrent-dropout"),
)


def _trials(name, base, tried):
    for x in tried:
        is_change = x and not x.startswith("-")
        row = base._replace(change=x) if is_change else base._replace(flags=f"{base.flags} {x}")
        yield f"{name}: {x or 'as it is'}", row


TRIALS = dict(
    [
        *_trials("short", SHORT, TRIED_SHORT),
        *_trials("long", LONG, TRIED_LONG),
        *_trials("tokens", SHORT, TRIED_TOKENS),
        *_trials("units", SHORT, TRIED_UNITS),
        *_trials("shakespeare-tokens", SHAKESPEARE, TRIED_SHAKESPEARE),
    ]
)
ROWS = MAIN | TRIALS


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
        choices=("short", "long", "tokens", "units", "shakespeare-tokens"),
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
    """Runs a trial; returns its seconds and the best bits per character in its history."""
    program = ["charlm.experiments.changes", row.change or "nothing"]
    seconds, printed = _run(program, row, corpus, seed)
    history = json.loads(printed[-1])
    best = min(history, key=lambda epoch: epoch["val_bpc"], default=DIVERGED)
    figures = {"training": best["bpc"], "held out, carried": best["val_bpc"]}
    return {"seconds": seconds} | figures | {"epoch": best["epoch"]}


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
    columns = [key for key in rows[0] if key not in ("name", "seed", "asked", "flags", "seconds")]
    lines = [f"| | seeds | seconds | {' | '.join(columns)} |", "|---" * (3 + len(columns)) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        unit = 1.0 if name in (*presets.PRESETS, *TRIALS) else NATS
        cells = [_cell([row[key] for row in mine], unit) for key in columns]
        seconds = statistics.median(row["seconds"] for row in mine)
        title = name if unit == 1 else f"{name}, in nats"
        lines.append(f"| {title} | {len(mine)} | {seconds:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values, unit):
    if all(isinstance(x, int) for x in values):
        return f"{statistics.median(values):.0f}"
    found = [f"{x * unit:.4f}" for x in (statistics.median(values), min(values), max(values))]
    return "{} ({} to {})".format(*found) if len(values) > 1 else found[0]


if __name__ == "__main__":
    sys.exit(main())
