"""A folder of texts that were encoded once, each in a file that is mapped and never read whole.

    ids                  of the text, in the smallest integers that hold them, little-endian
    JSON text            what they are of, their type and number
    its sha256 (32 bytes), its length (8), "charlm ids" (10), the format's version (4)

A file is described at its end, which is written last, and has its name only once it is on disk: so
what was interrupted, or found no room, is never taken for a whole one. One process at a time writes
in a folder; whoever reads need not wait.
"""

import contextlib
import errno
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charlm.errors import InputError

VARIABLE = "CHARLM_CACHE"
VERSION = 1
MAGIC = b"charlm ids"
END = struct.Struct("<32s Q 10s I")
LOCK, TEMPORARY = "lock", "unfinished"


def folder() -> Path | None:
    """CHARLM_CACHE, or charlm in XDG_CACHE_HOME or ~/.cache; None for a user without a home."""
    if given := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(given))
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # such does not count, by the XDG specification
        base = os.path.expanduser("~/.cache")
    return Path(base, "charlm") if os.path.isabs(base) else None


@contextlib.contextmanager
def held(say: Callable[[str], object]) -> Iterator[Path]:
    """The folder, to write in: made if need be, and no other process's until the end.

    Where it cannot be written in, a temporary one, which is gone at the end: what was mapped by
    then can still be read.

    Raises:
        InputError: CHARLM_CACHE names a folder that cannot be written in.
    """
    import fcntl

    path = folder()
    with contextlib.ExitStack() as stack:
        try:
            if path is None:
                raise OSError(errno.ENOENT, "no home folder")
            path.mkdir(0o700, parents=True, exist_ok=True)
            lock = stack.enter_context(open(path / LOCK, "a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process, which encodes a text into {path}")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if os.environ.get(VARIABLE):
                raise InputError(
                    f"expected to write in {path}, which {VARIABLE} names, found: {error.strerror}"
                ) from error
            say(
                f"NOTE: no folder to keep the encoded text in ({path or '~/.cache/charlm'}: "
                f"{error.strerror}), so it goes with this run; {VARIABLE} names another"
            )
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charlm-")))
        yield path


def read(
    path: Path, say: Callable[[str], object] = lambda text: None
) -> tuple[np.memmap, dict] | None:
    """The ids (n,) in a file, mapped, and what they are of; None if there is no such file.

    Nor if it is damaged, another program's or another version's: that is said.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < END.size:
                raise ValueError("it is too short")
            file.seek(size - END.size)
            digest, length, magic, version = END.unpack(file.read())
            if magic != MAGIC:
                raise ValueError("its end is missing or it is another program's")
            if version != VERSION:
                raise ValueError(f"it has version {version}, this is {VERSION}")
            file.seek(max(size - END.size - length, 0))
            data = file.read(length)
            if hashlib.sha256(data).digest() != digest:
                raise ValueError("its description is damaged")
            about = json.loads(data)
            dtype = np.dtype(about["dtype"])
            if size != about["count"] * dtype.itemsize + length + END.size:
                raise ValueError("its length is another than it says")
            return np.memmap(file, dtype, "r", shape=(about["count"],)), about
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
    say(f"NOTE: {path} is no whole file of encoded text ({reason}), so the text is encoded anew")
    return None


def write(
    path: Path, dtype: np.dtype, count: int, fill: Callable[[BinaryIO, np.dtype], dict]
) -> None:
    """Makes the file that `read` reads; for whoever holds the folder.

    Args:
        dtype: of the ids. count: n.
        fill: (file, dtype) -> what the ids are of, for JSON; it writes them to the file's first
            n places, in any order.

    Raises:
        OSError: no room, or the folder cannot be written in; no file is left.
    """
    dtype = dtype.newbyteorder("<")
    temporary = path.with_name(TEMPORARY)  # one writer a folder; a leftover is overwritten
    try:
        with open(temporary, "wb") as file:
            about = fill(file, dtype) | {"dtype": dtype.str, "count": count}
            data = json.dumps(about).encode()
            file.seek(count * dtype.itemsize)
            file.write(data)
            file.write(END.pack(hashlib.sha256(data).digest(), len(data), MAGIC, VERSION))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"expected to write {count * dtype.itemsize / 1e9:.1f} GB of encoded text in "
            f"{path.parent}, found: {error.strerror}; make room, or name another folder by "
            f"{VARIABLE}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def link(path: Path, name: str) -> None:
    """Gives the file `name` another name in its folder; for whoever holds it."""
    temporary = path.with_name(TEMPORARY)
    with contextlib.suppress(OSError):  # a file system without links: it is found by its content
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        os.replace(temporary, path)
