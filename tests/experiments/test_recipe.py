"""Law: the recipe's rows are commands that exist, its tables say what was measured."""

import argparse
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

from charlm import cli
from charlm.config import Config
from charlm.experiments import changes, recipe
from tests.conftest import SMALL_TEXT


@pytest.mark.parametrize("row", recipe.ROWS.values(), ids=list(recipe.ROWS))
def test_a_row_is_a_command_line(row):
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset")
    _, flags = parser.parse_known_args(shlex.split(row.flags))
    cli.parse(Config, "test", flags, row.preset)
    assert row.change is None or row.change in changes.CHANGES


def test_all_changes_are_tried():
    tried = {row.change for row in recipe.TRIALS.values()}
    assert tried - {None} == set(changes.CHANGES) - {"nothing"}


def test_a_table_has_medians_and_ranges_in_the_unit_of_its_row():
    rows = [
        {"name": "quick", "seed": s, "asked": "", "seconds": 10 * s, "held out, carried": x}
        for s, x in ((1, 1.5), (2, 1.9), (3, 1.6))
    ]
    nats = {"name": "original", "seed": 1, "asked": "", "seconds": 7, "held out, carried": 2.0}
    assert recipe.table([*rows, nats]).splitlines() == [
        "| | seeds | seconds | held out, carried |",
        "|---|---|---|---|",
        "| quick | 3 | 20 | 1.6000 (1.5000 to 1.9000) |",
        f"| original, in nats | 1 | 7 | {2 * np.log(2):.4f} |",
    ]


def test_a_table_has_the_columns_of_the_newest_row():
    old = {"name": "short: as it is", "seed": 1, "asked": "", "seconds": 7, "epoch": 1}
    new = old | {"name": "gpu-batch: as it is", "chars/s": 900, "epoch": 3}
    assert recipe.table([old, new]).splitlines()[2:] == [
        "| short: as it is | 1 | 7 | 1 |  |",
        "| gpu-batch: as it is | 1 | 7 | 3 | 900 |",
    ]


@pytest.mark.parametrize(
    ("speeds", "expected"), [([5.0, 90.0, 91.0, 99.0], 91), ([5.0], 5), ([], 0)]
)
def test_the_speed_of_a_trial_is_that_after_the_first_epoch(monkeypatch, speeds, expected):
    epochs = [
        {"epoch": k, "bpc": 2.0, "val_bpc": 3.0 - k, "chars_per_second": speed}
        for k, speed in enumerate(speeds, 1)
    ]
    monkeypatch.setattr(recipe, "_run", lambda *_: (9, ["a line", json.dumps(epochs)]))
    found = recipe.tried(recipe.ROWS["gpu-batch: as it is"], "small.txt", 1)
    assert found["chars/s"] == expected
    assert found["epoch"] == len(speeds)


SOONER = {"tied-output"}  # which touches most of the model


@pytest.mark.soak
@pytest.mark.parametrize(
    "change",
    [pytest.param(x, marks=[] if x in SOONER else pytest.mark.soak) for x in changes.CHANGES],
)
def test_a_change_trains(tmp_path, change):
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    flags = "--corpus small.txt --units 8 --batch-size 4 --window 16 --epochs 2 --precision fp32"
    command = [sys.executable, "-m", "charlm.experiments.changes", change, *flags.split()]
    command += ["--dropout", "0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    history = json.loads(done.stdout.splitlines()[-1])
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert history[1]["val_bpc"] < history[0]["val_bpc"]


class TestGPT:
    """nanoGPT's recipe."""

    @pytest.mark.full
    def test_it_sees_nothing_that_comes_later(self):
        torch = pytest.importorskip("torch")
        from charlm.experiments import nanogpt

        torch.manual_seed(1)
        model = nanogpt.GPT(7)
        assert sum(w.numel() for w in nanogpt.GPT(65).parameters()) == 804_096
        ids = torch.randint(7, (2, 10))
        other = ids.clone()
        other[:, 6:] = (ids[:, 6:] + 1) % 7
        one, two = model(ids), model(other)
        assert torch.equal(one[:, :6], two[:, :6])
        assert not torch.allclose(one[:, 6:], two[:, 6:])

    @pytest.mark.full
    def test_it_learns_at_the_rate_that_is_said(self, monkeypatch):
        pytest.importorskip("torch")
        from charlm.experiments import nanogpt

        rates = [nanogpt.rate(k) for k in (0, 50, 100, 1050, 2000)]
        assert rates == pytest.approx([0, 5e-4, 1e-3, 5.5e-4, 1e-4])
        for name, n in (("STEPS", 40), ("WARM_UP", 5), ("BATCH", 2), ("BLOCKS", 1)):
            monkeypatch.setattr(nanogpt, name, n)
        ids = np.tile(np.arange(5), 40)
        windows = ids[np.arange(9)[:, None] + np.arange(nanogpt.CONTEXT + 1)]
        assert float(nanogpt.loss(nanogpt.trained(ids, 5, 1), windows).detach()) < 0.1 < np.log(5)
