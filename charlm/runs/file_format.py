"""The bytes of a `.weights.h5` file: arrays as Keras stores them, and the group `charlm`.

    layers/lstm/cell/vars/0 ...     the network, where `keras.Model.load_weights` looks for it
    charlm/optimizer/0 ...          the optimizer's variables, in order
    charlm/carried/0 ...            the states of the training streams
    charlm/metrics/0 ...            Keras's running means within an epoch; empty between epochs
    charlm/meta                     JSON text: format, config, vocabulary, progress, versions, and
                                    the type, shape and place in the file of every array
    charlm/checksum                 MARK, then the SHA-256 of the whole file with zeros in place of
                                    the digest, then the place and the length of charlm/meta

A file holds only arrays and text, and reading one never runs code from it. h5py writes the file,
so Keras and other programs can read it. charlm itself takes the arrays from the places in
charlm/meta, so the HDF5 library never parses an untrusted file in this process.

Format 4 differs from format 3 in the description only: its vocabulary may be an object that
describes tokens, where format 3 has a string of characters; and it may have contexts, whose rows
follow those of the ids in the first kernel. Older formats do not store the places of the arrays and
are read with `safe_hdf5`. Format 2 has OLD_MARK, and no place of charlm/meta after the checksum.
Format 1 has no checksum and no metrics; its progress holds the sum of the epoch's losses so far.
"""

import hashlib
import io
import json
import struct
from dataclasses import replace

import numpy as np

from charlm.errors import InputError
from charlm.runs import safe_hdf5, untrusted
from charlm.runs.safe_hdf5 import Array

FORMAT = 4  # of runs with tokens or contexts; others are saved in format 3
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5
MARK = b"\x89charlm-places\r\n"  # not text, and sixteen bytes that no array is likely to have
OLD_MARK = b"\x89charlm-sha256\r\n"
DIGEST = hashlib.sha256().digest_size
PLACE = struct.Struct("<QQ")  # of the description: its first byte, its length
MAX_META = 6 * 2**20  # bytes of the description: 20,000 epochs, and some 200,000 characters


