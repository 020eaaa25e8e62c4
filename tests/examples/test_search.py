"""Law: several workers of examples/search.py share one search, and bad trials end early."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.runs import checkpoint
from tests.conftest import SMALL_TEXT

SEARCH = Path(__file__).parents[2] / "examples" / "search.py"
SMALL = ["--batch-size", "4", "--window", "16", "--precision", "fp32"]


def environment(k):
    """The variables of task k of two that Slurm starts."""
    tasks = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(k)}
    return os.environ | tasks | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.mark.soak
def test_two_workers_share_a_search(tmp_path):
    optuna = pytest.importorskip("optuna")
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    argv = [sys.executable, str(SEARCH), "small.txt", "--folder", "s", "--trials", "2"]
    argv += ["--epochs", "2", *SMALL]
    workers = [
        subprocess.Popen(
            argv, cwd=tmp_path, env=environment(k), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]  # fmt: skip
    printed = [w.communicate(timeout=300) for w in workers]
    assert [w.returncode for w in workers] == [0, 0], printed
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / "journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    trials = optuna.load_study(study_name="charlm", storage=storage).trials
    assert sorted(t.number for t in trials) == [0, 1, 2, 3]
    for t in trials:
        run = tmp_path / "s" / "runs" / f"trial-{t.number}"
        assert (run / "history.csv").exists()
        assert list(t.intermediate_values)[:1] == [0]
        assert t.state.name in ("COMPLETE", "PRUNED"), t
    last = [re.search(r"best: ([\d.]+) bits/char", out) for out, _ in printed]
    assert all(last)


@pytest.mark.full
def test_a_trial_worse_than_the_others_is_stopped(tmp_path):
    optuna = pytest.importorskip("optuna")
    (tmp_path / "small.txt").write_text(SMALL_TEXT * 4)
    (tmp_path / "s").mkdir()
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / "journal.log"))
    study = optuna.create_study(
        study_name="charlm", storage=optuna.storages.JournalStorage(backend)
    )
    for _ in range(4):  # better than any text allows
        study.add_trial(
            optuna.create_trial(value=0.01, intermediate_values=dict.fromkeys(range(60), 0.01))
        )
    argv = [sys.executable, str(SEARCH), "small.txt", "--folder", "s", "--trials", "1"]
    done = subprocess.run(
        [*argv, "--epochs", "60", *SMALL], cwd=tmp_path, env=environment(1), capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = study.trials[-1]
    assert last.state.name == "PRUNED"
    assert 2 <= len(last.intermediate_values) < 60
    saved = tmp_path / "s" / "runs" / "trial-4" / "last.weights.h5"
    assert checkpoint.read(saved).progress.epoch < 60  # it was saved, and could be resumed
    wrong = subprocess.run([*argv, "--units", "9"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "found --units" in wrong.stderr
    other = subprocess.run(
        [*argv, "--epochs", "3", *SMALL], cwd=tmp_path, capture_output=True, text=True
    )
    assert other.returncode == 2  # their losses could not be compared
    assert "expected the settings of the other workers" in other.stderr


@pytest.mark.full
def test_a_search_without_a_finished_trial_says_so(tmp_path):
    pytest.importorskip("optuna")
    argv = [sys.executable, str(SEARCH), "missing.txt", "--trials", "1"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "missing.txt" in (tmp_path / "search" / "trial-0.log").read_text()
    assert done.stderr.splitlines()[-1] == "no trial has finished; see search/trial-*.log"
