"""Law: what lies in a run's folder leads no writer out of it, and no moment mixes two runs."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from callbacks import SaveWeights
from charlm.errors import InputError
from charlm.runs import atomic, checkpoint, logs, lookup, run_folder
from charlm.runs.progress import Progress
from tests.runs import test_faults as faults
from tests.runs.test_atomic import OTHER
from tests.runs.test_checkpoint import made

NAMES = (*run_folder.FILES, run_folder.LOCK)


def a_run(seed, **progress):
    return made(np.random.default_rng(seed), progress=Progress(**progress), metrics=[])


def a_recorded_run(epoch):
    """A run with rows for updates.csv, which only some runs have."""
    saved = faults.run(epoch, epoch)
    row = {"weight": "w", "gradient_norm": 1.0, "weight_norm": 2.0, "update_ratio": 0.1}
    saved.progress.updates = [{"epochs": k + 1.0, "step": 9} | row for k in range(epoch)]
    return saved


@pytest.fixture
def folder(tmp_path):
    """A run's folder with all of its files, after one epoch."""
    folder = tmp_path / "run"
    with run_folder.locked(folder):
        run_folder.add_samples(folder, "sampled before\n")
        assert faults.saver(folder, a_recorded_run(1))[0].save()
        for name in (run_folder.CURVE, run_folder.TRAINING_CELLS, *run_folder.REPORTS):
            assert run_folder.try_write(folder, name, b"picture", print)
    assert set(os.listdir(folder)) == set(NAMES)
    return folder


def linked(path, kind):
    """Puts a link to another file in the place of a run's; returns the other."""
    other = path.parent.parent / "other"
    other.write_bytes(OTHER)
    path.unlink()
    (path.symlink_to if kind == "symbolic" else path.hardlink_to)(other)
    return other


def again(folder):
    """All that a run does to its folder, from its being resumed to its end."""
    said = []
    with run_folder.locked(folder):
        saved = a_recorded_run(2)
        run_folder.rewind_logs(folder, saved, said.append)
        run_folder.add_samples(folder, "sampled after\n", said.append)
        assert faults.saver(folder, saved)[0].save()
        for name in (run_folder.CURVE, run_folder.TRAINING_CELLS):
            run_folder.try_write(folder, name, b"another picture", said.append)
    return said


# --- links ---


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("name", [x for x in run_folder.FILES if x not in run_folder.REPORTS])
def test_no_link_in_it_is_written_through(folder, name, kind):
    other = linked(folder / name, kind)
    said = again(folder)
    assert other.read_bytes() == OTHER
    if name == run_folder.SAMPLES:  # it grows in its place, so it cannot be replaced
        assert any("samples not kept in" in line for line in said)
        assert any("link" in line for line in said)
    else:
        assert said == []
        assert stat.S_ISREG((folder / name).lstat().st_mode)
        assert (folder / name).read_bytes() != OTHER


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_lock_that_is_a_link_is_refused(folder, kind):
    other = linked(folder / run_folder.LOCK, kind)
    with pytest.raises(InputError, match=rf"cannot use .*\.lock: .*a {kind} link.*rem"):
        again(folder)
    assert other.read_bytes() == OTHER


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_lock_that_is_no_file_is_refused(folder, make):
    (folder / run_folder.LOCK).unlink()
    make(folder / run_folder.LOCK)
    with pytest.raises(InputError, match=r"cannot use .*\.lock: "):
        again(folder)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"1234", "1234"),
        (b"1234\n", "1234"),
        (b"", "unknown"),
        (b"\x1b[2Jgotcha", "unknown"),
        (b"\xff\xfe\xff", "unknown"),
        (b"1" * 60, "unknown"),
        (2**40, "unknown"),  # a file with nothing in it but its size
    ],
)
def test_the_lock_of_another_process_is_shown_if_it_is_a_number(folder, content, shown):
    with open(folder / run_folder.LOCK, "wb") as file:
        if isinstance(content, int):
            file.truncate(content)
        else:
            file.write(content)
            file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file.fileno()).st_size
        with pytest.raises(InputError, match=f"in use by process {shown}; wait"):
            again(folder)
        assert (folder / run_folder.LOCK).stat().st_size == size


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_samples_that_are_a_link_are_not_cut(folder, kind):
    other = linked(folder / run_folder.SAMPLES, kind)
    said = []
    run_folder.rewind_logs(folder, a_run(1, samples_size=3), said.append)
    assert other.read_bytes() == OTHER
    assert len(said) == 1
    assert "was not cut" in said[0]
    assert run_folder.samples_size(folder) is None


