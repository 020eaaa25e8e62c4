"""`python -m charlm.benchmarks.recipe`: what the presets and their alternatives reach, and when.

Each row is a command line of `charlm train`, run as a user would, in a process of its own: seconds
are those from its start to its end. Rows are kept in a file as they come, so that a run of
hours goes on where it was stopped.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from charlm import checkpoint, presets, run_folder, scoring
from charlm.text import read
from corpora import load

NATS = np.log(2)
OURS = ["quick", "default", "best", "original"]  # what needs no file
MAX_WINDOWS = 4096
ROWS = {  # name: (a corpus, or a file given beside it; flags)
    "quick": ("state_union", "--preset quick"),
    "default": ("state_union", "--preset default"),
    "best": ("state_union", "--preset best"),
    "original": ("state_union_original", "--units 128 --dropout 0 --epochs 10"),
    "shakespeare, 2 minutes": ("shakespeare", "--epochs 3"),
    "shakespeare, 15 minutes": ("shakespeare", "--preset best --dropout 0.4 --weight-drop 0.4"),
}


def main() -> None:
    """Runs what is asked for and prints the table of all that is kept."""
    parser = argparse.ArgumentParser(prog="python -m charlm.benchmarks.recipe", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=OURS, metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--shakespeare", type=Path, help="tinyshakespeare's text")
    parser.add_argument("--out", type=Path, default=Path("recipe"), help="folder for runs and rows")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    kept = args.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = [row for row in rows if row.get("asked") == _asked(row["name"])]  # as the row is now
    done = {(row["name"], row["seed"]) for row in rows}
    if not args.shakespeare and any("shakespeare" in name for name in args.only):
        parser.error("expected --shakespeare with the text's file for rows of it, found none")
    for seed in args.seeds:
        for name in args.only:
            corpus, flags = ROWS[name]
            corpus = str(args.shakespeare) if corpus == "shakespeare" else corpus
            if (name, seed) in done:
                continue
            row = {"name": name, "seed": seed, "asked": _asked(name)}
            row |= measured(name, corpus, flags, seed, args.out)
            rows.append(row)
            with open(kept, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(table(rows))


def measured(name: str, corpus: str, flags: str, seed: int, out: Path) -> dict:
    """One run: its seconds, and its best weights' bits per character."""
    folder = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    command = [
        *(sys.executable, "-m", "charlm.train", "--corpus", corpus, "--seed", str(seed)),
        *("--runs-dir", str(out), "--name", folder, "--overwrite", *shlex.split(flags)),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr.strip()}")
    saved = checkpoint.read(out / folder / run_folder.BEST)
    network = saved.to_network()
    data = saved.config.data
    text = read(load(data.corpus, data.encoding)).translated(saved.vocab)
    documents = text.to_measure(data.max_held_out)
    best = saved.progress.history[saved.progress.best_epoch - 1]

    def cold(texts, n):
        return scoring.cold(network, texts, n, MAX_WINDOWS)

    return {
        "seconds": round(seconds),
        "flags": done.stdout.splitlines()[0],
        "train": best["bpc"],
        # what the original recipe trains on: the character after a window of 40
        "train_after_40": scoring.bits([cold([text.training], 40)[:, -1]]),
        "carried": scoring.bits(scoring.carried(network, documents)),
        "cold_64": scoring.bits([cold(documents, 64)]),
        "cold_256": scoring.bits([cold(documents, 256)]),
    }


def _asked(name):
    """The flags of a row and, as they may change, of the preset it begins with."""
    _, flags = ROWS.get(name, ("", ""))
    words = shlex.split(flags)
    preset = words[words.index("--preset") + 1] if "--preset" in words else presets.DEFAULT
    return f"{presets.flags(presets.PRESETS[preset])}; {flags}"


def table(rows: list[dict]) -> str:
    """Medians over seeds, with the least and the largest of what was asked for.

    In bits a character; rows that compare with figures of others in nats, as those are given.
    """
    lines = [
        "| | seeds | seconds | training | after 40 | held out, carried | cold, 64 | cold, 256 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        unit = 1.0 if name in presets.PRESETS else NATS
        values = {
            key: sorted(row[key] * unit for row in mine)
            for key in ("train", "train_after_40", "carried", "cold_64", "cold_256")
        }
        cells = [f"{statistics.median(x):.4f} ({x[0]:.4f} to {x[-1]:.4f})" for x in values.values()]
        seconds = statistics.median(row["seconds"] for row in mine)
        title = name if unit == 1 else f"{name}, in nats"
        lines.append(f"| {title} | {len(mine)} | {seconds:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
