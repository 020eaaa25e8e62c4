"""Law: a run that was killed, however often, ends to the bit as one never interrupted."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charlm.runs import checkpoint, lookup, run_folder
from tests.conftest import SMALL_TEXT

SETTINGS = [
    "--corpus", "small.txt", "--name", "a", "--units", "6", "--layers", "2", "--dropout", "0.2",
    "--batch-size", "3", "--window", "16", "--sample-length", "30", "--save-every", "9",
]  # fmt: skip
SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGINT, signal.SIGTERM]
LONGEST = 1.5  # seconds from a run's beginning to its next death


def started(folder, *argv):
    run = [sys.executable, "-m", "charlm.train", *argv]
    return subprocess.Popen(
        run, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def straight(folder, epochs):
    process = started(folder, *SETTINGS, "--epochs", str(epochs))
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out


def killed(folder, epochs, kills, signals, rng):
    """The same run, killed so often; how often it was in the middle of an epoch when it went on."""
    within = done = 0
    while True:
        with started(folder, *argv_of(folder, epochs)) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                within += line.startswith("resuming") and "window" in line
                if line.startswith("ready in") and done < kills:
                    time.sleep(rng.uniform(0, LONGEST))
                    number = int(rng.choice(signals))
                    process.send_signal(number)
                    lines.append(process.communicate(timeout=60)[0])
                    break
        if process.returncode == 0:
            assert done == kills, f"{done} kills, then it came to its end"
            return within
        assert process.returncode in (-9, 130, 143), "".join(lines)
        done += 1


def argv_of(folder, epochs):
    if lookup.is_run(folder / "saved_models/a"):
        return ["--resume", "a"]
    return [*SETTINGS, "--epochs", str(epochs)]


def assert_the_same(one, other):
    """All but the speed, which is of the day."""
    a, b = (checkpoint.read(folder / lookup.LAST) for folder in (one, other))
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name], err_msg=name)
    for saved in (a, b):
        for row in saved.progress.history:
            del row["chars_per_second"]
    assert a.progress == b.progress
    samples = [(folder / run_folder.SAMPLES).read_bytes() for folder in (one, other)]
    assert samples[0] == samples[1]
    tables = []
    for folder in (one, other):
        with open(folder / run_folder.HISTORY, newline="") as file:
            tables.append([row | {"chars_per_second": ""} for row in csv.DictReader(file)])
    assert tables[0] == tables[1]


def compare(tmp_path, epochs, kills, signals=SIGNALS):
    rng = np.random.default_rng(kills)
    folders = [tmp_path / name for name in ("straight", "killed")]
    for folder in folders:
        folder.mkdir()
        Path(folder, "small.txt").write_text(SMALL_TEXT)
    straight(folders[0], epochs)
    within = killed(folders[1], epochs, kills, signals, rng)
    assert_the_same(*(folder / "saved_models/a" for folder in folders))
    return within


@pytest.mark.full
def test_killed_once(tmp_path):
    compare(tmp_path, epochs=4, kills=1, signals=[signal.SIGKILL])


@pytest.mark.soak
def test_killed_fifty_times(tmp_path):
    within = compare(tmp_path, epochs=500, kills=50)
    print(f"50 kills, {within} of them within an epoch")
    assert within > 10


@pytest.mark.soak
@pytest.mark.parametrize("cell", ["gru", "rnn", "coupled", "keras-lstm"])
def test_killed_with_another_cell(tmp_path, monkeypatch, cell):
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", [*SETTINGS, "--cell", cell])
    compare(tmp_path, epochs=60, kills=5)


@pytest.mark.soak
def test_killed_on_jax(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    compare(tmp_path, epochs=60, kills=5)
