"""A cache of encoded texts, each in a memory-mapped file.

    ids                  of the text, in the smallest integers that hold them, little-endian
    JSON text            vocabulary, fingerprint and lengths; type and number of the ids; the CRC-32
                         of each block of them
    its sha256 (32 bytes), its length (8), "charlm ids" (10), the format's version (4)

The description is at the end of a file, is written last, and the file is renamed only once it is on
disk. So a file that was interrupted or did not fit on the disk is never taken for a complete one.
Ids are compared with their checksums when they are first read (`mapped_ids`). Only one process at a
time writes in a folder; readers do not wait. The cache uses only folders and files that no other
user can write (`charlm.paths`).
"""

import contextlib
import hashlib
import json
import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charlm import interrupt, paths, systems
from charlm.errors import InputError
from charlm.paths import VARIABLE
from charlm.text import mapped_ids
from charlm.text.mapped_ids import BLOCK, MappedIds, checksums, mapped

VERSION = 3  # version 1 had no checksums of the ids, version 2 no figures of the split
MAGIC = b"charlm ids"
END = struct.Struct("<32s Q 10s I")
TEMPORARY = "unfinished"
NAME = re.compile(r"[0-9a-f]{64}\.ids")


@contextlib.contextmanager
def held(say: Callable[[str], object]) -> Iterator[Path]:
    """Yields the cache folder, created if necessary and locked against other processes.

    If it cannot be written in, or another user can write in it, yields a temporary folder instead.
    That is deleted at the end; files in it that are mapped by then can still be read.

    Raises:
        InputError: CHARLM_CACHE names a folder that cannot be written in, or something else.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = paths.usable_cache(say=say)
            if path:
                busy = f"waiting for another process, which encodes a text into {path}"
                stack.enter_context(paths.locked(path, lambda: say(busy)))
        except OSError as error:
            path = _without(error, say)
        if path is None:
            temporary = tempfile.TemporaryDirectory(prefix="charlm-")
            path = Path(stack.enter_context(temporary))
            stack.enter_context(interrupt.before_leaving(temporary.cleanup))
        yield path


def _without(error, say):
    """Reports that there is no cache folder; raises InputError if the user has named it."""
    path = paths.cache_folder()
    if os.environ.get(VARIABLE):
        raise InputError(
            f"cannot write in {path}, which {VARIABLE} names: {error.strerror}"
        ) from error
    say(
        f"NOTE: no folder to keep the encoded text in ({path or '~/.cache/charlm'}: "
        f"{error.strerror}), so it is deleted when this run ends; {VARIABLE} names another"
    )


def find(name: str, say: Callable[[str], object]) -> tuple[MappedIds, dict] | None:
    """Reads the file that `link` gave this name, without waiting for a process that writes."""
    with contextlib.suppress(OSError):
        if folder := paths.usable_cache(say=say):
            return read_link(folder, name)
    return None


def read_link(folder: Path, name: str) -> tuple[MappedIds, dict] | None:
    """Reads the file that `link` gave this name; follows only links within the folder."""
    link = folder / name
    try:
        own, target = systems.is_own(os.lstat(link)), os.readlink(link)
    except OSError:
        return None
    return read(folder / target) if own and NAME.fullmatch(target) else None


def read(
    path: Path, say: Callable[[str], object] = lambda text: None
) -> tuple[MappedIds, dict] | None:
    """Maps the ids (n,) in a file, and reads their description.

    Returns:
        The ids and the description; None if there is no such file; None, with a message, if its
        description is damaged or it belongs to another user, program or version.
    """
    try:
        with open(path, "rb", opener=paths.opener) as file:
            return opened(file, path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
    say(f"NOTE: {path} is not a complete encoded text ({reason}); encoding the text again")
    return None


def opened(
    file: BinaryIO, path: Path, most: int | None = None, again: str = mapped_ids.AGAIN
) -> tuple[MappedIds, dict]:
    """Maps the ids of an open file, and reads its description.

    Args:
        file: the file.
        path: of the file, for messages.
        most, again: see `mapped_ids.mapped`.

    Raises:
        ValueError, KeyError, TypeError: it is not such a file, or its description is damaged.
    """
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
    dtype, count = np.dtype(about["dtype"]), about["count"]
    if dtype.kind != "u":
        raise ValueError(f"its ids are {dtype}")
    if size != count * dtype.itemsize + length + END.size:
        raise ValueError("its length is another than it says")
    sums = about.pop("crc32")
    if about.pop("block") != BLOCK or len(sums) != -(-count * dtype.itemsize // BLOCK):
        raise ValueError("its checksums are of other blocks")
    return mapped(np.memmap(file, dtype, "r", shape=(count,)), sums, path, most, again), about


def write(
    path: Path, dtype: np.dtype, count: int | None, fill: Callable[[BinaryIO, np.dtype], dict]
) -> None:
    """Writes a file for `read`; call it inside `held`.

    Args: see `write_to`.

    Raises:
        OSError: the disk is full or the folder cannot be written in; no file is left.
    """
    temporary = path.with_name(TEMPORARY)  # one writer per folder; a leftover is replaced
    try:
        write_to(temporary, path, dtype, count, fill, paths.opener)
    except OSError as error:
        raise OSError(
            f"cannot write {_size(count, dtype)}encoded text in {path.parent}: "
            f"{error.strerror}; make room, or name another folder by {VARIABLE}"
        ) from error


def write_to(
    temporary: Path,
    path: Path,
    dtype: np.dtype,
    count: int | None,
    fill: Callable[[BinaryIO, np.dtype], dict],
    opener: Callable[[str, int], int] | None = None,
) -> None:
    """Writes a file for `opened`.

    Args:
        temporary: its name until it is complete; a file of this name is replaced.
        path: its name.
        dtype: of the ids.
        count: n; None if it is not known before they are written.
        fill: (file, dtype) -> description, for JSON; it writes the n ids to the start of the file,
            in any order.
        opener: see `open`.

    Raises:
        OSError: the disk is full or the folder cannot be written in; no file is left.
    """
    dtype = dtype.newbyteorder("<")
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "x+b", opener=opener) as file:
            about = fill(file, dtype)
            if count is None:
                count = file.seek(0, os.SEEK_END) // dtype.itemsize
            size = count * dtype.itemsize
            about |= {"dtype": dtype.str, "count": count}
            data = json.dumps(about | {"block": BLOCK, "crc32": checksums(file, size)}).encode()
            file.seek(size)
            file.write(data)
            file.write(END.pack(hashlib.sha256(data).digest(), len(data), MAGIC, VERSION))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _size(count, dtype):
    return "" if count is None else f"{count * dtype.itemsize / 1e9:.1f} GB of "


def link(path: Path, name: str) -> None:
    """Gives the file `name` the second name `path` in its folder; call it inside `held`."""
    temporary = path.with_name(TEMPORARY)
    with contextlib.suppress(OSError):  # without links, the file is found by its content
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        os.replace(temporary, path)
