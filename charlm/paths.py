"""The cache folder: it and its files are used only if no other user can write them.

Files of the cache are trusted: Numba's contain machine code and pickles, and encoded texts are
trained on. So each file and folder of the cache must belong to this user. The folders above it and
the links on the way must belong to this user or to the system, and no other user may be able to
rename their entries (the sticky bit of /tmp prevents that). Then a checked path cannot be replaced.
"""

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from charlm import systems
from charlm.errors import InputError
from charlm.notes import note, step_of_progress

VARIABLE, XDG_VARIABLE = "CHARLM_CACHE", "XDG_CACHE_HOME"
# an access control list shows in the group's bits; on Windows these bits say nothing
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH if systems.HAS_OWNERS else 0
NO_LINK = systems.NO_LINK | systems.NO_WAIT | systems.BINARY
LOCK = "lock"
PATIENCE, SILENCE = 120.0, 2.0  # seconds to wait for work of another process; without a line
_said: set[str] = set()


class NotOursError(OSError):
    """A file or folder that another user may have written; `strerror` says why."""

    cure = ""
    """Advice for the user."""


def cache_folder() -> Path | None:
    """Returns CHARLM_CACHE, or charlm in XDG_CACHE_HOME or ~/.cache; None without a home folder.

    Raises:
        InputError: a variable names the home folder of a user who does not exist.
    """
    if given := _expanded(VARIABLE):
        return Path(given)
    _expanded(XDG_VARIABLE)  # refuses an unknown user's home
    base = os.environ.get(XDG_VARIABLE, "")
    if not os.path.isabs(base):  # the XDG specification ignores relative paths, and ~ is one
        base = os.path.expanduser("~/.cache")
    return Path(base, "charlm") if os.path.isabs(base) else None


def _expanded(variable):
    value = os.environ.get(variable, "")
    path = os.path.expanduser(value)
    if path.startswith("~"):
        raise InputError(
            f"expected a folder in {variable}, found {value!r}, and {value.split('/')[0]} has no "
            "home folder; give the whole path"
        )
    return path


def cache(*inner: str) -> Path:
    """Returns the cache folder, or a folder in it; creates it if it is missing.

    Args:
        inner: names of folders, each in the one before it.

    Raises:
        NotOursError: another user can write in it or replace it.
        OSError: it does not exist and cannot be created.
    """
    folder = cache_folder()
    if folder is None:
        raise OSError(errno.ENOENT, "no home folder")
    _make_way(folder.absolute())
    _check_folder(folder)
    for name in inner:
        folder = folder / name
        _make(folder)
        _check_folder(folder, systems.NO_LINK)
    return folder


def usable_cache(*inner: str, say: Callable[[str], object] | None = None) -> Path | None:
    """Returns `cache`, or None after a message if another user can write in it.

    Args:
        inner: see `cache`.
        say: prints the message, once in a process; None for standard error.

    Raises:
        OSError: it does not exist and cannot be created.
    """
    try:
        return cache(*inner)
    except NotOursError as error:
        say_once(
            f"NOTE: the cache folder {cache_folder()} is not used, and compiled code and encoded "
            f"texts are not kept: {error.strerror}; {error.cure}",
            say,
        )
        return None


def say_once(line: str, say: Callable[[str], object] | None = None) -> None:
    """Prints a line once in this process; to standard error by default."""
    if line not in _said:
        _said.add(line)
        with suppress(OSError):
            (say or note)(line)