def to_bytes(meta: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Builds a file.

    Args:
        meta: the description of the run, for JSON; the places of the arrays are added to it.
        arrays: by their path in the file.
    """
    import h5py  # imported here because it takes 0.1 s, and reading does not need it

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        places = {}
        for name, value in arrays.items():
            file[name] = value
            places[name] = [value.dtype.str, value.shape, file[name].id.get_offset()]
        text = json.dumps(meta | {"arrays": places}, ensure_ascii=True).encode()
        file["charlm/meta"] = np.frombuffer(text, np.uint8)
        place = PLACE.pack(file["charlm/meta"].id.get_offset(), len(text))
        file["charlm/checksum"] = np.frombuffer(MARK + bytes(DIGEST) + place, np.uint8)
    return with_checksum(buffer.getvalue())


def with_checksum(data: bytes) -> bytes:
    """Returns `data` with its checksum corrected."""
    at = max(data.rfind(MARK), data.rfind(OLD_MARK)) + len(MARK)
    found = bytearray(data)
    found[at : at + DIGEST] = _digest(memoryview(data), at)
    return bytes(found)


def _digest(data, at):
    found = hashlib.sha256(data[:at])
    found.update(bytes(DIGEST))
    found.update(data[at + DIGEST :])
    return found.digest()


def parse(data: bytes) -> tuple[dict, dict[str, Array]]:
    """Lists what a file holds, after checking its checksum; may raise any exception on other data.

    Returns:
        The description, and the arrays by path, none of them read yet.
    """
    at = data.rfind(MARK)
    if at < 0:
        return _parse_older(data)
    _check_digest(data, at)
    meta = _description(data)
    if meta["format"] < 3:
        raise InputError("expected a whole weights file, found it damaged (its format)")
    return meta, {path: _listed(path, *place) for path, place in meta["arrays"].items()}


def _listed(path, dtype, shape, at):
    """An array as the description lists it."""
    numbers = [*shape, at]
    ok = all(type(n) is int and 0 <= n <= untrusted.MAX_BYTES for n in numbers)
    if not (ok and isinstance(dtype, str) and len(numbers) <= 3):  # two dimensions at most
        raise InputError("expected types, shapes and places of arrays, found something else")
    found = Array(path, dtype, tuple(shape), at, stored=0)
    return replace(found, stored=found.nbytes)


def _description(data):
    """The charlm/meta of a file of format 3."""
    begin, size = PLACE.unpack_from(data, data.rfind(MARK) + len(MARK) + DIGEST)
    untrusted.check_size("a description", size, MAX_META)
    return _meta(data[begin : begin + size])


def _check_digest(data, at):
    """Refuses a file if the checksum after the mark at `at` is wrong."""
    at += len(MARK)
    if data[at : at + DIGEST] != _digest(memoryview(data), at):
        raise InputError("expected a whole weights file, found it damaged (its checksum differs)")


def _parse_older(data):
    """Parses a file of format 1 or 2; refuses a file of another program."""
    at = data.rfind(OLD_MARK)
    if at >= 0:
        _check_digest(data, at)
    if not data.startswith(SIGNATURE):
        raise InputError(
            "expected a weights file of charlm, found no HDF5 file; charlm import reads the models "
            "of other programs"
        )
    arrays = safe_hdf5.read(data).arrays
    if "charlm/meta" not in arrays:
        raise InputError(
            "expected a weights file of charlm, found no group 'charlm' (vocabulary and "
            "settings) in it"
        )
    described = arrays.pop("charlm/meta")
    untrusted.check_size(described.name, described.nbytes, MAX_META)
    meta = _meta(read_array(described, data, "u1").tobytes())
    has_checksum = arrays.pop("charlm/checksum", None) is not None
    signed = at >= 0
    if meta["format"] > 2 or signed != has_checksum or signed != (meta["format"] == 2):
        raise InputError("expected a whole weights file, found it damaged (its checksum)")
    return meta, arrays


def _meta(text):
    if not text.isascii():  # one character beyond ASCII makes every string take four bytes each
        raise InputError("expected a description in ASCII, found other bytes")
    meta = untrusted.parsed_json("a description", text, MAX_META)
    version = meta["format"]
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise InputError(
            f"expected format {FORMAT} or older, found {version!r:.40}; a newer charlm wrote it"
        )
    return meta


def read_array(array: Array, data: bytes, *kinds: str) -> np.ndarray:
    """Returns an array of a file without copying it: it lies in `data`.

    Args:
        kinds: the types that are allowed, without their byte order, for example "f4". The byte
            order must be this machine's.

    Raises:
        InputError: the array has another type; see `safe_hdf5.stored`.
    """
    native = array.dtype[1:] in kinds and np.dtype(array.dtype).isnative
    if array.shape is None or not array.is_number or not native:
        raise InputError(f"expected {' or '.join(kinds)} in {array.name!r}, found {array.kind}")
    return safe_hdf5.stored(array, data)


def metrics_of_format_1(progress: dict, batch_size: int) -> list[np.float32]:
    """Converts the loss that format 1 stores into Keras's two metrics: a sum and its count.

    Args:
        progress: as stored; `loss_sum` is removed from it.
    """
    loss_sum = progress.pop("loss_sum", 0.0)
    if not progress["step"]:
        return []
    return [np.float32(loss_sum * batch_size), np.float32(progress["step"] * batch_size)]


def check_hdf5(data: bytes) -> None:
    """Refuses a file in which Keras would find other arrays than its description lists."""
    import h5py

    from charlm.runs.hdf5_child import listing

    with h5py.File(io.BytesIO(data), "r") as file:
        found = listing(file, untrusted.MAX_NAMES)["arrays"]
    found = {path: [kind, list(shape), at] for path, kind, shape, at, *_ in found}
    del found["charlm/meta"], found["charlm/checksum"]
    if found != _description(data)["arrays"]:
        raise InputError("expected HDF5 to hold the arrays of the description, found others")
