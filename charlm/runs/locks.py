"""Locks of folders: one process holds a lock, and the system releases it if the process ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from charlm import systems
from charlm.errors import InputError
from charlm.runs import atomic

MOST_DIGITS = 20  # of a process ID


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock `path` of a folder; creates both if necessary.

    Raises:
        InputError: another process holds it, or the file is a link or not a regular file.
    """
    with contextlib.ExitStack() as stack:
        with _refusals(path):
            atomic.make_folder(path.parent)
            lock = stack.enter_context(atomic.own_file(path, os.O_RDWR | os.O_CREAT))
            _take(lock, path.parent)
            stack.callback(systems.unlock, lock)
        with contextlib.suppress(OSError):  # it only informs other processes who holds the lock
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
        yield


def check(path: Path) -> None:
    """Raises InputError if `held` would raise it now; creates nothing."""
    if os.path.lexists(path):
        with _refusals(path), atomic.own_file(path, os.O_RDWR) as lock:
            _take(lock, path.parent)
            systems.unlock(lock)


@contextlib.contextmanager
def _refusals(path):
    try:
        yield
    except atomic.NotOwnError as error:
        raise InputError(
            f"cannot use {path}: {error.strerror}; remove it if no other process writes in the "
            "folder"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write in {path.parent}: {error.strerror}") from error


def _take(lock, folder):
    """Takes the lock; raises InputError if another process holds it."""
    if not systems.try_lock(lock):
        raise InputError(
            f"expected {folder} to be free, found it in use by process {_holder(lock)}; wait "
            "for it to end"
        )


def _holder(lock):
    """Returns the process ID in the lock file, "unknown" if it holds something else."""
    os.lseek(lock, 0, os.SEEK_SET)
    found = os.read(lock, MOST_DIGITS + 1).strip()
    return found.decode() if found.isdigit() and len(found) <= MOST_DIGITS else "unknown"
