"""The folder of a run: its name, its files' names, and who may write in it."""

import contextlib
import os
import re
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from charlm.errors import InputError, command_line
from charlm.runs import atomic, checkpoint, locks
from charlm.runs import logs as run_texts
from charlm.runs.checkpoint import Checkpoint

LAST, BEST = "last.weights.h5", "best.weights.h5"
SUMMARY, HISTORY, SAMPLES, CURVE, LOCK = (
    "run.json",
    "history.csv",
    "samples.txt",
    "loss.png",
    ".lock",
)
TENSORBOARD = "tensorboard"
FILES = (LAST, BEST, SUMMARY, HISTORY, SAMPLES, CURVE)
LATEST = "latest"
MAX_NAME = 200  # bytes


def new(runs: Path, name: str | None, corpus: str, overwrite: bool) -> Path:
    """The folder for a new run; it is not made here.

    Raises:
        InputError: it exists and may not be overwritten, or holds what no run wrote, or the name is
            no name; another process holds it, or its lock is not a file of its own.
    """
    if name is None:
        stem = "".join(c if c.isalnum() else "-" for c in Path(corpus).stem)[:40].strip("-")
        name = f"{stem or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    _check_name(name, runs)
    _check_runs(runs)
    folder = runs / name
    _require_free(folder, overwrite)
    locks.check(folder / LOCK)  # before a backend is loaded
    return folder


def _check_name(name, runs):
    ok = name not in ("", ".", "..", LATEST) and Path(name).name == name
    if not ok or re.search(r"[\x00-\x1f\x7f]", name) or len(os.fsencode(name)) > MAX_NAME:
        raise InputError(
            f"expected --name to be the name of a folder in {runs}, of at most {MAX_NAME} bytes "
            f"and without control characters, found {name!r}"
        )


