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

from charlm import checkpoint, run_folder, scoring
from charlm.config import DataConfig
from charlm.text import read
from corpora import load

NATS = np.log(2)
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
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--shakespeare", type=Path, help="tinyshakespeare's text")
    parser.add_argument("--out", type=Path, default=Path("recipe"), help="folder for runs and rows")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    kept = args.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["name"], row["seed"]) for row in rows}
    for seed in args.seeds:
        for name in args.only:
            corpus, flags = ROWS[name]
            corpus = str(args.shakespeare) if corpus == "shakespeare" else corpus
            if corpus == "None" or (name, seed) in done:
                continue
            row = {"name": name, "seed": seed} | measured(name, corpus, flags, seed, args.out)
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
    text = read(load(**_corpus(saved.config.data))).translated(saved.vocab)
    documents = text.to_measure(saved.config.data.max_held_out)
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


def _corpus(data: DataConfig) -> dict:
    return {"name": data.corpus, "encoding": data.encoding}


def table(rows: list[dict]) -> str:
    """Medians over seeds, with the least and the largest of what was asked for."""
    lines = [
        "| | seeds | seconds | training | after 40 | held out, carried | cold, 64 | cold, 256 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]

        def median(key, mine=mine):
            return statistics.median(row[key] for row in mine)

        spread = [row["carried"] for row in mine]
        carried = f"{median('carried'):.4f} ({min(spread):.4f} to {max(spread):.4f})"
        if "shakespeare" in name:  # as its others are given
            carried += f", {median('carried') * NATS:.3f} nats"
        lines.append(
            f"| {name} | {len(mine)} | {median('seconds'):.0f} | {median('train'):.4f} "
            f"| {median('train_after_40'):.4f} | {carried} "
            f"| {median('cold_64'):.4f} | {median('cold_256'):.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
