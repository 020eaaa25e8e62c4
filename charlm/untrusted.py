"""Files that nobody vouches for: bytes, arrays, texts. No link is followed, nothing is run."""

import contextlib
import io
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from safetensors import SafetensorError, deserialize

from charlm.errors import InputError

MAX_BYTES = 2 * 2**30  # of a file, and of what a zip unpacks to
MAX_NAMES = 10_000  # in one file
MAX_DEPTH = 20  # of groups within groups
MAX_HEADER = 2**23  # bytes of a .safetensors file's; a vocabulary of 100,000 characters takes 2 MB
MAX_PARTS = 300_000  # of JSON text, where a byte may make a hundred of objects
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
            message = f"expected {whole}, found it damaged ({error!r:.200})"
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


@contextlib.contextmanager
def hdf5(
    data: bytes, most: int | None = None
) -> Iterator[tuple[h5py.File, dict[str, h5py.Dataset]]]:
    """An HDF5 file held in memory, and all its datasets by path, none of them read yet.

    Args:
        most: names, `MAX_NAMES` by default.

    Raises:
        InputError: links, an object of several names, too many names.
    """
    with h5py.File(io.BytesIO(data), "r") as file:
        yield file, _walked(file, "", {}, set(), most or MAX_NAMES)


def check_size(what, size, cap):
    if size > cap:
        raise InputError(f"expected {what} of {cap} bytes at most, found {size}")


def check_parts(what, text):
    """Refuses JSON that would take far more memory than its text."""
    parts = sum(text.count(c) for c in b",[{")
    if parts > MAX_PARTS:
        raise InputError(f"expected {what} of {MAX_PARTS} parts at most, found {parts}")


def member(archive, name, cap):
    if name not in archive.namelist():
        raise InputError(f"expected {name} in the zip, as in a .keras file, found none")
    check_size(name, archive.getinfo(name).file_size, cap)  # zipfile unpacks no more than declared
    return archive.read(name)


def _walked(group, path, found, seen, most):
    for name in group:
        place = f"{path}{name}"
        if len(seen) >= most or path.count("/") > MAX_DEPTH:
            raise InputError(f"expected {most} names at most, {MAX_DEPTH} deep, found more")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"expected arrays in the file itself, found a link at {place!r}")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:  # a group may even be its own member
            raise InputError(f"expected a name for each object, found a second at {place!r}")
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            found[place] = item
        elif isinstance(item, h5py.Group):
            _walked(item, f"{place}/", found, seen, most)
    return found


def groups(file: h5py.File) -> list[str]:
    """The paths of all groups in a file that `hdf5` has walked: no links, a bounded number."""
    found = []
    file.visititems(lambda path, item: found.append((path, isinstance(item, h5py.Group))))
    return [path for path, is_group in found if is_group]


def declared_bytes(dataset):
    return math.prod(dataset.shape or ()) * dataset.dtype.itemsize  # h5py's `nbytes` may overflow


def stored(dataset, data):
    """A dataset's array, all of which `data` holds, in one piece and as it is.

    Nothing is copied: it lies in `data`, where nobody can change it.
    """
    name, declared = dataset.name, declared_bytes(dataset)
    if dataset.external or dataset.is_virtual:
        raise InputError(f"expected arrays in the file itself, found {name!r} stored elsewhere")
    kept = dataset.id.get_storage_size()
    pieces = dataset.chunks or dataset.id.get_create_plist().get_nfilters()
    if pieces or kept != declared:
        raise InputError(
            f"expected {name!r} stored as it is, {declared} bytes in one piece, found {kept} bytes"
            f"{' in chunks or with a filter' if pieces else ''}; save it without compression"
        )
    at = dataset.id.get_offset()
    if at is None:  # small enough to lie in the description of itself
        return dataset[()]
    count = math.prod(dataset.shape)
    return np.frombuffer(data, dataset.dtype, count, at).reshape(dataset.shape)


def numbers(dataset, data):
    """A dataset's finite numbers, float32."""
    name, dtype = dataset.name, dataset.dtype
    if dtype.kind != "f" or dtype.itemsize > 8 or dataset.shape is None:
        raise InputError(f"expected float16, float32 or float64 in {name!r}, found {dtype}")
    with np.errstate(over="ignore"):  # a float64 too large becomes infinite and is refused
        array = stored(dataset, data).astype(np.float32)
    check_finite(array, name)
    return array


def check_finite(array, name):
    if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
        raise InputError(
            f"expected finite numbers in {name!r}, found NaN or infinity, {bad} of {array.size}"
        )


def texts(item, attribute):
    """The text or texts of an attribute, [] if it is not there."""
    if attribute not in item.attrs:
        return []
    identity = item.attrs.get_id(attribute)
    if identity.shape == (0,):  # an empty list of names has numbers' type
        return []
    if not h5py.check_string_dtype(identity.dtype):  # HDF5 itself may crash on other lists
        raise InputError(f"expected text in the attribute {attribute!r}, found {identity.dtype}")
    values = np.atleast_1d(item.attrs[attribute])
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def names(group, attribute):
    """A list of names, which Keras splits into attribute0, attribute1 ... when it is long."""
    keys = [attribute]
    if attribute not in group.attrs:
        keys = [f"{attribute}{k}" for k in range(len(group.attrs))]
    return [text for key in keys for text in texts(group, key)]


def tensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A .safetensors file's arrays, finite and float32, and the texts in its header.

    Raises:
        InputError: damaged, too large a header, other types of numbers, NaN.
    """
    size = int.from_bytes(data[:8], "little")
    check_size("a header", size, MAX_HEADER)
    header = data[8 : 8 + size]
    check_parts("a header", header)
    if (count := header.count(b"{")) > MAX_NAMES:
        raise InputError(f"expected {MAX_NAMES} names at most, found {count}")
    try:  # which checks that the arrays fill the rest of the file, each in a place of its own
        found = deserialize(data)
    except SafetensorError as error:
        raise InputError(
            f"expected a whole .safetensors file, found it damaged ({error!s:.200})"
        ) from error
    metadata = json.loads(header).get("__metadata__") or {}
    return {name: _floats(name[:100], tensor) for name, tensor in found}, metadata


def _floats(name, tensor):
    kind, data = tensor["dtype"], tensor["data"]
    if kind == "BF16":  # the upper half of a float32
        array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in FLOATS:
        with np.errstate(over="ignore"):  # a float64 too large becomes infinite and is refused
            array = np.frombuffer(data, FLOATS[kind]).astype(np.float32, copy=False)
    else:
        raise InputError(f"expected F16, BF16, F32 or F64 in {name!r}, found {kind}")
    check_finite(array, name)
    return array.reshape(tensor["shape"])
