"""Law: whatever surrounds a process, it works, or says why not; no traceback, nothing half made."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charlm import train
from charlm.config import Config, DataConfig, ModelConfig
from charlm.generation.generate import stepper
from charlm.reference.network import initial_weights
from charlm.runs import checkpoint
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from charlm.training import allocator
from tests.cli.test_commands import TRAIN
from tests.conftest import SMALL_TEXT

NOWHERE = {"HOME": None, "XDG_CACHE_HOME": None, "CHARLM_CACHE": None}
ON = ["--corpus", "small.txt", "--epochs", "1", "--name", "a", *TRAIN]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment(**changes):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | changes
    return {name: value for name, value in env.items() if value is not None}


def command(name, *argv, python=(), cwd=None, **changes):
    run = [sys.executable, *python, "-m", f"charlm.{name}", *argv]
    return subprocess.run(
        run, env=environment(**changes), cwd=cwd, capture_output=True, text=True, timeout=120
    )


def drawing(folder, characters, corpus=None):
    """A run that draws each of these characters as often as another."""
    config = ModelConfig(units=2)
    weights = initial_weights(config, len(characters), np.random.default_rng(1))
    weights["layers/dense/vars/0"][:] = 0
    vocab = Vocab("".join(sorted(characters)))
    data = DataConfig(corpus=corpus)
    saved = Checkpoint(Config(model=config, data=data), vocab, "0", Progress(), weights, [], [], {})
    folder.mkdir()
    checkpoint.write(folder / "last.weights.h5", saved)
    stepper(saved.to_network())  # compiles what is not in the cache, which is said


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "flags", "python", "changes"),
    [
        # with Keras's cell: what is compiled for ours and kept nowhere takes 15 seconds each time
        ("train", ("--cell", "keras-lstm"), (), NOWHERE),
        (
            "train",
            ("--cell", "keras-lstm"),
            (),
            NOWHERE
            | {"HOME": "/proc"}
            | {"LC_ALL": "tr_TR.ISO-8859-9", "LANG": "nonsense", "PYTHONUTF8": "0"},
        ),
        # what Python makes of TensorFlow without assertions takes ten seconds to be made
        ("reference", (), ("-O",), {"PYTHONIOENCODING": "ascii"}),
    ],
    ids=["no home", "a home not to write in, an odd locale", "-O and ascii"],
)
def test_trains_and_samples(here, name, flags, python, changes):
    done = command(name, *ON, *flags, python=python, **changes)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    done = command("sample", "a", "--length", "20", "--seed", "1", python=python, **changes)
    assert done.returncode == 0, done.stderr
    notes = ("NOTE: compiled code is not kept", "compiling the code that draws text")
    assert all(line.startswith(notes) for line in done.stderr.splitlines()), done.stderr


@pytest.mark.soak
def test_a_keras_json_of_float64_changes_nothing(here):
    (here / "keras").mkdir()
    settings = {"floatx": "float64", "backend": "tensorflow", "epsilon": 1e-7}
    (here / "keras" / "keras.json").write_text(json.dumps(settings))
    assert train.main(ON) == 0
    done = command("train", *ON, "--name", "b", KERAS_HOME=str(here / "keras"))
    assert done.returncode == 0, done.stderr
    one, other = (checkpoint.read(here / "saved_models" / n / "last.weights.h5") for n in "ab")
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])
        assert array.dtype == other.arrays()[name].dtype


@pytest.mark.parametrize("backend", ["numpy", "openvino", "nonsense"])
def test_a_backend_that_cannot_train_is_refused(here, backend):
    done = command("train", *ON, KERAS_BACKEND=backend)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected KERAS_BACKEND tensorflow, jax, torch")
    assert done.stderr.count("\n") == 1
    assert not Path("saved_models").exists()


@pytest.mark.soak
def test_a_working_folder_that_is_gone(here):
    gone = here / "gone"
    gone.mkdir()
    text = str(here / "small.txt")
    run = [sys.executable, "-m", "charlm.train", "--corpus", text, "--quiet", *TRAIN]
    shell = ["sh", "-c", 'rmdir "$1"; shift; exec "$@"', "sh", str(gone), *run]
    done = subprocess.run(
        shell, cwd=gone, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot write in saved_models")
    assert done.stderr.count("\n") == 1


@pytest.mark.soak
def test_a_folder_that_is_deleted_while_a_run_writes_in_it(here):
    run = [sys.executable, "-m", "charlm.train", *ON, "--epochs", "400"]
    with subprocess.Popen(
        run, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = iter(process.stdout.readline, "")
        next(line for line in lines if line.startswith("epoch 1/"))
        shutil.rmtree("saved_models")
        next(line for line in lines if "NOT SAVED" in line)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "NOT saved" in out
    assert "Traceback" not in err


@pytest.mark.full
def test_standard_output_closed_or_full(here):
    drawing(here / "r", "ab")
    sample = f"{sys.executable} -m charlm.sample r --length 3000 --seed 1"
    for redirection, code in ((">&-", 0), ("> /dev/full", 1), ("| true", 0), ("2>&- >&-", 0)):
        run = ["bash", "-c", f"set -o pipefail; {sample} {redirection}"]
        done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (redirection, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert done.stderr.count("\n") <= 1
        assert ("No space left" in done.stderr) == (code == 1)


@pytest.mark.soak
def test_training_goes_on_when_its_output_has_no_room(here):
    run = ["bash", "-c", f"{sys.executable} -m charlm.train {' '.join(ON)} > /dev/full"]
    done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=180)
    assert checkpoint.read(Path("saved_models/a/last.weights.h5")).progress.epoch == 1
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def on_a_terminal(argv):
    """What a process shows on one."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv, env=environment(), stdout=theirs, stderr=subprocess.PIPE, close_fds=True
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while data := os.read(ours, 4096):
            shown += data
    assert process.wait(60) == 0, process.stderr.read()
    os.close(ours)
    process.stderr.close()
    return shown