def _check_runs(runs):
    """Refuses a folder that cannot be made, before a backend is loaded."""
    nearest = next((path for path in (runs, *runs.parents) if os.path.lexists(path)), Path())
    if not (os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(
            f"expected --runs-dir to be a folder that can be written in, or a new one, found "
            f"{nearest}, {'which cannot' if os.path.isdir(nearest) else 'which is no folder'}"
        )


def _require_free(folder, overwrite):
    if not os.path.lexists(folder):
        return
    if not _is_own(folder):
        raise InputError(
            f"expected {folder} to be free, found something that is not a run's; give another "
            "--name"
        )
    if is_run(folder) and not overwrite:
        raise InputError(
            f"expected {folder} to be free, found a run; "
            f"{command_line('train', '--resume', folder)} goes on with it, --overwrite replaces "
            "it, or give another --name"
        )


def _is_own(folder):
    """Whether there is nothing in it but what a run writes."""
    try:
        own = {*FILES, LOCK, *atomic.unfinished(folder, FILES)}
        with os.scandir(folder) as entries:
            return all(
                e.name == TENSORBOARD or (e.name in own and not e.is_dir(follow_symlinks=False))
                for e in entries
            )
    except OSError:
        return False


def check_places(folder: Path) -> None:
    """Raises InputError where what lies in the place of a run's weights or lock is no file."""
    for name in (LAST, BEST, LOCK):
        with contextlib.suppress(OSError):
            mode = os.lstat(folder / name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
                raise InputError(
                    f"expected a file or nothing at {folder / name}, found {found}; move it away"
                )


def find(runs: Path, run: str) -> Path:
    """The folder or weights file that `run` names: a path, a name in `runs`, or "latest".

    Raises:
        InputError: none such.
    """
    if run == LATEST:
        return _latest(runs)
    for path in (Path(run), runs / run):
        if os.path.isfile(path) or is_run(path):
            return path
    there = any(os.path.isdir(path) for path in (Path(run), runs / run))
    what = "which has no weights in it" if there else "which does not exist"
    if not there and any(os.path.lexists(path) for path in (Path(run), runs / run)):
        what = "which is no regular file"
    raise InputError(
        f"expected a run folder or a .weights.h5 file, found {shlex.quote(run)}, {what}"
    )


def _latest(runs):
    """The run whose weights were saved last. What is no run beside it does not matter."""
    try:
        saved = {runs / name: _saved_at(runs / name) for name in os.listdir(runs)}
    except OSError:
        saved = {}
    saved = {folder: time for folder, time in saved.items() if time is not None}
    if not saved:
        raise InputError(f"expected a run in {runs}, found none; python -m charlm.train makes one")
    return max(saved, key=saved.get)


def is_run(folder: Path) -> bool:
    """Whether a run has saved weights there."""
    return _saved_at(folder) is not None


def _saved_at(folder):
    """When its weights were saved; None if there are none."""
    found = []
    for name in (LAST, BEST):
        with contextlib.suppress(OSError, ValueError):  # a link to nowhere or to itself
            about = os.stat(folder / name)
            found += [about.st_mtime_ns] if stat.S_ISREG(about.st_mode) else []
    return max(found, default=None)


def weights_file(path: Path, prefer: tuple[str, ...]) -> Path:
    """`path` if it is a file, else the first of `prefer` that the folder has.

    What lies in the place of one and is no file is named, too, so that whoever reads it refuses it.
    """
    if os.path.isfile(path):  # unlike Path.is_file it answers for a name that is too long
        return path
    return next((path / name for name in prefer if os.path.exists(path / name)), path / prefer[0])


def read_best(runs: Path, run: str) -> tuple[Path, Checkpoint]:
    """The weights file of what `run` names, a folder's best or else its last, and what it holds.

    Raises:
        InputError: see `find`, `checkpoint.read`.
    """
    path = weights_file(find(runs, run), (BEST, LAST))
    return path, checkpoint.read(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the system lets go when the process ends.

    Removes what a process that was killed left unfinished.

    Raises:
        InputError: another process holds it, or its lock is not a file of its own.
    """
    with locks.held(folder / LOCK):
        for name in atomic.unfinished(folder, FILES):
            with contextlib.suppress(OSError):  # it is in nobody's way
                os.unlink(folder / name)
        yield


def write(folder: Path, name: str, data: bytes) -> None:
    """Writes a file of the run; a new one gets the permissions of the run's weights.

    Raises:
        OSError: see `atomic.write`.
    """
    atomic.write(folder / name, data, _weights(folder))


def try_write(folder: Path, name: str, data: bytes, say: Callable[[str], object]) -> bool:
    """Calls `write` for what a run can do without; see `atomic.try_write`."""
    return atomic.try_write(folder / name, data, say, _weights(folder))


def _weights(folder):
    return weights_file(folder, (LAST, BEST))


def save_last(folder: Path, saved: Checkpoint, say: Callable[[str], object] = print) -> None:
    """Writes the run as it is now: its last weights, and what there is to read of it.

    Raises:
        NotFiniteError, OSError: the weights were not written; see `checkpoint.write`.
    """
    checkpoint.write(folder / LAST, saved, _weights(folder))
    write_summary(folder, saved, say)


def save_new(
    folder: Path, saved: Checkpoint, overwrite: bool, say: Callable[[str], object] = print
) -> None:
    """Writes a run that begins with these weights.

    An overwritten run stays until they are there: at any moment `read_best` finds the old run's
    best weights or the new ones, and never do files of both runs lie beside each other as one.

    Raises:
        InputError: another process holds the folder, or has made a run there since `new`.
        NotFiniteError, OSError: see `checkpoint.write`. Nothing is changed until the weights are
            written.
    """
    data = checkpoint.to_verified_bytes(saved)
    with locked(folder):
        _require_free(folder, overwrite)
        with atomic.prepared(folder / LAST, data, _weights(folder)) as place:
            if os.path.lexists(folder / BEST):  # or it would stand beside the new last weights
                os.replace(folder / BEST, folder / LAST)
                atomic.sync_folder(folder)
            place()
        _remove(folder, [name for name in FILES if name != LAST])
        write_summary(folder, saved, say)


def write_summary(folder: Path, saved: Checkpoint, say: Callable[[str], object]) -> None:
    """Writes what there is to read of a run: its settings and progress, and its losses."""
    try_write(folder, SUMMARY, run_texts.summary(saved), say)
    if saved.progress.history:
        try_write(folder, HISTORY, run_texts.table(saved.progress.history), say)


def clear(folder: Path, overwrite: bool) -> None:
    """Removes an overwritten run's files, and nothing else; for whoever holds the folder.

    Raises:
        InputError: another process has made a run there since `new` found the folder free.
    """
    _require_free(folder, overwrite)
    _remove(folder, FILES)


def _remove(folder, names):
    for name in names:
        _unlink(folder / name)
    logs = folder / TENSORBOARD
    if logs.is_dir() and not logs.is_symlink():
        shutil.rmtree(logs, ignore_errors=True)
    else:
        _unlink(logs)
    atomic.sync_folder(folder)


def _unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def rewind_logs(folder: Path, saved: Checkpoint, say: Callable[[str], object] = print) -> None:
    """Restores run.json, history.csv and samples.txt to the state of the saved run.

    A run that was killed may have trained further without saving again.
    """
    write_summary(folder, saved, say)
    if not saved.progress.history:  # they are of a run that this one has overwritten
        for name in (HISTORY, CURVE):
            with contextlib.suppress(OSError):
                os.unlink(folder / name)
    if saved.progress.samples_size is not None:
        run_texts.cut_samples(folder / SAMPLES, saved.progress.samples_size, say)


def add_samples(folder: Path, text: str, say: Callable[[str], object] = print) -> None:
    """Adds a text to samples.txt; reports it if that cannot be done."""
    run_texts.add_samples(folder / SAMPLES, text, say, _weights(folder))


def samples_size(folder: Path) -> int | None:
    """Bytes of samples.txt, all of them on disk; None if that is not known."""
    return run_texts.samples_size(folder / SAMPLES)


def logs_folder(folder: Path) -> Path:
    """Where TensorBoard's files go: a folder in which nothing leads elsewhere.

    Raises:
        InputError: it is a link or has one in it, which TensorBoard would follow.
    """
    logs = folder / TENSORBOARD
    inside = (Path(place, x) for place, *names in os.walk(logs) for x in chain(*names))
    for path in chain([logs], inside):
        if path.is_symlink():
            raise InputError(f"expected no link among TensorBoard's logs, found {path}; remove it")
    return logs