def opener(path: str, flags: int) -> int:
    """Opens a file of the cache; for the argument `opener` of `open`.

    Follows no link, does not wait at a FIFO, and makes new files readable by this user only. The
    mode must not truncate, because the file is checked after opening ("x" makes a new one).

    Raises:
        NotOursError: it is not a regular file, or another user may have written it.
    """
    try:
        number = os.open(path, flags | NO_LINK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotOursError(errno.ELOOP, "it is a symbolic link", path) from None
        raise
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise NotOursError(errno.EPERM, "it is no regular file", path)
        _check_owner_and_mode(about, path, "it", "it")
    except OSError:
        os.close(number)
        raise
    return number


@contextmanager
def locked(folder: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Keeps other processes from writing in a folder of the cache.

    Args:
        folder: the folder.
        waiting: called before waiting for another process that holds the lock.
    """
    # it is neither read nor written, so it need not be checked
    number = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | NO_LINK, 0o600)
    try:
        systems.lock(number, waiting)
        yield
    finally:
        systems.unlock(number)
        os.close(number)


@contextmanager
def in_turn(path: Path, what: str) -> Iterator[None]:
    """Lets processes do the same work one after the other, so that others find it done.

    If that is not possible, or takes very long, they do it at the same time.

    Args:
        path: of a file for the lock, in a folder of the cache.
        what: the work, for a message.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # some file systems have no locks
            number = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o600)
            stack.callback(os.close, number)
            _wait_for(number, what)
            stack.callback(systems.unlock, number)
        yield


def _wait_for(number, what):
    began = time.monotonic()
    while not systems.try_lock(number) and time.monotonic() < began + PATIENCE:
        if time.monotonic() > began + SILENCE:
            say_once(f"waiting for another process, which {what}", step_of_progress)
        time.sleep(systems.PAUSE)


def _make(path):
    """Makes a folder that only this user can enter."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _check_folder(path, flags=0):
    if not systems.HAS_OPEN_FOLDERS:
        if not os.path.isdir(path) or (os.path.islink(path) and flags):
            raise _not_ours(path, f"{path} is no folder (a link, or a file)")
        return
    try:
        number = os.open(path, os.O_RDONLY | systems.FOLDER | flags)
    except OSError as error:
        if flags and error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _not_ours(path, f"{path} is no folder (a link, or a file)") from None
        raise
    try:
        _check_owner_and_mode(os.fstat(number), path, path, f"in {path}")
    finally:
        os.close(number)


def _check_owner_and_mode(about, path, what, where):
    if not systems.is_own(about):
        raise _not_ours(path, f"{what} belongs to {_user(about.st_uid)}, not to you")
    if about.st_mode & OTHERS_WRITE:
        raise _not_ours(path, f"others can write {where} ({_mode(about)})", about)


def _make_way(path):
    """Makes the missing folders on the way to an absolute path, each in a checked one.

    Raises:
        NotOursError: another user could replace one of them.
    """
    if not systems.HAS_OWNERS:
        return path.mkdir(parents=True, exist_ok=True)
    # the owner of / can replace Python itself; in a container it may be another user than root
    system = {os.geteuid(), 0, os.stat("/").st_uid}
    for step in _steps(path):
        if not os.path.lexists(step):
            _make(step)
        about = os.lstat(step)
        if about.st_uid not in system:
            raise _not_ours(step, f"{step} belongs to {_user(about.st_uid)}, who could replace it")
        link = stat.S_ISLNK(about.st_mode)
        if link and not os.path.exists(step):  # dangling, to an unmounted disk, or circular
            raise FileNotFoundError(errno.ENOENT, "a link leads to nothing", str(step))
        if not link and about.st_mode & OTHERS_WRITE and not about.st_mode & stat.S_ISVTX:
            raise _not_ours(step, f"others can write in {step} ({_mode(about)})", about)


def _steps(path: Path) -> Iterator[Path]:
    """Yields each folder and link on the way to an absolute path, from / on, following links."""
    here, left = Path("/"), [*reversed(path.parts)]
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        yield step
        if step.is_symlink():
            left += reversed(Path(os.readlink(step)).parts)
        else:
            here = step


def _not_ours(path, why, about=None):
    """Makes the error.

    Args:
        path: the file or folder.
        why: the reason.
        about: its status, if only its mode is wrong.
    """
    error = NotOursError(errno.EPERM, why, str(path))
    error.cure = f"name another folder by {VARIABLE}"
    if about is not None and systems.is_own(about):
        error.cure = f"chmod go-w {shlex.quote(str(path))}, or {error.cure}"
    return error


def _user(number):
    with suppress(KeyError):
        import pwd  # not on Windows

        return f"{pwd.getpwuid(number).pw_name} (user {number})"
    return f"user {number}"


def _mode(about):
    return f"mode {stat.S_IMODE(about.st_mode):04o}"
