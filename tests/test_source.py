"""Law: the source passes the linter, and no file holds what is not the project's to say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import damage

ROOT = Path(__file__).parents[1]


def test_ruff_finds_nothing():
    if shutil.which("ruff", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("ruff is not installed")
    for what in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [Path(sys.executable).parent / "ruff", *what, "--no-cache", "."],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_damage_is_to_a_line_that_there_is():
    """`python -m tests.damage` takes minutes, so nobody would notice lines that have changed."""
    missing = [
        (file, line)
        for file, line, damaged, _ in damage.DAMAGES
        if line == damaged or line not in (ROOT / file).read_text()
    ]
    assert not missing
