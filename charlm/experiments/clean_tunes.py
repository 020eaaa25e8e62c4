"""`python -m charlm.experiments.clean_tunes RUN`: how many tunes abc2midi reads well.

Needs abc2midi (Debian's package abcmidi). Prints the shares for the run's training and held-out
tunes, and for tunes that the run writes with and without rules. Complaints about repeats without
|: do not count: the standard allows them (ABC 2.1, section 4.8), and nearly all tunes have them.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from charlm import cli
from charlm.cli import tune_checks
from charlm.evaluation.tunes import shares, table
from charlm.generation.tunes import Writer
from charlm.music.fields import numbered
from charlm.runs import lookup

COMPLAINTS = "Warning", "Error"
ALLOWED = "Assuming repeat", "replacing |: with", "before |:"  # about repeats without |:


def main() -> int:
    """Prints a line for each set of tunes."""
    return cli.run(_main, None)


def _main(argv):
    parser = argparse.ArgumentParser(prog="python -m charlm.experiments.clean_tunes")
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs-dir", type=Path, default=lookup.RUNS_DIR)
    args = parser.parse_args(argv)
    _, saved = lookup.read_with_contexts(args.runs_dir, args.run)
    writer, own = Writer(saved), tune_checks.own_tunes(saved, "not compared with its own tunes")
    known = None if own is None else tune_checks.index(own, saved.vocab)
    with cli.progress("drawing tunes", args.n) as tell:
        ruled = []
        for k in range(args.n):
            ruled.append(writer.draw({}, args.temperature, args.seed, k))
            tell()
    read = sum(x.characters_read for x in ruled) / sum(len(x.text) for x in ruled)
    sets = [
        ("without rules", [*writer.free(args.temperature, args.seed, args.n)], None),
        ("with rules", [x.text for x in ruled], read),
    ]
    if own is not None:
        sets = [("training", own.training, None), ("held out", own.held_out, None), *sets]
    rows = []
    for name, tunes, ratio in sets:
        of = None if name == "training" else known
        rows.append(shares(name, tunes, writer.required, of, ratio))
    print("\n".join(table(rows)))
    for name, tunes, _ in sets:
        print(f"{name}: clean in abc2midi {clean(tunes):.1%}", flush=True)


def clean(tunes: Sequence[str]) -> float:
    """Returns the share of tunes that abc2midi reads without a warning or an error."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(_is_clean(tune, Path(folder)) for tune in tunes) / len(tunes)


def _is_clean(tune, folder):
    file = folder / "tune.abc"
    file.write_text(numbered(tune, 1, "Tune"), encoding="utf-8")
    command = ["abc2midi", file, "-o", folder / "tune.mid"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = [x for x in done.stdout.splitlines() if any(c in x for c in COMPLAINTS)]
    return done.returncode == 0 and all(any(a in x for a in ALLOWED) for x in lines)


if __name__ == "__main__":
    sys.exit(main())
