"""Finds a run by its name, and the weights file to read from it."""

import contextlib
import os
import shlex
import stat
from pathlib import Path

from charlm.errors import InputError
from charlm.notes import note
from charlm.runs import checkpoint
from charlm.runs.checkpoint import Checkpoint
from charlm.text.contexts import listed

LAST, BEST = "last.weights.h5", "best.weights.h5"
RUNS_DIR = Path("saved_models")
LATEST = "latest"
SHIPPED = Path(__file__).resolve().parents[2] / RUNS_DIR / "state-union"
"""The trained run that comes with a checkout of charlm; an installed package has none."""


def find(runs: Path, run: str, or_shipped: bool = False) -> Path:
    """Returns the folder or weights file that `run` names: a path, a name in `runs`, or "latest".

    The name of the run that comes with charlm, "state-union", finds it from everywhere.

    Args:
        runs: the folder of runs.
        run: what the user typed.
        or_shipped: whether "latest" is the run that comes with charlm, with a note, if there is
            none in `RUNS_DIR`.

    Raises:
        InputError: there is no such run.
    """
    if run == LATEST:
        return _latest(runs, or_shipped)
    paths = (Path(run), runs / run, *([SHIPPED] if run == SHIPPED.name else []))
    for path in paths:
        if os.path.isfile(path) or is_run(path):
            return path
    folders = [path for path in paths if os.path.isdir(path)]
    if any(not os.access(path, os.X_OK) for path in folders):
        what = "which you have no permission to enter"
    elif folders:
        what = "which has no weights in it"
    elif any(os.path.lexists(path) for path in paths):
        what = "which is not a regular file"
    else:
        what = "which does not exist"
    raise InputError(
        f"expected a run folder or a .weights.h5 file, found {shlex.quote(run)}, {what}"
    )


def _latest(runs, or_shipped):
    """Returns the run whose weights were saved last; ignores everything else in the folder."""
    try:
        saved = {runs / name: _saved_at(runs / name) for name in os.listdir(runs)}
    except OSError:
        saved = {}
    saved = {
        folder: time
        for folder, time in saved.items()
        if time is not None and folder.resolve() != SHIPPED  # a checkout makes its file new
    }
    if not saved and or_shipped and runs == RUNS_DIR and is_run(SHIPPED):
        note(f"NOTE: no run in {runs}; using the one that comes with charlm, {SHIPPED.name}")
        return SHIPPED
    if not saved:
        raise InputError(f"expected a run in {runs}, found none; python -m charlm.train makes one")
    return max(saved, key=saved.__getitem__)


def is_run(folder: Path) -> bool:
    """Returns whether a run has saved weights in the folder."""
    return _saved_at(folder) is not None


def _saved_at(folder):
    """Returns when the folder's weights were saved, None if it has none."""
    found = []
    for name in (LAST, BEST):
        with contextlib.suppress(OSError, ValueError):  # a broken link or a loop of links
            about = os.stat(folder / name)
            found += [about.st_mtime_ns] if stat.S_ISREG(about.st_mode) else []
    return max(found, default=None)


def is_shipped(path: Path) -> bool:
    """Returns whether a weights file is the one that comes with charlm."""
    return path.parent.resolve() == SHIPPED


def weights_file(path: Path, prefer: tuple[str, ...]) -> Path:
    """Returns `path` if it is a file, else the first of the names `prefer` that the folder has.

    The result may be a folder or a pipe with that name; reading it raises InputError.
    """
    if os.path.isfile(path):  # unlike Path.is_file, it returns False if the name is too long
        return path
    return next((path / name for name in prefer if os.path.exists(path / name)), path / prefer[0])


def read_best(runs: Path, run: str, context: str | None = None) -> tuple[Path, Checkpoint]:
    """Reads the run that `run` names: its best weights, or the last if it has no best.

    A run that is conditioned on contexts is returned as one without, see `Checkpoint.in_context`.

    Args:
        runs, run: see `find`.
        context: the name of its context; None for the mean of all.

    Returns:
        The weights file, and what it holds.

    Raises:
        InputError: see `find`, `checkpoint.read`, `Checkpoint.in_context`.
    """
    path, saved = read_with_contexts(runs, run)
    if saved.contexts and context is None:
        note_mean(saved)
    return path, saved.in_context(context)


def note_mean(saved: Checkpoint) -> None:
    """Reports that a run's contexts are left out, on standard error."""
    names = saved.contexts.names if saved.contexts else ()
    note(
        "NOTE: using the mean of the run's contexts; commands with --context NAME can use one: "
        f"{listed(names)}"
    )


def read_with_contexts(runs: Path, run: str) -> tuple[Path, Checkpoint]:
    """Reads what `read_best` reads, with the rows of all contexts."""
    path = weights_file(find(runs, run, or_shipped=True), (BEST, LAST))
    return path, checkpoint.read(path)
