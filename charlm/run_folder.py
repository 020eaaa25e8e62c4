"""The folder of a run: its name, its files' names, and who may write in it."""

import contextlib
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

from charlm.errors import InputError

LAST, BEST = "last.weights.h5", "best.weights.h5"
SUMMARY, HISTORY, SAMPLES, CURVE, LOCK = (
    "run.json",
    "history.csv",
    "samples.txt",
    "loss.png",
    ".lock",
)
LATEST = "latest"


def new(runs: Path, name: str | None, corpus: str, overwrite: bool) -> Path:
    """The folder for a new run; it is not made here.

    Raises:
        InputError: it exists and may not be overwritten, or is no run, or the name is no name.
    """
    if name is None:
        stem = "".join(c if c.isalnum() else "-" for c in Path(corpus).stem).strip("-") or "run"
        name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if name in ("", ".", "..", LATEST) or Path(name).name != name:
        raise InputError(f"expected --name to be the name of a folder in {runs}, found {name!r}")
    folder = runs / name
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not is_run(folder)):
            raise InputError(f"expected {folder} to be free, found something that is not a run")
        if is_run(folder) and not overwrite:
            raise InputError(
                f"expected {folder} to be free, found a run; give --resume {folder} to go on with "
                "it, --overwrite to replace it, or another --name"
            )
    return folder


def find(runs: Path, run: str) -> Path:
    """The folder or weights file that `run` names: a path, a name in `runs`, or "latest".

    Raises:
        InputError: none such.
    """
    if run == LATEST:
        found = [p for p in runs.glob("*") if is_run(p)]
        if not found:
            raise InputError(
                f"expected a run in {runs}, found none; python -m charlm.train makes one"
            )
        return max(found, key=lambda p: (p / LAST).stat().st_mtime)
    for path in (Path(run), runs / run):
        if path.is_file() or is_run(path):
            return path
    what = "which is not one (no weights in it)" if Path(run).is_dir() else "which does not exist"
    raise InputError(f"expected a run folder or a .weights.h5 file, found {run}, {what}")


def is_run(folder: Path) -> bool:
    """Whether a run has saved there."""
    return (folder / LAST).is_file() or (folder / SUMMARY).is_file()


def weights_file(path: Path, prefer: tuple[str, ...]) -> Path:
    """`path` if it is a file, else the first of `prefer` that the folder has."""
    if path.is_file():
        return path
    return next((path / name for name in prefer if (path / name).is_file()), path / prefer[0])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the system lets go when the process ends.

    Raises:
        InputError: another process holds it.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
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


def clear(folder: Path) -> None:
    """Removes an overwritten run's files, and nothing else."""
    for name in (LAST, BEST, SUMMARY, HISTORY, SAMPLES, CURVE):
        (folder / name).unlink(missing_ok=True)


def cut_history(folder: Path, epochs: int) -> None:
    """Drops the rows after `epochs` from history.csv: those of an epoch that was not saved."""
    path = folder / HISTORY
    if path.exists():
        with open(path, newline="") as file:
            rows = list(csv.reader(file))
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(rows[: epochs + 1])
