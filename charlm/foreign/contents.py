"""What a file from a stranger holds: bytes, arrays, texts. No link is followed, nothing is run."""

import math
import os
import stat

import h5py
import numpy as np

from charlm.errors import InputError

MAX_BYTES = 2 * 2**30  # of a file, and of what a zip unpacks to
MAX_NAMES = 100_000  # in one file: a group may be its own member, and the walk would never end


def file_bytes(path):
    try:  # not to wait: a named pipe without a writer would hold `open` for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"expected a file of weights, found: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise InputError(f"expected a file of weights, found {found}")
        check_size("a file", status.st_size, MAX_BYTES)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)


def check_size(what, size, cap):
    if size > cap:
        raise InputError(f"expected {what} of {cap} bytes at most, found {size}")


def member(archive, name, cap):
    if name not in archive.namelist():
        raise InputError(f"expected {name} in the zip, as in a .keras file, found none")
    check_size(name, archive.getinfo(name).file_size, cap)  # zipfile unpacks no more than declared
    return archive.read(name)


def walked(group, path, found, count):
    """Adds every dataset below `group` to `found`, by path."""
    for name in group:
        count[0] += 1
        if count[0] > MAX_NAMES or path.count("/") > 20:
            raise InputError(f"expected {MAX_NAMES} names at most, 20 deep, found more")
        place = f"{path}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"expected arrays in the file itself, found a link at {place!r}")
        item = group[name]
        if isinstance(item, h5py.Dataset):
            found[place] = item
        elif isinstance(item, h5py.Group):
            walked(item, f"{place}/", found, count)
    return found


def declared_bytes(dataset):
    return math.prod(dataset.shape or ()) * dataset.dtype.itemsize  # h5py's `nbytes` may overflow


def numbers(dataset):
    """A dataset's numbers, float32, if the file itself holds them all as they are."""
    name, dtype, declared = dataset.name, dataset.dtype, declared_bytes(dataset)
    if dataset.external or dataset.is_virtual:
        raise InputError(f"expected arrays in the file itself, found {name!r} stored elsewhere")
    if dtype.kind != "f" or dtype.itemsize > 8 or dataset.shape is None:
        raise InputError(f"expected float16, float32 or float64 in {name!r}, found {dtype}")
    stored = dataset.id.get_storage_size()
    if dataset.id.get_create_plist().get_nfilters() or stored < declared:
        raise InputError(
            f"expected {name!r} stored as it is, {declared} bytes, found {stored} bytes or a "
            "filter; save it without compression"
        )
    with np.errstate(over="ignore"):  # a float64 too large becomes infinite and is refused
        array = dataset[()].astype(np.float32)
    if bad := int((~np.isfinite(array)).sum()):
        raise InputError(
            f"expected finite numbers in {name!r}, found NaN or infinity, {bad} of {array.size}"
        )
    return array


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