@pytest.mark.parametrize("place", ["", "train", "train/plugins/events"])
def test_tensorboard_s_logs_lead_nowhere_else(folder, place):
    elsewhere = folder.parent / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    link = folder / run_folder.TENSORBOARD / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"found {link}; remove it"):
        run_folder.logs_folder(folder)
    run_folder.clear(folder, overwrite=True)
    assert os.listdir(folder) == [run_folder.LOCK]
    assert os.listdir(elsewhere) == ["precious"]
    assert run_folder.logs_folder(folder) == folder / run_folder.TENSORBOARD


def test_a_folder_that_bears_a_file_s_name_is_not_a_run_s(folder):
    (folder / run_folder.CURVE).unlink()
    (folder / run_folder.CURVE).mkdir()
    before = faults.contents(folder)
    with pytest.raises(InputError, match="something that is not a run's"):
        run_folder.clear(folder, overwrite=True)
    assert faults.contents(folder) == before


# --- permissions ---


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_files_keep_their_permissions_and_new_ones_have_those_of_the_weights(folder, mode):
    for name in NAMES:
        (folder / name).chmod(mode)
    for name in (lookup.BEST, run_folder.SUMMARY, run_folder.SAMPLES, run_folder.CURVE):
        (folder / name).unlink()
    (folder / run_folder.HISTORY).chmod(0o604)
    again(folder)
    found = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES}
    assert found == dict.fromkeys(NAMES, mode) | {run_folder.HISTORY: 0o604}


# --- what cannot be written ---


