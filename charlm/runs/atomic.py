"""Writes files atomically: at any moment a file is either the old one or the new one, complete.

A file is written under a temporary name in the same folder, forced to disk and renamed; then its
folder is forced to disk. A symbolic link at the file's path is never followed: the file replaces
the link, and the link's target does not change. Links among the folders above it are followed,
because the user chooses the folders.

Locks and samples.txt, which grows, are changed in place. `own_file` opens them, and only if they
are regular files without a second name.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from charlm import systems

TOKEN = secrets.token_hex(4)  # processes that write the same file use different temporary names
MAX_NAME = 255  # bytes of a file's name, on most file systems
NEW, NEW_PRIVATE = 0o666, 0o600  # permissions of new files, less the umask
NOT_OWN = {
    errno.ELOOP: "it is a symbolic link",
    errno.EISDIR: "it is a folder",
    errno.ENXIO: "it is not a regular file",
}


class NotOwnError(OSError):
    """A file must not be changed in place: it is a link, has a second name or is not regular."""


def write(path: Path, data: bytes, like: Path | None = None) -> None:
    """Writes `data` to `path`, which holds the old file or the whole new one at any moment.

    Args:
        path: of the file; a symbolic link there is replaced by the file.
        like: a file whose permissions a new file gets, if it exists. An overwritten file keeps its
            own.

    Raises:
        OSError: writing failed and the file is unchanged; or the file is the new one, but a power
            failure may undo the change, because its folder could not be forced to disk.
    """
    with prepared(path, data, like) as place:
        place()


def try_write(
    path: Path, data: bytes, say: Callable[[str], object], like: Path | None = None
) -> bool:
    """Calls `write`, reports a failure instead of raising it, and returns whether it wrote."""
    try:
        write(path, data, like)
    except OSError as error:
        say(f"NOT SAVED: {path} ({error.strerror or error}); continuing without it")
        return False
    return True


@contextlib.contextmanager
def prepared(path: Path, data: bytes, like: Path | None = None) -> Iterator[Callable[[], None]]:
    """Writes `data` to a temporary file next to `path` and forces it to disk: half of `write`.

    Yields:
        A function that renames the file to `path`. If it is not called, nothing changes.
    """
    path = Path(path)
    temporary = _temporary(path.name)
    with contextlib.ExitStack() as stack:
        with _naming(path):
            folder = stack.enter_context(systems.opened_folder(path.parent))
            made = systems.name_in(folder, path.parent, temporary)
            stack.callback(_discard, folder, made)
            _create(folder, made, data, _model(path, like))

        def place():
            with _naming(path):
                _place(folder, made, systems.name_in(folder, path.parent, path.name))

        yield place


def move(made: Path, path: Path) -> None:
    """Moves a file or folder that another library wrote to `path`, and forces it to disk.

    Args:
        made: the file or folder, on the same file system.
        path: a file there is replaced and passes on its permissions; a folder must be empty.

    Raises:
        OSError: see `write`.
    """
    with _naming(path), systems.opened_folder(path.parent) as folder:
        if model := _model(path, None):
            with systems.opened(made, systems.NO_LINK) as descriptor:
                _permit(descriptor, model)
        sync_tree(made)
        os.replace(made, systems.name_in(folder, path.parent, path.name), dst_dir_fd=folder)
        systems.sync(folder)


def make_folder(folder: Path) -> None:
    """Creates a folder and its missing parents, and forces their names to disk."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to disk."""
    with systems.opened_folder(folder) as descriptor:
        systems.sync(descriptor)


def sync_tree(path: Path) -> None:
    """Forces a file, or a folder with everything in it, to disk."""
    for part in (*path.rglob("*"), path):
        if systems.HAS_OPEN_FOLDERS or not part.is_dir():
            with systems.opened(part, systems.NO_LINK | systems.TO_SYNC) as descriptor:
                os.fsync(descriptor)


def unfinished(folder: Path, names: Iterable[str]) -> list[str]:
    """Returns the temporary files that a killed process left when it wrote these `names`."""
    listed = "|".join(map(re.escape, names))
    form = re.compile(rf"\.({listed})(\.[0-9a-f]{{8}})?\.tmp")  # earlier versions had no token
    return [name for name in os.listdir(folder) if form.fullmatch(name)]


@contextlib.contextmanager
def own_file(path: Path, flags: int, like: Path | None = None) -> Iterator[int]:
    """Opens a file to change it in place, without following a link or waiting for a pipe.

    Args:
        flags: of `os.open`.
        like: see `write`.

    Yields:
        Its descriptor.

    Raises:
        NotOwnError: it is a link, has a second name (a hard link), or is not a regular file.
        OSError: it cannot be opened.
    """
    flags |= systems.NO_LINK | systems.NO_WAIT | systems.BINARY
    model = _model(like, None) if like else None
    try:
        descriptor = os.open(path, flags, NEW if model is None else stat.S_IMODE(model.st_mode))
    except OSError as error:
        if error.errno not in NOT_OWN:
            raise
        raise NotOwnError(error.errno, NOT_OWN[error.errno], str(path)) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotOwnError(errno.ENXIO, NOT_OWN[errno.ENXIO], str(path))
        if found.st_nlink != 1:
            raise NotOwnError(errno.EMLINK, "it is a hard link to another file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data` to an open file."""
    rest = memoryview(data)
    while rest:
        written = os.write(descriptor, rest)  # Python repeats the call after an EINTR
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[written:]


def _temporary(name):
    if len(os.fsencode(name)) > MAX_NAME - len(f"..{TOKEN}.tmp"):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.{TOKEN}.tmp"


@contextlib.contextmanager
def _naming(path):
    """Makes errors name the file to be written, not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename == str(path):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _model(path, like):
    """Returns the status of the regular file whose permissions are kept, if there is one."""
    for candidate in (path, like):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(candidate) if candidate else None
            if found and stat.S_ISREG(found.st_mode):
                return found
    return None


def _discard(folder, temporary):
    with contextlib.suppress(OSError):  # it was renamed, or the error that led here says more
        os.unlink(temporary, dir_fd=folder)


def _create(folder, temporary, data, model):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)  # left by an earlier save that could not remove it
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | systems.NO_LINK | systems.BINARY
    mode = NEW if model is None else NEW_PRIVATE  # until it gets its permissions
    descriptor = os.open(temporary, flags, mode, dir_fd=folder)
    try:
        write_all(descriptor, data)
        if model is not None:
            _permit(descriptor, model)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _permit(descriptor, model):
    """Gives an open file the permissions and the group of another file."""
    if not systems.HAS_OWNERS:
        return
    mode = stat.S_IMODE(model.st_mode) & 0o777
    if os.fstat(descriptor).st_gid != model.st_gid:
        try:
            os.fchown(descriptor, -1, model.st_gid)
        except PermissionError:
            mode &= ~0o070  # they were meant for the other group
    os.fchmod(descriptor, mode)


def _place(folder, temporary, name):
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(found) or stat.S_ISLNK(found) or stat.S_ISDIR(found)):
            raise OSError(errno.EINVAL, "it is a pipe or a device")
    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    systems.sync(folder)
