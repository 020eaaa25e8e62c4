"""Files that nobody vouches for: bytes, arrays, texts. No link is followed, nothing is run."""

import contextlib
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from charlm.errors import InputError, in_words

MAX_BYTES = 2 * 2**30  # of a file
MAX_NAMES = 5000  # in one file; a run of 64 layers has a thousand
MAX_UNPACKED = 2**25  # bytes of a zip's member that is compressed
MAX_MEMBERS = 2**21  # bytes of a zip's list of its members
MAX_JSON = 2**22  # bytes; a model's description has thousands
MEMBER = b"PK\x01\x02"  # begins each entry in a zip's list of members
MAX_HEADER = 2**23  # bytes of a .safetensors file's; a vocabulary of 100,000 characters takes 2 MB
MAX_PARTS = 300_000  # of JSON text; a few bytes of it may take a hundred in memory
OBJECT = 4  # parts that the smallest object counts for
PIECE = 2**20  # numbers that are looked at together
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}  # and BF16, which NumPy lacks


@contextlib.contextmanager
def refusals(path: Path, whole: str) -> Iterator[None]:
    """Whatever reading a file raises, as an `InputError` of one line that names it.

    Args:
        whole: what an undamaged file would have been.
    """
    try:
        yield
    except Exception as error:  # h5py, zipfile and json raise nearly every kind on damaged data
        if isinstance(error, InputError):
            message = str(error)
        else:
            message = f"expected {whole}, found it damaged ({in_words(error):.200})"
        raise InputError(" ".join(f"{path}: {message}".split())) from error


def file_bytes(path: Path, what: str = "a file of weights", most: int | None = None) -> bytes:
    """All of a regular file, read once.

    Args:
        what: it should be, for messages.
        most: bytes, `MAX_BYTES` by default.

    Raises:
        InputError: there is none, or too large a one.
    """
    try:  # not to wait: a named pipe without a writer would hold `open` for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"expected {what}, found: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise InputError(f"expected {what}, found {found}")
        check_size("a file", status.st_size, most or MAX_BYTES)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def check_size(what, size, cap):
    if size > cap:
        raise InputError(f"expected {what} of {cap} bytes at most, found {size}")


def parsed_json(what: str, text: bytes | str, most: int = MAX_JSON, **options):
    """JSON text of a bounded size, as Python's objects.

    Args:
        what: it is, for messages. most: its bytes or characters. options: of `json.loads`.

    Raises:
        InputError: it is larger, or has so many parts that they would take far more memory than
            the text.
        ValueError, RecursionError: it is no JSON.
    """
    check_size(what, len(text), most)
    comma, bracket, brace = ",[{" if isinstance(text, str) else b",[{"
    parts = text.count(comma) + text.count(bracket) + OBJECT * text.count(brace)
    if parts > MAX_PARTS:
        raise InputError(f"expected {what} of {MAX_PARTS} parts at most, found {parts}")
    return json.loads(text, **options)


