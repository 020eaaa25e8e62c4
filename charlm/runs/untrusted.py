"""Reads untrusted files with limits on their size; never runs anything from them."""

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
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from charlm import systems
from charlm.errors import InputError, in_words

MAX_BYTES = 2 * 2**30  # of a file
MAX_NAMES = 5000  # in one file; a run of 64 layers has a thousand
MAX_UNPACKED = 2**25  # bytes of a compressed member of a zip
MAX_MEMBERS = 2**21  # bytes of a zip's list of members
MAX_JSON = 2**22  # bytes; the JSON of a model has thousands
MEMBER = b"PK\x01\x02"  # starts each entry of a zip's list of members
MAX_HEADER = 2**23  # bytes, in a .safetensors file; a vocabulary of 100,000 characters takes 2 MB
MAX_PARTS = 300_000  # of JSON text; a part of a few bytes may take a hundred in memory
OBJECT = 4  # parts that an object counts as, even an empty one
PIECE = 2**20  # numbers that are checked at a time
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}  # and BF16, which NumPy lacks


@contextlib.contextmanager
def refusals(path: Path, whole: str) -> Iterator[None]:
    """Turns every exception into an `InputError` of one line that names the file.

    Args:
        path: of the file, for messages.
        whole: what an undamaged file would be, for messages.
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
    """Reads a regular file.

    Args:
        what: what the file should be, for messages.
        most: limit in bytes, `MAX_BYTES` by default.

    Raises:
        InputError: there is no such file, it is not regular, or it is too large.
    """
    try:  # without waiting, because opening a named pipe without a writer would wait forever
        descriptor = os.open(path, os.O_RDONLY | systems.NO_WAIT | systems.BINARY)
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror}") from error
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


def check_size(what: str, size: int, cap: int) -> None:
    """Raises InputError if `size` bytes are more than `cap`."""
    if size > cap:
        raise InputError(f"expected {what} of {cap} bytes at most, found {size}")


def parsed_json(what: str, text: bytes | str, most: int = MAX_JSON, **options: Any) -> Any:
    """Parses JSON text of a limited size.

    Args:
        what: what the text is, for messages.
        most: limit in bytes or characters.
        options: of `json.loads`.

    Raises:
        InputError: it is too large, or has so many parts that they would take far more memory than
            the text.
        ValueError, RecursionError: it is not JSON.
    """
    check_size(what, len(text), most)
    marks: Any = ",[{" if isinstance(text, str) else b",[{"
    comma, bracket, brace = marks
    parts = text.count(comma) + text.count(bracket) + OBJECT * text.count(brace)
    if parts > MAX_PARTS:
        raise InputError(f"expected {what} of {MAX_PARTS} parts at most, found {parts}")
    return json.loads(text, **options)


class Zip:
    """The members of a zip file; reads only members that are small or not compressed.

    Args:
        data: the bytes of the file.

    Raises:
        InputError, zipfile.BadZipFile: it is damaged, or has too many members or too long a list.
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
        """Returns the bytes of a member.

        Raises:
            InputError: there is no such member, or it has more than `most` bytes; it is neither
                stored nor deflated; it is deflated and has more than `MAX_UNPACKED` bytes.
        """
        if name not in self.names:
            raise InputError(f"expected {name} in the zip, as in a .keras file, found none")
        about = self._archive.getinfo(name)
        check_size(name, about.file_size, most)
        if about.compress_type == zipfile.ZIP_STORED:
            return self._stored(about)
        if about.compress_type != zipfile.ZIP_DEFLATED:  # `zipfile` unpacks only it in parts
            names = zipfile.compressor_names  # type: ignore[attr-defined]  # not documented
            how = names.get(about.compress_type, about.compress_type)
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
            return file.read(about.file_size)  # `zipfile.ZipFile.read` might read more

    def _stored(self, about):
        """Returns the part of the file that holds an uncompressed member."""
        at = about.header_offset
        lengths = struct.unpack_from("<HH", self._data, at + 26)  # of the name, the extra field
        found = self._data[at + 30 + sum(lengths) :][: about.file_size]
        if len(found) < about.file_size or zlib.crc32(found) != about.CRC:
            raise InputError(f"expected {about.filename} whole, found it damaged")
        return found


class _Bounded(io.BytesIO):
    """Bytes of a zip file, from which `zipfile` cannot read more than `most` at a time."""

    most = MAX_MEMBERS

    def read(self, size=-1):
        check_size("a zip's list of members", size, self.most)
        return super().read(size)


def check_finite(array: np.ndarray, name: str) -> None:
    """Raises InputError if a number is not finite in float32; needs little extra memory."""
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
    """Reads a .safetensors file.

    Returns:
        Its arrays, finite and as float32, and the texts in its header.

    Raises:
        InputError: it is damaged, its header is too large, or numbers are of other types or NaN.
    """
    size = int.from_bytes(data[:8], "little")
    check_size("a header", size, MAX_HEADER)
    header = data[8 : 8 + size]
    metadata = parsed_json("a header", header, MAX_HEADER).get("__metadata__") or {}
    if (count := header.count(b"{")) > MAX_NAMES:
        raise InputError(f"expected {MAX_NAMES} names at most, found {count}")
    try:  # also checks that the arrays fill the rest of the file without overlap
        found = deserialize(data)
    except SafetensorError as error:
        raise InputError(
            f"expected a whole .safetensors file, found it damaged ({error!s:.200})"
        ) from error
    for name, tensor in found:  # check all arrays before converting any, which takes more memory
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
    """Converts bfloat16, given as the upper two bytes of float32, to float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
