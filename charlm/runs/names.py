"""Names and places for the folders of new runs."""

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from charlm import systems
from charlm.errors import InputError
from charlm.runs.lookup import LATEST

MAX_NAME = 200  # bytes


def check_name(name: str, runs: Path) -> None:
    """Raises InputError unless a folder of this name can be created in `runs`."""
    ok = name not in ("", ".", "..", LATEST) and Path(name).name == name
    ok = ok and systems.is_file_name(name)
    if not ok or re.search(r"[\x00-\x1f\x7f]", name) or len(os.fsencode(name)) > MAX_NAME:
        raise InputError(
            f"expected --name to be the name of a folder in {runs}, of at most {MAX_NAME} bytes "
            f"and without control characters, and not {LATEST!r}, found {name!r}"
        )


def check_folder(runs: Path) -> None:
    """Raises InputError unless `runs` is a writable folder or can be created."""
    nearest = next((path for path in (runs, *runs.parents) if os.path.lexists(path)), Path())
    if not (os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(
            f"expected --runs-dir to be a writable folder or a new one, found {nearest}, which is "
            f"{'not writable' if os.path.isdir(nearest) else 'not a folder'}"
        )


def check_places(folder: Path, files: Iterable[str]) -> None:
    """Raises InputError if a folder or a pipe has the name of one of a run's files."""
    for name in files:
        with contextlib.suppress(OSError):
            mode = os.lstat(folder / name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
                raise InputError(
                    f"expected a file or nothing at {folder / name}, found {found}; move it away"
                )
