"""Measures the memory of a `charlm train` process, which a worker starts."""

import subprocess
import sys
import tempfile
from pathlib import Path

from charlm.benchmarks.case import Case, random_text

CHARACTERS = 500_000


def make(case: Case, gpu: bool) -> dict:
    """Returns the job "train": an epoch of `charlm train` on random text with the case's units."""

    def train(n):
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "random.txt"
            text.write_text(random_text(case.vocab, CHARACTERS))
            done = subprocess.run(
                [sys.executable, "-m", "charlm.train", "--corpus", str(text), "--runs-dir", folder,
                 "--units", str(case.units), "--cell", case.cell, "--epochs", "1",
                 "--sample-length", "0"],
                capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        return {"train": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit}

    return {"train": train}