@pytest.mark.parametrize("name", [run_folder.SUMMARY, run_folder.HISTORY, run_folder.CURVE])
def test_what_a_run_can_do_without_is_named_when_it_cannot_be_written(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    said = []
    run_folder.write_summary(folder, faults.run(2, 2), said.append)
    run_folder.try_write(folder, run_folder.CURVE, b"picture", said.append)
    assert said == [f"NOT SAVED: {folder / name} (Is a directory); continuing without it"]
    others = {run_folder.SUMMARY, run_folder.HISTORY} - {name}
    assert b"2.0" in b"".join((folder / other).read_bytes() for other in others)


# --- the power fails ---


def test_samples_are_on_disk_before_a_file_names_their_length(folder, monkeypatch):
    calls = []

    def record(module, name, what):
        real = getattr(module, name)

        def call(*args, **kwargs):
            calls.append(what(*args))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    def inode(descriptor):
        return os.fstat(descriptor).st_ino

    run_folder.add_samples(folder, "sampled after\n")
    record(os, "fsync", inode)
    record(os, "replace", lambda old, new, **_: new)
    saved = faults.run(2, 2)
    assert faults.saver(folder, saved)[0].save()
    assert saved.progress.samples_size == len("sampled before\nsampled after\n")
    first = calls.index(run_folder.BEST)
    samples, itself = ((folder / name).stat().st_ino for name in (run_folder.SAMPLES, ""))
    assert calls[:first][:2] == [samples, itself]
    assert calls[first] == lookup.BEST


@pytest.mark.parametrize("what", ["fsync", "fstat"])
def test_a_length_that_may_not_be_on_disk_is_not_named(folder, monkeypatch, what):
    monkeypatch.setattr(logs, "os", faults.FailingSystem(0, 5, True, calls=(what,)))
    saved = faults.run(2, 2)
    assert faults.saver(folder, saved)[0].save()
    assert checkpoint.read(folder / lookup.LAST).progress.samples_size is None


@pytest.mark.parametrize("kept", [None, 0, 9])
def test_samples_that_are_shorter_than_they_were_are_reported(folder, kept):
    path, said = folder / run_folder.SAMPLES, []
    if kept is None:
        path.unlink()
    else:
        os.truncate(path, kept)
    run_folder.rewind_logs(folder, saved(folder), said.append)
    assert said == [
        f"NOTE: {path} has {kept or 0} bytes of the 15 that it had when the run was saved; the "
        "last samples in it are lost"
    ]


def test_samples_that_are_longer_are_cut(folder):
    run_folder.add_samples(folder, "never saved")
    said = []
    run_folder.rewind_logs(folder, saved(folder), said.append)
    assert said == []
    assert (folder / run_folder.SAMPLES).read_text() == "sampled before\n"


def saved(folder):
    """The run as `charlm train --resume` reads it."""
    found = checkpoint.read(folder / lookup.LAST)
    run_folder.read_rows(folder, found.progress)
    return found


@pytest.mark.parametrize("name", [run_folder.STEPS, run_folder.UPDATES])
@pytest.mark.parametrize("damage", [b"epochs,step\n1", b"x" * 2**24 + b"x"])
def test_rows_that_cannot_be_continued_are_reported(folder, name, damage):
    (folder / name).write_bytes(damage)
    said = []
    run_folder.rewind_logs(folder, saved(folder), said.append)
    assert said == [f"NOTE: {folder / name} had no row that could be read; it was removed"]
    assert not (folder / name).exists()


def test_rows_before_the_damage_are_kept(folder):
    path = folder / run_folder.STEPS
    path.write_text("epochs,step,bpc,epoch_bpc\n0.25,2,2.5,2.5\n0.5,4,2.4,2.45\n0.7,6,2.")
    assert [row["step"] for row in saved(folder).progress.steps] == [2, 4]


def test_too_many_rows_are_not_kept_in_memory(folder, monkeypatch):
    monkeypatch.setattr(logs, "MAX_ROWS", 4)
    for rows in (4, 5):
        text = "epochs,step,bpc,epoch_bpc\n" + "0.5,1,2,3\n" * rows
        (folder / run_folder.STEPS).write_text(text)
        assert len(saved(folder).progress.steps) == (4 if rows == 4 else 0)


def test_the_names_of_a_new_run_s_folders_are_forced_to_disk(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (synced.append(os.fstat(d).st_ino), real(d)))
    with run_folder.locked(tmp_path / "saved_models" / "a"):
        pass
    assert set(synced) == {path.stat().st_ino for path in (tmp_path, tmp_path / "saved_models")}


# --- one run replaces another ---

OVERWRITE = """if True:
    import os, sys
    from pathlib import Path
    from charlm.runs import atomic, run_folder
    from tests.runs import test_faults as faults, test_run_folder as this
    n, root = int(sys.argv[1]), Path(sys.argv[2])
    for at in range(n):
        child = os.fork()
        if not child:
            atomic.os = run_folder.os = faults.FailingSystem(at, faults.KILLED, False)
            run_folder.save_new(root / str(at), this.a_run(9, samples_size=0), True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == 9, (at, status)
"""


def old_run(folder):
    """A run whose best weights are older than its last ones."""
    with run_folder.locked(folder):
        run_folder.add_samples(folder, "of the old run\n")
        assert faults.saver(folder, faults.run(1, 1))[0].save()
        worse = faults.run(2, 2)
        worse.progress.stale_epochs = 1
        assert faults.saver(folder, worse)[0].save()
        assert run_folder.try_write(folder, run_folder.CURVE, b"picture", print)
    best, last = ((folder / name).read_bytes() for name in (lookup.BEST, lookup.LAST))
    assert best != last
    return best, last


def files_of(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != run_folder.LOCK}


@pytest.mark.soak
@pytest.mark.parametrize("lacks", [None, lookup.BEST, lookup.LAST])
def test_killed_at_every_call_while_one_run_replaces_another(tmp_path, monkeypatch, lacks):
    best, last = old_run(tmp_path / "count")
    if lacks:
        (tmp_path / "count" / lacks).unlink()
        best, last = (last, last) if lacks == lookup.BEST else (best, best)
    shutil.copytree(tmp_path / "count", tmp_path / "old")
    system = faults.FailingSystem(-1, None, False)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", system)
        patch.setattr(run_folder, "os", system)
        run_folder.save_new(tmp_path / "count", a_run(9, samples_size=0), True)
    expected = files_of(tmp_path / "count")
    assert expected.keys() == {lookup.LAST, run_folder.SUMMARY}
    assert system.count > 30
    for at in range(system.count):
        shutil.copytree(tmp_path / "old", tmp_path / str(at))
    argv = [sys.executable, "-c", OVERWRITE, str(system.count), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = set()
    for at in range(system.count):
        folder = tmp_path / str(at)
        found = files_of(folder)
        new = found.get(lookup.LAST) == expected[lookup.LAST]
        path, _ = lookup.read_best(tmp_path, str(at))
        if new:
            assert lookup.BEST not in found
        else:
            assert path.read_bytes() == best
            assert found.get(lookup.LAST, last) in (best, last)
        seen.add((new, len(found)))
        with run_folder.locked(folder):  # whoever goes on with it
            run_folder.rewind_logs(folder, checkpoint.read(path), print)
            found = files_of(folder)
            if new:
                assert found.pop(run_folder.SAMPLES, b"") == b""
                assert found == expected
        run_folder.save_new(folder, a_run(9, samples_size=0), True)
        assert files_of(folder) == expected
    assert {new for new, _ in seen} == {False, True}


def test_a_save_leaves_no_open_files(folder):
    callback = SaveWeights(lambda: saved, folder, (saved := faults.run(2, 2)).progress, 9)
    callback.set_model(faults.Model())
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        assert callback.save()
    assert len(os.listdir("/dev/fd")) == before
