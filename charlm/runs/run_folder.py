"""The folder of a run: creates it, locks it and writes its files."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from charlm.errors import InputError, command_line
from charlm.runs import atomic, checkpoint, locks, logs, names
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.lookup import BEST, LAST, is_run, weights_file
from charlm.runs.progress import Progress

SUMMARY, HISTORY, SAMPLES = "run.json", "history.csv", "samples.txt"
STEPS, UPDATES, TRAINING_CELLS = "steps.csv", "updates.csv", "cells-in-training.safetensors"
CURVE, LOCK, TENSORBOARD = "loss.png", ".lock", "tensorboard"
EVALUATION, GRADIENTS, CELLS, TUNES = (
    "evaluation",
    "gradients",
    "cells",
    "tunes",
)  # stems of commands' files
REPORTS = tuple(
    f"{stem}{ending}"
    for stem, endings in (
        (EVALUATION, (".json", ".png")),
        (GRADIENTS, (".csv", ".png")),
        (CELLS, (".json", ".png", ".html")),
        (TUNES, (".json", ".png")),
    )
    for ending in endings
)
FILES = (
    LAST, BEST, SUMMARY, HISTORY, STEPS, UPDATES, SAMPLES, CURVE, TRAINING_CELLS, *REPORTS,
)  # fmt: skip


def new(runs: Path, name: str | None, corpus: str, overwrite: bool, writes: bool = True) -> Path:
    """Returns the folder for a new run, without creating it.

    Args:
        name: of the folder; by default the corpus's name and the time.
        overwrite: whether there may be a run in the folder.
        writes: whether this process will write in it, and so needs its lock.

    Raises:
        InputError: the name is invalid, the folder may not be overwritten, holds files that no run
            wrote or is held by another process, or its lock is not a regular file.
    """
    if name is None:
        stem = "".join(c if c.isalnum() else "-" for c in Path(corpus).stem)[:40].strip("-")
        name = f"{stem or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    names.check_name(name, runs)
    names.check_folder(runs)
    folder = runs / name
    _require_free(folder, overwrite)
    if writes:
        locks.check(folder / LOCK)  # before a backend is loaded
    return folder


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
            f"{command_line('train', '--resume', folder)} resumes it, --overwrite replaces "
            "it, or give another --name"
        )


def _is_own(folder):
    """Returns whether everything in the folder was written by a run."""
    try:
        own = {*FILES, LOCK, *atomic.unfinished(folder, FILES)}
        with os.scandir(folder) as entries:
            return all(
                e.name == TENSORBOARD or (e.name in own and not e.is_dir(follow_symlinks=False))
                for e in entries
            )
    except OSError:
        return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Creates the folder and holds its lock; the system releases it if the process ends.

    Removes the unfinished files of a process that was killed.

    Raises:
        InputError: another process holds it, or its lock is not a regular file.
    """
    with locks.held(folder / LOCK):
        for name in atomic.unfinished(folder, FILES):
            with contextlib.suppress(OSError):  # it does no harm
                os.unlink(folder / name)
        yield


def write(folder: Path, name: str, data: bytes) -> None:
    """Writes a file of the run; a new file gets the permissions of the run's weights.

    Raises:
        OSError: see `atomic.write`.
    """
    atomic.write(folder / name, data, _weights(folder))


def try_write(folder: Path, name: str, data: bytes, say: Callable[[str], object]) -> bool:
    """Writes a file that the run does not need; see `atomic.try_write`."""
    return atomic.try_write(folder / name, data, say, _weights(folder))


def _weights(folder):
    return weights_file(folder, (LAST, BEST))


def save_last(folder: Path, saved: Checkpoint, say: Callable[[str], object] = print) -> None:
    """Saves the run as it is now: its last weights and its summary.

    Raises:
        NotFiniteError, OSError: the weights were not written; see `checkpoint.write`.
    """
    checkpoint.write(folder / LAST, saved, _weights(folder))
    write_summary(folder, saved, say)


