"""A program that lists the contents of an HDF5 file, with limits on its time and memory.

    python hdf5_child.py SIZE NAMES < FILE        prints JSON, see `listing`

The HDF5 library is written in C: a few wrong bytes can make it loop forever, fill the memory or
crash. Then only this process ends, and `safe_hdf5`, which started it, reports that.
"""

import base64
import codecs
import contextlib
import faulthandler
import io
import json
import os
import signal
import sys

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o

HAS_LIMITS = hasattr(signal, "setitimer")  # not on Windows
SECONDS = 2.0  # of processor time; 10,000 names took 0.7 to 1.2
MEMORY = 48 * 2**20  # bytes, in addition to Python, the libraries and the file
PATIENCE = 60  # seconds of wall-clock time
MAX_DEPTH = 20  # of groups within groups
MAX_PATH = 1000  # characters of a name, including its groups
MAX_TEXTS = 20_000  # in all attributes
MAX_CHARACTERS = 2**23  # of all these texts


class Refused(Exception):
    """An HDF5 file is not a weights file."""


def listing(file: h5py.File, most: int) -> dict:
    """Lists all arrays and groups of a file without reading the arrays.

    Args:
        most: limit on the number of names.

    Returns:
        arrays: a list of [path, type, shape, offset in the file, bytes stored there, how it is
            stored if not in one piece, its bytes in base64 if they are stored in its header].
        groups: {path: {attribute: its texts, or a description of its type if it is not a text}}.
    """
    found = {"arrays": [], "groups": {"": _attributes(file.id, most)}}
    _walk(file.id, "", found, set(), most)
    return found


def _walk(group, path, found, seen, most):
    """Lists everything below a group, with low-level calls: they take a quarter of the time."""
    for name in group:
        place = path + name.decode("utf-8", "surrogateescape")
        if len(seen) >= most or path.count("/") > MAX_DEPTH:
            raise Refused(f"expected {most} names at most, {MAX_DEPTH} deep, found more")
        if len(place) > MAX_PATH:
            raise Refused(f"expected names of {MAX_PATH} characters at most, found {len(place)}")
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise Refused(f"expected arrays in the file itself, found a link at {place!r}")
        item = h5o.open(group, name)
        address = h5o.get_info(item).addr
        if address in seen:  # a group may even be its own member
            raise Refused(f"expected one name for each object, found a second one, {place!r}")
        seen.add(address)
        if isinstance(item, h5d.DatasetID):
            found["arrays"].append(_array(place, item))
        elif isinstance(item, h5g.GroupID):
            found["groups"][place] = _attributes(item, most)
            _walk(item, f"{place}/", found, seen, most)


def _array(path, dataset):
    dtype, shape = dataset.dtype, dataset.shape  # shape is None if the array has no dataspace
    kept, at = dataset.get_storage_size(), dataset.get_offset()
    how, inline = "", None
    created = dataset.get_create_plist()
    if created.get_external_count() or created.get_layout() == h5d.VIRTUAL:
        how = "elsewhere"
    elif created.get_layout() == h5d.CHUNKED or created.get_nfilters():
        how = "in chunks or with a filter"
    elif created.get_layout() == h5d.COMPACT and dtype.kind in "fiu":
        inline = base64.b64encode(h5py.Dataset(dataset)[()].tobytes()).decode()
    is_number = dtype.kind in "fiu" and dtype.itemsize <= 8
    kind = dtype.str if is_number else f"{dtype!s:.40}"
    return [path, kind, shape, at, kept, how, inline]


def _attributes(group, most):
    count = h5py.h5a.get_num_attrs(group)
    if not count:
        return {}
    if count > most:
        raise Refused(f"expected {most} attributes of a group at most, found {count}")
    attributes = h5py.Group(group).attrs
    return {name: _texts(attributes, name) for name in attributes}


def _texts(attributes, name):
    identity = attributes.get_id(name)
    if identity.shape == (0,):  # an empty list of names has numbers' type
        return []
    if not h5py.check_string_dtype(identity.dtype):  # HDF5 may crash on other lists
        return f"{identity.dtype!s:.40}"
    values = np.atleast_1d(attributes[name])
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _check_texts(texts):
    count, size = len(texts), sum(map(len, texts))
    if count > MAX_TEXTS or size > MAX_CHARACTERS:
        raise Refused(
            f"expected {MAX_TEXTS} texts of {MAX_CHARACTERS} characters at most, found {count} of "
            f"{size}"
        )


def limit() -> None:
    """Limits this process to `SECONDS` and `MEMORY`, and forbids it to open files."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal kills even inside the library
    with contextlib.suppress(FileNotFoundError):  # on macOS, which does not enforce such a limit
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    codecs.lookup("ascii")  # h5py needs it, and Python loads it from a file at first use
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # open files stay open


def answer(data: bytes, most: int) -> bytes:
    """Returns the output: the listing, or the reason why there is none."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found = listing(file, most)
        _check_texts([t for group in found["groups"].values() for a in group.values() for t in a])
        return json.dumps(found).encode()
    except Refused as error:
        found = {"refused": str(error)}
    except MemoryError:
        found = {
            "refused": f"expected a file that is read with {MEMORY >> 20} MB of memory in addition "
            "to its size, found one that takes more"
        }
    except Exception as error:  # h5py raises nearly every kind on damaged data
        why = f"{error!s:.200}" if isinstance(error, (OSError, ValueError, RuntimeError)) else ""
        found = {"refused": f"expected a whole HDF5 file, found it damaged ({why or 'by h5py'})"}
    return json.dumps(found).encode()


def main() -> None:
    """Lists the file on standard input."""
    size, most = map(int, sys.argv[1:])
    data = sys.stdin.buffer.read(size)
    if HAS_LIMITS:
        signal.alarm(PATIENCE)
        limit()
    else:  # this ends the process without waiting for Python
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
    sys.stdout.buffer.write(answer(data, most))


if __name__ == "__main__":
    main()