def test_control_characters_do_not_reach_a_terminal(here):
    drawing(here / "r", "a\x1b\x07\r\x9b\x7f")
    argv = [sys.executable, "-m", "charlm.sample", "r", "--length", "400", "--seed", "1"]
    shown = on_a_terminal([*argv, "-n", "2"])
    text = shown.decode().replace("\r\n", "\n")
    assert not set(text) & set("\x1b\x07\r\x9b\x7f")
    assert "\\x1b" in text
    plain = subprocess.run(argv, env=environment(), capture_output=True, timeout=60).stdout
    assert b"\x1b" in plain  # a file gets the text as it is


@pytest.mark.soak
def test_ten_million_characters_take_no_more_memory_than_one(here):
    drawing(here / "r", "ab\n")
    peaks = {}
    for length in (1_000_000, 10_000_000):
        program = (  # a process begins with the peak of the one that started it: a small one
            "import resource, subprocess, sys; "
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        argv = ["-m", "charlm.sample", "r", "--length", str(length), "--seed", "1"]
        run = [sys.executable, "-c", program, sys.executable, *argv]
        done = subprocess.run(run, env=environment(), capture_output=True, text=True, check=True)
        peaks[length] = int(done.stdout)
    print(f"peak KB: {peaks}")
    assert peaks[10_000_000] < peaks[1_000_000] + 8 * 1024


@pytest.mark.soak
def test_two_hundred_epochs_leak_nothing(here):
    """Resident memory against epochs, by a straight line through the last 150; open files."""
    run = [sys.executable, "-m", "charlm.train", *ON, "--epochs", "200"]
    memory, files = [], []
    with subprocess.Popen(run, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch "):
                status = Path(f"/proc/{process.pid}/statm").read_text().split()
                memory.append(int(status[1]) * os.sysconf("SC_PAGE_SIZE"))
                files.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
    assert process.returncode == 0
    assert len(memory) == 200
    slope = np.polyfit(np.arange(150), memory[50:], 1)[0]
    print(f"{slope / 1024:.1f} KB an epoch; open files {files[50]} to {files[-1]}")
    assert slope < 32 * 1024
    assert files[-1] <= files[50]


def count_of_memory(given):
    """The exit code of a command that asks TensorFlow for what only an allocator of its own has."""
    ask = "import tensorflow as tf; tf.zeros(9); tf.config.experimental.get_memory_info('CPU:0')"
    program = f"from charlm import cli; print(cli.run(lambda argv: exec({ask!r}), []))"
    env = environment(TF_CPU_ALLOCATOR_USE_BFC=given, TF_ENABLE_ONEDNN_OPTS=None)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    return done.stdout.split(), done.stderr


@pytest.mark.soak
def test_tensorflow_reuses_memory_on_every_processor():
    """By the allocator that is asked for, or by oneDNN's."""
    code, err = count_of_memory(None)
    assert code == ["0"], err


@pytest.mark.soak
@pytest.mark.skipif(
    allocator.uses_onednn(allocator._flags()), reason="oneDNN's allocator counts memory anyway"
)
def test_without_onednn_it_has_to_be_asked():
    code, err = count_of_memory("false")
    assert code == ["1"], err


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ({"avx2", "fma"}, "true"),
        ({"avx512f", "avx512bw"}, "true"),
        ({"avx2", "avx512f", "avx512_bf16"}, None),
        ({"avx2", "avx_vnni"}, None),
        (set(), "true"),
    ],
)
def test_the_allocator_is_asked_for_where_there_is_no_onednn(monkeypatch, flags, asked):
    monkeypatch.setattr(allocator, "_flags", lambda: flags)
    for given in (None, "false"):
        found = {} if given is None else {allocator.VARIABLE: given}
        allocator.ask_for_reuse(found)
        assert found.get(allocator.VARIABLE) == (given or asked)
    for value, expected in (("0", "true"), ("1", None)):
        found = {"TF_ENABLE_ONEDNN_OPTS": value}
        allocator.ask_for_reuse(found)
        assert found.get(allocator.VARIABLE) == expected
