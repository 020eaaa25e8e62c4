"""Law: whatever fails while a run is saved, each file is the old one or the new one, whole.

The system calls of the writer fail in turn: each of them, once or from there on, with each error,
at a run's first save and when it overwrites an earlier one.
"""

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from callbacks import SaveWeights
from charlm.runs import atomic, checkpoint, lookup, run_folder
from charlm.runs.progress import Progress
from tests.runs.test_checkpoint import made

FILES = lookup.LAST, lookup.BEST, run_folder.SUMMARY, run_folder.HISTORY, run_folder.STEPS
CALLS = "open", "lstat", "stat", "write", "fchmod", "fsync", "close", "replace", "unlink"
ERRORS = [errno.ENOSPC, errno.EIO, errno.EINTR]
KILLED = "killed"


class FailingSystem:
    """The `os` module, of whose `calls` number `at` (and those after it, `for_good`) fail.

    Args:
        how: an errno; KILLED: the process ends there; "short": a write writes half, or one byte.
    """

    def __init__(self, at, how, for_good, calls=CALLS):
        self.at, self.how, self.for_good, self.count = at, how, for_good, 0
        self.calls = calls

    def __getattr__(self, name):
        real = getattr(os, name)
        return self.failing(name, real) if name in self.calls else real

    def failing(self, name, real):
        def call(*args, **kwargs):
            here, self.count = self.count, self.count + 1
            if not (here == self.at or (self.for_good and here > self.at)):
                return real(*args, **kwargs)
            if self.how == KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "short":
                if name != "write":
                    return real(*args, **kwargs)
                descriptor, data = args
                return real(descriptor, data[: max(1, len(data) // 2)])
            if name == "close":
                real(*args)  # Linux closes it, whatever it says
            raise OSError(self.how, os.strerror(self.how))

        return call


def run(epoch, seed):
    """A run after `epoch` epochs, the last of them its best."""
    rows = [{"epoch": k + 1, "bpc": 2.5 - k, "val_bpc": 2.0} for k in range(epoch)]
    progress = Progress(epoch, 0, 1.0, epoch, 0, rows)
    progress.steps = [
        {"epochs": k + 1.0, "step": 9, "bpc": 2.5, "epoch_bpc": 2.5} for k in range(epoch)
    ]
    return made(np.random.default_rng(seed), progress=progress, metrics=[])


class Model:
    """Stands for the one that Keras gives a callback."""


def saver(folder, saved):
    told = []
    callback = SaveWeights(lambda: saved, folder, saved.progress, 9, print=told.append)
    callback.set_model(Model())
    return callback, told


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The files of a folder before its first save, after that, and after the next."""
    folder, found = tmp_path_factory.mktemp("states"), [{}]
    for epoch in (1, 2):
        assert saver(folder, run(epoch, epoch))[0].save()
        found.append(contents(folder))
    return found


def prepared(folder, before):
    folder.mkdir()
    for name, data in before.items():
        (folder / name).write_bytes(data)
    return folder


def calls_of_a_save(folder, before, saved):
    system = FailingSystem(-1, None, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", system)
        assert saver(prepared(folder, before), saved)[0].save()
    return system.count


def check(folder, old, new, said_saved=None):
    """Each file is one of the two; a run is there if it was, and is new if it was said to be."""
    found = contents(folder)
    for name in FILES:
        assert found.get(name) in (old.get(name), new.get(name)), name
    for name in FILES[:2]:
        if said_saved:
            assert found[name] == new[name]
        if name in found:
            checkpoint.read(folder / name)


@pytest.mark.full
@pytest.mark.parametrize(
    ("overwrite", "for_good", "ways"),
    [
        pytest.param(False, False, 1, id="first save, once, in one way each"),
        *(
            pytest.param(*row, 4, marks=pytest.mark.soak)
            for row in itertools.product([False, True], repeat=2)
        ),
    ],
)
def test_every_call_fails_in_turn(tmp_path, monkeypatch, states, overwrite, for_good, ways):
    # the length of samples.txt is stored as unknown if that file fails: tests/test_run_folder.py
    monkeypatch.setattr(run_folder, "samples_size", lambda folder: 0)
    old, new = states[overwrite], states[overwrite + 1]
    saved = run(1 + overwrite, 1 + overwrite)
    n = calls_of_a_save(tmp_path / "count", old, saved)
    assert n >= 48  # four files, each opened, written, forced to disk, closed, renamed ...
    injections = 0
    for at in range(n):
        for how in (*ERRORS, "short", *ERRORS)[at % 4 :][:ways]:
            folder = prepared(tmp_path / f"{at}-{how}", old)
            callback, told = saver(folder, saved)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(atomic, "os", FailingSystem(at, how, for_good))
                done = callback.save()
            injections += 1
            assert bool(callback.failure) is not done
            assert done or told[-1].startswith("NOT SAVED (")
            assert done is (told == [] or told[-1].startswith("NOT SAVED: "))
            assert told or contents(folder) == new
            check(folder, old, new, done)
            if how == "short":
                assert done
            assert callback.save()  # the fault is over, and no trace of it is left
            assert contents(folder) == new
            assert {p.name for p in folder.iterdir()} == set(FILES)
    assert injections >= 35 * ways  # with 4 ways in four such tests


@pytest.mark.soak
@pytest.mark.parametrize("overwrite", [True, False], ids=["overwrite", "first save"])
def test_killed_at_every_call(tmp_path, states, overwrite):
    old, new = states[overwrite], states[overwrite + 1]
    saved = run(1 + overwrite, 1 + overwrite)
    n = calls_of_a_save(tmp_path / "count", old, saved)
    program = """if True:
        import os, sys
        from pathlib import Path
        from charlm.runs import atomic
        from tests.runs import test_faults as faults
        epoch, n, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
        for at in range(n):
            child = os.fork()
            if not child:
                atomic.os = faults.FailingSystem(at, faults.KILLED, False)
                faults.saver(root / str(at), faults.run(epoch, epoch))[0].save()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == 9, (at, status)
    """
    for at in range(n):
        prepared(tmp_path / str(at), old)
    argv = [sys.executable, "-c", program, str(1 + overwrite), str(n), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    for at in range(n):
        folder = tmp_path / str(at)
        check(folder, old, new)
        leftovers = {p.name for p in folder.iterdir()} - set(FILES)
        assert leftovers == set(atomic.unfinished(folder, FILES))
        with run_folder.locked(folder):
            assert not atomic.unfinished(folder, FILES)
        (folder / run_folder.LOCK).unlink()
        assert saver(folder, saved)[0].save()
        assert contents(folder) == new
        assert {p.name for p in folder.iterdir()} == set(FILES)


FULL = """
mount -t tmpfs -o size=200k none "$1" || exit 77
exec "$2" -c "
import sys
from pathlib import Path
from tests.runs import test_faults as faults
folder = Path(sys.argv[1]) / 'run'
folder.mkdir()
assert faults.saver(folder, faults.run(1, 1))[0].save()
before = faults.contents(folder)
(Path(sys.argv[1]) / 'filler').write_bytes(bytes(8192))
try:
    with open(Path(sys.argv[1]) / 'more', 'wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
callback, told = faults.saver(folder, faults.run(2, 2))
assert not callback.save()
assert 'No space left' in told[0], told
assert faults.contents(folder) == before
(Path(sys.argv[1]) / 'more').unlink()
assert callback.save()
print('whole')
" "$1"
"""


@pytest.mark.full
def test_a_file_system_that_is_full(tmp_path):
    """A real one, where a process may make itself one."""
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL, "sh"]
    try:
        done = subprocess.run(
            [*argv, str(tmp_path), sys.executable], capture_output=True, text=True, timeout=120
        )
    except FileNotFoundError:
        pytest.skip("no unshare")
    if "whole" not in done.stdout and (done.returncode == 77 or "unshare" in done.stderr):
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()[:100]}")
    assert done.stdout == "whole\n", done.stderr[-2000:]


@pytest.mark.soak
def test_a_run_whose_last_state_could_not_be_saved_does_not_end_well(
    tmp_path, monkeypatch, capsys, text_file
):
    from charlm import train

    monkeypatch.chdir(tmp_path)
    argv = ["--corpus", text_file.name, "--name", "a", "--units", "2", "--batch-size", "2"]
    argv += ["--window", "16", "--sample-length", "10"]
    right, last = atomic.write, Path("saved_models/a") / lookup.LAST

    def full(path, data, like=None):
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_at_last(path, data, like=None):
        later = last.exists() and checkpoint.read(last).progress.epoch > 1
        (full if later else right)(path, data, like)

    monkeypatch.setattr(atomic, "write", full_at_last)
    assert train.main([*argv, "--epochs", "3"]) == 1
    out, err = capsys.readouterr()
    assert out.count("NOT SAVED (") == 1
    assert out.count("NOT SAVED: ") == 3  # run.json, history.csv, steps.csv
    assert "epoch 3/3" in out  # it went on
    assert err.startswith("error: cannot save the end of the run in saved_models/a: No space left")
    assert err.count("\n") == 1
    assert checkpoint.read(last).progress.epoch == 2
    monkeypatch.setattr(atomic, "write", right)
    assert train.main(["--resume", "a"]) == 0
    assert checkpoint.read(last).progress.epoch == 3
