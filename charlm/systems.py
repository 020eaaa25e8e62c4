"""Differences between operating systems: Windows has no `fcntl`, no owners and no open folders.

All other modules use these names, so that they can be imported, and mostly work, on Windows. There
the folders of a user's profile are closed to other users, and charlm relies on that instead of
checking owners and modes.
"""

import contextlib
import errno
import importlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IS_WINDOWS = os.name == "nt"
HAS_OWNERS = hasattr(os, "geteuid")  # and modes, which say who may write
HAS_OPEN_FOLDERS = hasattr(os, "O_DIRECTORY")  # a folder can be opened, and forced to disk
BINARY = getattr(os, "O_BINARY", 0)  # else Windows writes \r\n for \n
FOLDER = getattr(os, "O_DIRECTORY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # at a FIFO
TO_SYNC = os.O_RDONLY if HAS_OPEN_FOLDERS else os.O_RDWR  # Windows forces only these to disk
LOCKED_BYTE = 2**30  # Windows locks bytes, and nobody could read what is at the start of the file
NO_NAME = re.compile(
    r'.*[<>:"/\\|?*\0-\x1f].*|.*[. ]|(con|prn|aux|nul|con(in|out)\$|(com|lpt)[1-9¹²³]) *(\..*)?',
    re.I | re.S,
)
PAUSE = 0.1  # seconds between two attempts to lock


def try_lock(descriptor: int) -> bool:
    """Locks an open file until it is closed; returns False if another process has locked it."""
    try:
        import fcntl
    except ImportError:
        return _lock_byte(descriptor, "LK_NBLCK")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int, waiting: Callable[[], object] = lambda: None) -> None:
    """Locks an open file, after another process has closed it.

    Args:
        descriptor: of the file.
        waiting: called before waiting.
    """
    if try_lock(descriptor):
        return
    waiting()
    try:
        import fcntl
    except ImportError:
        while not try_lock(descriptor):
            time.sleep(PAUSE)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def unlock(descriptor: int) -> None:
    """Releases the lock of a file that is about to be closed.

    Closing releases it, too, but on Windows some time later, and elsewhere only when processes that
    were forked meanwhile have closed it.
    """
    try:
        import fcntl
    except ImportError:
        _lock_byte(descriptor, "LK_UNLCK")
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lock_byte(descriptor, how):
    """Locks or unlocks a byte behind the end of a file; returns whether that was possible."""
    msvcrt: Any = importlib.import_module("msvcrt")
    at = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, getattr(msvcrt, how), 1)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EDEADLK):
            raise
        return False
    finally:
        os.lseek(descriptor, at, os.SEEK_SET)
    return True


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Opens a file or folder with flags of `os.open`; yields its descriptor."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def opened_folder(path: Path) -> contextlib.AbstractContextManager[int | None]:
    """Opens a folder, for `name_in` and `sync`; yields None on Windows, which opens none."""
    return opened(path, FOLDER) if HAS_OPEN_FOLDERS else contextlib.nullcontext()


def name_in(folder: int | None, path: Path, name: str) -> str:
    """Returns how functions with a `dir_fd` find a name: in the open folder, or by its path."""
    return name if folder is not None else str(path / name)


def sync(folder: int | None) -> None:
    """Forces the names in an open folder to disk."""
    if folder is not None:
        os.fsync(folder)


def at_fork(**actions: Callable[[], object]) -> None:
    """Registers `os.register_at_fork`'s actions where processes can fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**actions)


def is_file_name(name: str) -> bool:
    """Whether a file may have this name. Windows keeps some characters and devices to itself."""
    return not (IS_WINDOWS and NO_NAME.fullmatch(name))


def is_own(status: os.stat_result) -> bool:
    """Whether a file belongs to this user; True where files have no owners."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