class Zip:
    """The members of a zip file, each read once it is known to be small or to lie there as it is.

    Args:
        data: all bytes of the file.

    Raises:
        InputError, zipfile.BadZipFile: too many members, too large a list of them; damaged.
    """

    def __init__(self, data: bytes):
        if (count := data.count(MEMBER)) > MAX_NAMES:
            raise InputError(f"expected {MAX_NAMES} members of a zip at most, found {count}")
        self._data = memoryview(data)
        file = _Bounded(data)
        self._archive = zipfile.ZipFile(file)
        file.most = MAX_UNPACKED
        self.names = self._archive.namelist()

    def read(self, name: str, most: int) -> bytes | memoryview:
        """A member's bytes.

        Raises:
            InputError: no such member, or more than `most` bytes; neither stored nor deflated;
                deflated and more than `MAX_UNPACKED` bytes.
        """
        if name not in self.names:
            raise InputError(f"expected {name} in the zip, as in a .keras file, found none")
        about = self._archive.getinfo(name)
        check_size(name, about.file_size, most)
        if about.compress_type == zipfile.ZIP_STORED:
            return self._stored(about)
        if about.compress_type != zipfile.ZIP_DEFLATED:  # of which alone parts are unpacked
            how = zipfile.compressor_names.get(about.compress_type, about.compress_type)
            raise InputError(
                f"expected {name} stored as it is or deflated, found it compressed by {how}; unzip "
                "the file and zip it again without compression (zip -0)"
            )
        if about.file_size > MAX_UNPACKED:
            raise InputError(
                f"expected at most {MAX_UNPACKED} bytes of {name} compressed, found "
                f"{about.file_size}; unzip the file and zip it again without compression (zip -0)"
            )
        with self._archive.open(about) as file:
            return file.read(about.file_size)  # no more, as `zipfile.ZipFile.read` might

    def _stored(self, about):
        """The part of the file that the member is."""
        at = about.header_offset
        lengths = struct.unpack_from("<HH", self._data, at + 26)  # of the name and what follows it
        found = self._data[at + 30 + sum(lengths) :][: about.file_size]
        if len(found) < about.file_size or zlib.crc32(found) != about.CRC:
            raise InputError(f"expected {about.filename} whole, found it damaged")
        return found


class _Bounded(io.BytesIO):
    """A zip file of which `zipfile` reads no more than `most` bytes at once."""

    most = MAX_MEMBERS

    def read(self, size=-1):
        check_size("a zip's list of members", size, self.most)
        return super().read(size)


def check_finite(array, name):
    """Refuses numbers that are not finite in float32, in parts that take little memory."""
    if array.dtype.kind != "f":
        return
    flat, bad = array.reshape(-1), 0
    for at in range(0, flat.size, PIECE):
        with np.errstate(over="ignore"):  # a float64 too large becomes infinite
            piece = flat[at : at + PIECE].astype(np.float32)
        bad += piece.size - int(np.isfinite(piece).sum())
    if bad:
        raise InputError(
            f"expected finite numbers in {name!r}, found NaN or infinity, {bad} of {array.size}"
        )


def tensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A .safetensors file's arrays, finite and float32, and the texts in its header.

    Raises:
        InputError: damaged, too large a header, other types of numbers, NaN.
    """
    size = int.from_bytes(data[:8], "little")
    check_size("a header", size, MAX_HEADER)
    header = data[8 : 8 + size]
    metadata = parsed_json("a header", header, MAX_HEADER).get("__metadata__") or {}
    if (count := header.count(b"{")) > MAX_NAMES:
        raise InputError(f"expected {MAX_NAMES} names at most, found {count}")
    try:  # which checks that the arrays fill the rest of the file, each in a place of its own
        found = deserialize(data)
    except SafetensorError as error:
        raise InputError(
            f"expected a whole .safetensors file, found it damaged ({error!s:.200})"
        ) from error
    for name, tensor in found:  # all, before any takes more memory than in the file
        _check_floats(name[:100], tensor)
    return {name: _floats(tensor) for name, tensor in found}, metadata


def _check_floats(name, tensor):
    kind, data = tensor["dtype"], tensor["data"]
    if kind in FLOATS:
        check_finite(np.frombuffer(data, FLOATS[kind]), name)
    elif kind == "BF16":
        halves = np.frombuffer(data, "<u2")
        for at in range(0, halves.size, PIECE):
            check_finite(_from_bfloat16(halves[at : at + PIECE]), name)
    else:
        raise InputError(f"expected F16, BF16, F32 or F64 in {name!r}, found {kind}")


def _floats(tensor):
    kind, data = tensor["dtype"], tensor["data"]
    if kind == "BF16":
        array = _from_bfloat16(np.frombuffer(data, "<u2"))
    else:
        array = np.frombuffer(data, FLOATS[kind]).astype(np.float32, copy=False)
    return array.reshape(tensor["shape"])


def _from_bfloat16(halves):
    """Float32 of the upper halves of their bytes."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
