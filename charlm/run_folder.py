"""The folder of a run: its name, its files' names, and who may write in it."""

import contextlib
import csv
import io
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from charlm import checkpoint
from charlm.checkpoint import Checkpoint, Progress
from charlm.errors import InputError

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
OWN = {*FILES, *(f".{name}.tmp" for name in FILES), LOCK, TENSORBOARD}
FOLDERS = {TENSORBOARD}
LATEST = "latest"


def new(runs: Path, name: str | None, corpus: str, overwrite: bool) -> Path:
    """The folder for a new run; it is not made here.

    Raises:
        InputError: it exists and may not be overwritten, or holds what no run wrote, or the name is
            no name.
    """
    if name is None:
        stem = "".join(c if c.isalnum() else "-" for c in Path(corpus).stem)[:40].strip("-")
        name = f"{stem or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    if name in ("", ".", "..", LATEST) or Path(name).name != name or len(os.fsencode(name)) > 200:
        raise InputError(f"expected --name to be the name of a folder in {runs}, found {name!r}")
    folder = runs / name
    _require_free(folder, overwrite)
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
            f"expected {folder} to be free, found a run; python -m charlm.train --resume "
            f"{folder} goes on with it, --overwrite replaces it, or give another --name"
        )


def _is_own(folder):
    """Whether there is nothing in it but what a run writes."""
    try:
        with os.scandir(folder) as entries:
            return all(e.name in (FOLDERS if e.is_dir() else OWN) for e in entries)
    except OSError:
        return False


def check_places(folder: Path) -> None:
    """Raises InputError where a folder lies in the place of one of a run's files."""
    for name in sorted(OWN - FOLDERS):
        if os.path.isdir(folder / name):
            raise InputError(
                f"expected a file or nothing at {folder / name}, found a folder; move it away"
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
    raise InputError(f"expected a run folder or a .weights.h5 file, found {run}, {what}")


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
    """`path` if it is a file, else the first of `prefer` that the folder has."""
    if os.path.isfile(path):  # unlike Path.is_file it answers for a name that is too long
        return path
    return next((path / name for name in prefer if os.path.isfile(path / name)), path / prefer[0])


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

    Raises:
        InputError: another process holds it.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+", opener=own_file)  # noqa: SIM115 - its `with` is below
    except OSError as error:
        raise InputError(f"expected to write in {folder}, found: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise InputError(
                f"expected {folder} to be free, found it in use by process {holder}; wait for it "
                "or give another --name"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def own_file(path: Path, flags: int) -> int:
    """An opener for `open`: follows no link out of the run's folder, and waits for no pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def save_last(folder: Path, saved: Checkpoint) -> None:
    """Writes the run as it is now: its last weights, and what there is to read of it."""
    checkpoint.write(folder / LAST, saved)
    describe(folder, saved)


def save_new(folder: Path, saved: Checkpoint, overwrite: bool) -> None:
    """Writes a run that begins with these weights; an overwritten one stays until they are there.

    Raises:
        InputError: another process holds the folder, or has made a run there since `new`.
        NotFiniteError, OSError: see `checkpoint.write`. Nothing is changed until the weights are
            written.
    """
    data = checkpoint.verified(saved)
    with locked(folder):
        _require_free(folder, overwrite)
        checkpoint.write_atomically(folder / LAST, data)
        _remove(folder, [name for name in FILES if name != LAST])
        describe(folder, saved)


def describe(folder: Path, saved: Checkpoint) -> None:
    """Writes what there is to read of a run: its settings and progress, and its losses."""
    summary = json.dumps(saved.meta(), indent=1, ensure_ascii=False)
    checkpoint.write_atomically(folder / SUMMARY, summary.encode("utf-8", "backslashreplace"))
    write_history(folder, saved.progress)


def write_history(folder: Path, progress: Progress) -> None:
    """Writes history.csv in the form of Keras's CSVLogger, which counts epochs from 0."""
    if not progress.history:
        return
    text = io.StringIO()
    columns = ["epoch", *sorted(set(progress.history[0]) - {"epoch"})]
    rows = csv.DictWriter(text, columns, restval="NA", extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for row in progress.history:
        rows.writerow(row | {"epoch": row["epoch"] - 1})
    checkpoint.write_atomically(folder / HISTORY, text.getvalue().encode())


def clear(folder: Path, overwrite: bool) -> None:
    """Removes an overwritten run's files, and nothing else; for whoever holds the folder.

    Raises:
        InputError: another process has made a run there since `new` found the folder free.
    """
    _require_free(folder, overwrite)
    _remove(folder, FILES)


def _remove(folder, names):
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / f".{name}.tmp").unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)


def turn_back(folder: Path, saved: Checkpoint) -> None:
    """Makes what there is to read what it was when the run was saved.

    A run that was killed may have gone on from there without being saved again.
    """
    describe(folder, saved)
    size, path = saved.progress.samples_size, folder / SAMPLES
    regular = path.is_file() and not path.is_symlink()
    if size is not None and regular and path.stat().st_size > size:
        os.truncate(path, size)


def samples_size(folder: Path) -> int:
    """Bytes of samples.txt."""
    try:
        return (folder / SAMPLES).stat().st_size
    except FileNotFoundError:
        return 0
