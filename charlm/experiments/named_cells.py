"""Trains with several seeds and looks for cells that follow the text; shows how often there is one.

    python -m charlm.experiments.named_cells --corpus stdlib --preset quick

Runs that are there are not trained again.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

SHOWN = 4  # properties of each run


@dataclass(frozen=True)
class NamedCells:
    """Trains with several seeds and looks for cells that follow the text."""

    corpus: str = "state_union"
    preset: str = "default"
    seeds: tuple[int, ...] = (1, 2, 3)
    runs_dir: Path = Path("saved_models")


def found(args: NamedCells, seed: int) -> list[dict]:
    """Trains if the run is not there; returns the findings of `charlm show`, the clearest first."""
    name = f"cells-{args.corpus}-{args.preset}-{seed}"
    place = "--runs-dir", str(args.runs_dir)
    if not (args.runs_dir / name / "cells.json").exists():  # which is made last
        _run(
            "charlm.train", "--corpus", args.corpus, "--preset", args.preset, "--seed", str(seed),
            "--name", name, "--overwrite", "--sample-length", "0", *place,
        )  # fmt: skip
    _run("charlm.show", name, "--find", *place)
    report = json.loads((args.runs_dir / name / "cells.json").read_text("utf-8"))
    return report["findings"]


def _run(module, *argv):
    subprocess.run([sys.executable, "-m", module, *argv], check=True)


def main() -> None:
    """Prints a table."""
    args = tyro.cli(NamedCells)
    by_seed = {seed: found(args, seed) for seed in args.seeds}
    print("\nseed  cell  AUC    last characters  most        property")
    for seed, findings in by_seed.items():
        for f in findings[:SHOWN]:
            character, most = next(iter(f["costs"].items()), ("", 0.0))
            print(
                f"{seed:4} {f['cell']:5}  {f['auc']:.3f}  {f['characters']:.2f}             "
                f"{character!r} {most:+.2f}  {f['property']}"
            )


if __name__ == "__main__":
    main()
