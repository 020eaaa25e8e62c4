"""Reads untrusted HDF5 files without parsing them in this process.

A few wrong bytes can make the HDF5 library loop forever, fill the memory or crash. So another
process, with limits on time and memory, lists the contents of a file (`hdf5_child`). This process
checks each place in the list and takes the arrays from the file's bytes there.
"""

import base64
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from charlm.errors import InputError
from charlm.runs import untrusted

CHILD = Path(__file__).with_name("hdf5_child.py")
MAX_LIST = 2**24  # bytes of JSON; 5000 names take one million
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # no threads in a process that multiplies nothing
    "HDF5_PLUGIN_PRELOAD": "::",  # loads no filters from other folders
}
Attributes = dict[str, list[str] | str]


@dataclass(frozen=True)
class Array:
    """An array in a file, not read yet."""

    name: str
    dtype: str
    """NumPy's name, for example "<f4"; a description for anything but real numbers."""
    shape: tuple[int, ...] | None
    """None if the array has no dataspace."""
    at: int | None
    """Offset of its first byte in the file; None if its bytes are elsewhere."""
    stored: int
    """Bytes stored there."""
    how: str = ""
    """Why its bytes cannot be taken as they are: "elsewhere" or "in chunks or with a filter"."""
    inline: str | None = None
    """Its bytes in base64, if they are stored in its header."""

    @property
    def kind(self) -> str:
        """The type, for messages: "float32", "no space" ..."""
        if self.shape is None:
            return "no space"
        return np.dtype(self.dtype).name if self.is_number else self.dtype[:40]

    @property
    def nbytes(self) -> int:
        """Bytes that the array takes in memory; 0 if it has no numbers."""
        itemsize = np.dtype(self.dtype).itemsize if self.is_number else 0
        return math.prod(self.shape or ()) * itemsize

    @property
    def is_number(self) -> bool:
        """Whether `dtype` is a type of integers or floats."""
        return re.fullmatch(r"[<>|](f[248]|[iu][1248])", self.dtype) is not None


@dataclass(frozen=True)
class Listing:
    """The contents of an HDF5 file."""

    arrays: dict[str, Array]
    """By path."""
    groups: dict[str, Attributes] = field(default_factory=dict)
    """Attributes of each group by its path, "" for the file: texts, or the type if not a text."""


def read(data: bytes | memoryview) -> Listing:
    """Lists the contents of a file, in another process.

    Args:
        data: the bytes of the file.

    Raises:
        InputError: it is damaged; it has links, an object with several names or too many names; the
            HDF5 library crashes on it or needs more time or memory than for any weights file.
    """
    try:
        code, text = run_child(data, untrusted.MAX_NAMES)
    except OSError as error:
        raise InputError(f"cannot run {sys.executable}: {error.strerror}") from error
    ended = signal.Signals(-code).name if code < 0 else ""
    if ended == "SIGALRM":
        raise InputError("cannot list an HDF5 file: it took too long; try again")
    if ended:
        why = f"the HDF5 library crashed: {ended}"
        if ended == "SIGPROF":
            why = "the HDF5 library did not finish within two seconds"
        raise InputError(f"expected a whole HDF5 file, found it damaged ({why})")
    untrusted.check_size("a list of names", len(text), MAX_LIST)
    if code or not text:
        raise InputError(
            f"cannot list an HDF5 file: {sys.executable} with h5py ended with exit code {code}; "
            f"does `{sys.executable} -c 'import h5py'` work?"
        )
    found = json.loads(text)
    if "refused" in found:
        raise InputError(found["refused"])
    arrays = {}
    for name, dtype, shape, *rest in found["arrays"]:
        arrays[name] = Array(name, dtype, None if shape is None else tuple(shape), *rest)
    return Listing(arrays, found["groups"])


def run_child(data: bytes | memoryview, most: int) -> tuple[int, bytes]:
    """Runs `hdf5_child`; returns its exit code, as in `subprocess`, and its output."""
    command = [sys.executable, "-P", str(CHILD), str(len(data)), str(most)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ENVIRONMENT,
        process_group=0,  # Ctrl-C goes to this process only, which ends the child
    ) as child:
        stdin: Any = child.stdin
        stdout: Any = child.stdout
        try:
            with suppress(BrokenPipeError):  # the exit code says why
                stdin.write(data)
                stdin.close()
            text = stdout.read(MAX_LIST + 1)
            stdout.close()
            return child.wait(), text
        except BaseException:
            child.kill()
            raise


def stored(array: Array, data: bytes | memoryview) -> np.ndarray:
    """Returns an array of numbers that is stored in one piece and without compression.

    It is a read-only view of `data`, not a copy.

    Raises:
        InputError: it is stored in another way, or is incomplete.
    """
    name, declared = array.name, array.nbytes
    if array.how == "elsewhere":
        raise InputError(f"expected arrays in the file itself, found {name!r} stored elsewhere")
    if array.how or array.stored != declared:
        raise InputError(
            f"expected {name!r} stored as it is, {declared} bytes in one piece, found "
            f"{array.stored} bytes {array.how}; save it without compression"
        )
    at = array.at or 0  # an empty array has no offset
    if array.inline is not None:
        data = base64.b64decode(array.inline)
    if not 0 <= at <= len(data) - declared:
        raise InputError(f"expected {name!r} within the file, found it at {at}")
    numbers = np.frombuffer(data, array.dtype, math.prod(array.shape or ()), at)
    return numbers.reshape(array.shape)


def numbers(array: Array, data: bytes | memoryview) -> np.ndarray:
    """Returns an array of floats in its stored type, after checking that they are finite.

    Raises:
        InputError: it has another type, NaN or infinity; see `stored`.
    """
    if not array.is_number or array.dtype[1] != "f" or array.shape is None:
        raise InputError(
            f"expected float16, float32 or float64 in {array.name!r}, found {array.kind}"
        )
    found = stored(array, data)
    untrusted.check_finite(found, array.name)
    return found


def texts(attributes: Attributes, name: str) -> list[str]:
    """Returns the texts of an attribute, [] if there is no such attribute.

    Raises:
        InputError: it has another type.
    """
    found = attributes.get(name, [])
    if isinstance(found, str):
        raise InputError(f"expected text in the attribute {name!r}, found {found}")
    return found


def names(attributes: Attributes, name: str) -> list[str]:
    """Returns a list of distinct names, which Keras splits into name0, name1 ... if it is long.

    Raises:
        InputError: a name occurs twice; see `texts`.
    """
    keys: Iterable[str] = [name]
    if name not in attributes:
        keys = takewhile(attributes.__contains__, (f"{name}{k}" for k in count()))
    found = [text for key in keys for text in texts(attributes, key)]
    if len(set(found)) < len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise InputError(f"expected each name once in {name!r}, found {twice[:60]!r} twice")
    return found