def save_new(
    folder: Path, saved: Checkpoint, overwrite: bool, say: Callable[[str], object] = print
) -> None:
    """Saves a new run that starts with these weights.

    An overwritten run is kept until the new weights are saved: at any moment `read_best` finds
    either the old run's best weights or the new ones, and the folder never mixes files of both.

    Raises:
        InputError: another process holds the folder, or has saved a run there since `new`.
        NotFiniteError, OSError: see `checkpoint.write`. Nothing is changed until the weights are
            written.
    """
    data = checkpoint.to_verified_bytes(saved)
    with locked(folder):
        _require_free(folder, overwrite)
        with atomic.prepared(folder / LAST, data, _weights(folder)) as place:
            if os.path.lexists(folder / BEST):  # it must not stay with the new last weights
                os.replace(folder / BEST, folder / LAST)
                atomic.sync_folder(folder)
            place()
        _remove(folder, [name for name in FILES if name != LAST])
        write_summary(folder, saved, say)


def write_summary(folder: Path, saved: Checkpoint, say: Callable[[str], object]) -> None:
    """Writes run.json (settings and progress) and history.csv (losses)."""
    try_write(folder, SUMMARY, logs.summary(saved), say)
    if saved.progress.history:
        try_write(folder, HISTORY, logs.table(saved.progress.history), say)


def write_steps(folder: Path, progress: Progress, say: Callable[[str], object]) -> None:
    """Writes steps.csv and updates.csv; before the weights, as a resumed run can only cut them."""
    for name, rows, columns in _rows(progress):
        if rows:
            try_write(folder, name, logs.rows_table(rows, columns), say)


def _rows(progress):
    yield STEPS, progress.steps, logs.STEP_COLUMNS
    yield UPDATES, progress.updates, logs.UPDATE_COLUMNS


def clear(folder: Path, overwrite: bool) -> None:
    """Removes an overwritten run's files, and nothing else; call it inside `locked`.

    Raises:
        InputError: another process has saved a run there since `new` found the folder free.
    """
    _require_free(folder, overwrite)
    _remove(folder, FILES)


def _remove(folder, files):
    for name in files:
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
    """Restores run.json, the CSV files and samples.txt to the state of the saved run.

    A run that was killed may have trained further without saving again.
    """
    write_summary(folder, saved, say)
    write_steps(folder, saved.progress, say)
    for name, rows, _ in _rows(saved.progress):
        if not rows:
            with contextlib.suppress(OSError):  # damaged, or of an overwritten run
                os.unlink(folder / name)
                if saved.progress.epoch:
                    say(f"NOTE: {folder / name} had no row that could be read; it was removed")
    if not saved.progress.history:  # they belong to an overwritten run
        for name in (HISTORY, CURVE):
            with contextlib.suppress(OSError):
                os.unlink(folder / name)
    if saved.progress.samples_size is not None:
        logs.cut_samples(folder / SAMPLES, saved.progress.samples_size, say)


def add_samples(folder: Path, text: str, say: Callable[[str], object] = print) -> None:
    """Appends a text to samples.txt; reports a failure instead of raising it."""
    logs.add_samples(folder / SAMPLES, text, say, _weights(folder))


def samples_size(folder: Path) -> int | None:
    """Forces samples.txt to disk and returns its size in bytes, None if that failed."""
    return logs.samples_size(folder / SAMPLES)


def read_rows(folder: Path, progress: Progress) -> None:
    """Adds the rows of steps.csv and updates.csv to `progress`, up to where it is."""
    for name, rows, columns in _rows(progress):
        rows[:] = logs.read_rows(folder / name, columns, progress)


def logs_folder(folder: Path) -> Path:
    """Returns the folder for TensorBoard's files.

    Raises:
        InputError: it is a link or contains one; TensorBoard would follow it.
    """
    logs = folder / TENSORBOARD
    found = (Path(place, x) for place, *inside in os.walk(logs) for x in chain(*inside))
    for path in chain([logs], found):
        if path.is_symlink():
            raise InputError(f"expected no link among TensorBoard's logs, found {path}; remove it")
    return logs
