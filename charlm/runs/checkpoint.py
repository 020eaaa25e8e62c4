"""One `.weights.h5` file holds all of a run: weights as Keras has them, and the group `charlm`.

    layers/lstm/cell/vars/0 ...     the network, where `keras.Model.load_weights` looks for it
    charlm/optimizer/0 ...          the optimizer's variables, in order
    charlm/carried/0 ...            the training streams' states
    charlm/metrics/0 ...            Keras's running means of the epoch begun, empty between epochs
    charlm/meta                     JSON text: format, config, vocabulary, progress, versions, and
                                    the type, shape and place in the file of every array
    charlm/checksum                 MARK, the SHA-256 of the whole file with zeros in its place, the
                                    place and the length of charlm/meta

Only arrays and text are stored, and nothing in a file is ever run. h5py writes the file, so that
Keras and other programs can read it. charlm itself takes the arrays from the places that the
description gives, so that no file from a stranger is parsed by the HDF5 library in this process.

A file is not trusted: names, shapes and types that are not a run's, arrays that it does not hold,
numbers that are not finite, a checksum that differs are refused before anything is used.

Older formats do not say where the arrays are, and are read by `safe_hdf5`. Format 2 had OLD_MARK
and no place of the description after the checksum. Format 1 had no metrics (but the epoch's loss
so far in its progress) and no checksum.
"""

import hashlib
import io
import json
import math
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from charlm.config import Config
from charlm.errors import InputError
from charlm.reference import network
from charlm.runs import atomic, safe_hdf5, untrusted
from charlm.text.vocab import Vocab

FORMAT = 3
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5
MARK = b"\x89charlm-places\r\n"  # not text, and sixteen bytes that no array is likely to have
OLD_MARK = b"\x89charlm-sha256\r\n"
DIGEST = hashlib.sha256().digest_size
PLACE = struct.Struct("<QQ")  # of the description: its first byte, its length
MAX_META = 6 * 2**20  # bytes of the description: 20,000 epochs, and some 200,000 characters
ARRAY_META = 100  # bytes of it for each array
EPOCH_META = 220  # bytes of it for each epoch
ROW = {"epoch", "bpc", "val_bpc"}  # what is asked of each row of history
GROUPS = "optimizer", "carried", "metrics"


class NotFiniteError(ValueError):
    """Numbers that must not be saved."""


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Windows done of the epoch begun, 0 between epochs."""
    best: float | None = None
    """Lowest validation loss, in nats a character."""
    best_epoch: int = 0
    stale_epochs: int = 0
    """Epochs since then."""
    history: list[dict] = field(default_factory=list)
    """A row an epoch, counted from 1, with what history.csv has of it."""
    samples_size: int | None = None
    """Bytes of samples.txt when this was saved, if known."""


@dataclass
class Checkpoint:
    """All of a run at one moment."""

    config: Config
    vocab: Vocab
    corpus_sha256: str
    progress: Progress
    weights: dict[str, np.ndarray]
    optimizer: list[np.ndarray]
    carried: list[np.ndarray]
    versions: dict[str, str]
    metrics: list[np.ndarray] = field(default_factory=list)
    learned_before: list[str] = field(default_factory=list)
    """SHA-256 of the corpora that the weights which the run began with had learned from."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them, by their path in a file."""
        found = dict(self.weights)
        for name in GROUPS:
            found |= {f"charlm/{name}/{k}": x for k, x in enumerate(getattr(self, name))}
        return found

    def to_network(self) -> network.Network:
        """The model, to step."""
        return network.Network(self.weights, len(self.vocab), self.config.model)

    def finite(self) -> bool:
        """Whether every number is finite."""
        return all(np.isfinite(x).all() for x in self.arrays().values() if x.dtype.kind == "f")

    def meta(self) -> dict:
        """All but the arrays, for JSON."""
        return {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "vocabulary": self.vocab.characters,
            "corpus_sha256": self.corpus_sha256,
            "learned_before": self.learned_before,
            "progress": self.progress.__dict__,
            "versions": self.versions,
        }


def write(path: Path, checkpoint: Checkpoint, like: Path | None = None) -> None:
    """Saves to `path`, which holds the old file or the whole new one at any moment.

    Args:
        like: a file whose permissions a new file gets, if it exists.

    Raises:
        NotFiniteError, OSError: see `verified`, `atomic.write`.
    """
    atomic.write(path, to_verified_bytes(checkpoint), like)


def to_verified_bytes(checkpoint: Checkpoint) -> bytes:
    """`to_bytes`, read back and found to be what went in.

    Raises:
        NotFiniteError: numbers that are not finite.
        OSError: it reads back as something else, or is too large to be read.
    """
    if not checkpoint.finite():
        raise NotFiniteError("expected finite weights to save, found NaN or infinity")
    try:
        data = to_bytes(checkpoint)
        untrusted.check_size("a file", len(data), untrusted.MAX_BYTES)
        again = from_bytes(data)
        _check_hdf5(data)
    except Exception as error:  # h5py raises nearly every kind
        raise OSError(f"expected to read back what is to be saved, found: {error}") from error
    mine, read_back = checkpoint.arrays(), again.arrays()
    same = json.dumps(again.meta()) == json.dumps(checkpoint.meta())
    same = same and mine.keys() == read_back.keys()
    if not (same and all(_equal(x, read_back[name]) for name, x in mine.items())):
        raise OSError("expected to read back what is to be saved, found something else")
    return data


def _equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _check_hdf5(data):
    """Refuses a file in which Keras would find other arrays than its description lists."""
    import h5py

    from charlm.runs.hdf5_child import listing

    with h5py.File(io.BytesIO(data), "r") as file:
        found = listing(file, untrusted.MAX_NAMES)["arrays"]
    found = {path: [kind, list(shape), at] for path, kind, shape, at, *_ in found}
    del found["charlm/meta"], found["charlm/checksum"]
    if found != _description(data)["arrays"]:
        raise InputError("expected HDF5 to hold the arrays of the description, found others")


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The file's contents."""
    import h5py  # here, for it takes a tenth of a second, and who only reads does without

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        places = {}
        for name, value in checkpoint.arrays().items():
            file[name] = value
            places[name] = [value.dtype.str, value.shape, file[name].id.get_offset()]
        text = json.dumps(checkpoint.meta() | {"arrays": places}, ensure_ascii=True).encode()
        file["charlm/meta"] = np.frombuffer(text, np.uint8)
        place = PLACE.pack(file["charlm/meta"].id.get_offset(), len(text))
        file["charlm/checksum"] = np.frombuffer(MARK + bytes(DIGEST) + place, np.uint8)
    return with_checksum(buffer.getvalue())


def with_checksum(data: bytes) -> bytes:
    """`data` with the right checksum in the place of the one it has."""
    at = max(data.rfind(MARK), data.rfind(OLD_MARK)) + len(MARK)
    found = bytearray(data)
    found[at : at + DIGEST] = _digest(memoryview(data), at)
    return bytes(found)


def _digest(data, at):
    found = hashlib.sha256(data[:at])
    found.update(bytes(DIGEST))
    found.update(data[at + DIGEST :])
    return found.digest()


def check_size_limits(config: Config, vocab: Vocab) -> None:
    """Raises InputError where a run's file would become too large to be read.

    It holds weights, Adam's two moments of each, and carried states; the description.
    """
    m, V = config.model, len(vocab)
    weights = sum(math.prod(s) for s in network.shapes(m, V).values())
    size = 4 * (3 * weights + 2 * m.layers * m.units * config.data.batch_size) + 2 * MAX_META
    if size > untrusted.MAX_BYTES:
        raise InputError(
            f"expected a model whose weights files have at most {untrusted.MAX_BYTES / 1e9:.1f} "
            f"GB, found one of {size / 1e9:.1f} GB (units {m.units}, layers {m.layers}, "
            f"vocabulary {V}); give fewer --units or other text"
        )
    described = len(json.dumps(vocab.characters)) + config.fit.epochs * EPOCH_META
    described += ARRAY_META * (3 * len(network.shapes(m, V)) + 2 * m.layers)
    if described > MAX_META - 10_000:
        raise InputError(
            f"expected a run whose description has at most {MAX_META / 1e6:.1f} MB, found "
            f"{described / 1e6:.1f} MB (vocabulary {V}, epochs {config.fit.epochs}); give fewer "
            "--epochs or other text"
        )


def read(path: Path) -> Checkpoint:
    """A checkpoint from a file of ours.

    Raises:
        InputError: no such file, not one of ours, damaged, made to deceive, or of a newer format.
    """
    with untrusted.refusals(path, "a whole weights file"):
        return from_bytes(untrusted.file_bytes(path))


def from_bytes(data: bytes) -> Checkpoint:
    """Parses what `to_bytes` makes; may raise any exception on other data."""
    at = data.rfind(MARK)
    if at < 0:
        return _older(data)
    _check_digest(data, at)
    meta = _description(data)
    if meta["format"] < 3:
        raise InputError("expected a whole weights file, found it damaged (its format)")
    arrays = {path: _listed(path, *place) for path, place in meta["arrays"].items()}
    return _checkpoint(meta, arrays, data)


def _listed(path, dtype, shape, at):
    """An array as the description lists it."""
    numbers = [*shape, at]
    ok = all(type(n) is int and 0 <= n <= untrusted.MAX_BYTES for n in numbers)
    if not (ok and isinstance(dtype, str) and len(numbers) <= 3):  # two dimensions at most
        raise InputError("expected types, shapes and places of arrays, found something else")
    found = safe_hdf5.Array(path, dtype, tuple(shape), at, stored=0)
    return replace(found, stored=found.nbytes)


def _description(data):
    """What a file of ours says of itself."""
    begin, size = PLACE.unpack_from(data, data.rfind(MARK) + len(MARK) + DIGEST)
    untrusted.check_size("a description", size, MAX_META)
    return _meta(data[begin : begin + size])


def _check_digest(data, at):
    """Refuses a file whose mark at `at` is followed by another checksum."""
    at += len(MARK)
    if data[at : at + DIGEST] != _digest(memoryview(data), at):
        raise InputError("expected a whole weights file, found it damaged (its checksum differs)")


def _older(data):
    """A file of format 1 or 2, or of none."""
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
    meta = _meta(_array(described, data, "u1").tobytes())
    has_checksum = arrays.pop("charlm/checksum", None) is not None
    signed = at >= 0
    if meta["format"] > 2 or signed != has_checksum or signed != (meta["format"] == 2):
        raise InputError("expected a whole weights file, found it damaged (its checksum)")
    return _checkpoint(meta, arrays, data)


def _meta(text):
    if not text.isascii():  # a single character beyond makes each of a string take four bytes
        raise InputError("expected a description in ASCII, found other bytes")
    meta = untrusted.parsed_json("a description", text, MAX_META)
    version = meta["format"]
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise InputError(
            f"expected format {FORMAT} or older, found {version!r:.40}; a newer charlm wrote it"
        )
    return meta


def _checkpoint(meta, arrays, data):
    config, vocab = Config.from_dict(meta["config"]), Vocab(meta["vocabulary"])
    if not len(vocab):
        raise InputError("expected a vocabulary, found it empty")
    expected = network.shapes(config.model, len(vocab))
    random = network.random_states(config.model) & set(arrays)  # as weights of Keras's have them
    expected |= dict.fromkeys(random, (2,))
    if odd := {path for path in arrays if not path.startswith("charlm/")} ^ set(expected):
        raise InputError(
            f"expected the weights of {config.model.cell} {config.model.layers} x "
            f"{config.model.units}, found others (they differ in {min(odd)!r})"
        )
    for path, shape in expected.items():
        if arrays[path].shape != shape:
            raise InputError(f"expected {path!r} of shape {shape}, found {arrays[path].shape}")
    # no array is read yet: names apart, several may lie in the same place
    untrusted.check_size("arrays", sum(x.nbytes for x in arrays.values()), len(data))
    integers = "i4", "i8", "u4", "u8"
    weights = {
        p: _array(arrays.pop(p), data, *(integers if p in random else ["f4"])) for p in expected
    }
    groups = {name: _numbered(name, arrays, data, "f4", *integers) for name in GROUPS}
    if arrays:
        raise InputError(f"expected the arrays of a run, found {min(arrays)!r} beside them")
    stored = dict(meta["progress"])
    if meta["format"] == 1:
        loss_sum, B = stored.pop("loss_sum", 0.0), config.data.batch_size
        if stored["step"]:  # Keras's sum, and its count of sequences
            groups["metrics"] = [np.float32(loss_sum * B), np.float32(stored["step"] * B)]
    before = meta.get("learned_before", [])  # files of before it have none
    texts = [meta["corpus_sha256"], *before, *meta["versions"], *meta["versions"].values()]
    if not (isinstance(before, list) and all(isinstance(x, str) for x in texts)):
        raise InputError("expected texts for the corpus and versions, found something else")
    found = Checkpoint(
        config=config,
        vocab=vocab,
        corpus_sha256=meta["corpus_sha256"],
        progress=_progress(stored),
        weights=weights,
        versions=meta["versions"],
        learned_before=before,
        **groups,
    )
    if not found.finite():
        bad = next(k for k, x in found.arrays().items() if not np.isfinite(x).all())
        raise InputError(f"expected finite numbers in {bad!r}, found NaN or infinity")
    # until here they lay in the file's bytes and took no memory of their own
    found.weights = {path: x.copy() for path, x in weights.items()}
    for name in GROUPS:
        setattr(found, name, [x.copy() for x in groups[name]])
    return found


def _progress(stored):
    """The stored progress, if its numbers fit each other."""
    p = Progress(**stored)
    counts = [p.epoch, p.step, p.best_epoch, p.stale_epochs]
    counts += [] if p.samples_size is None else [p.samples_size]
    values = [x for row in p.history for x in row.values()] + ([] if p.best is None else [p.best])
    ok = all(type(n) is int and n >= 0 for n in counts) and p.epoch == len(p.history)
    ok = ok and all(type(x) in (int, float) and math.isfinite(x) for x in values)
    ok = ok and [row["epoch"] for row in p.history] == [*range(1, p.epoch + 1)]
    ok = ok and all(row.keys() >= ROW for row in p.history)
    if not ok or p.best_epoch > p.epoch:
        raise InputError("expected the progress of a run, found numbers that contradict each other")
    return p


def _numbered(name, arrays, data, *kinds):
    """Takes the arrays charlm/name/0, charlm/name/1 ... out of `arrays`."""
    found = []
    while (path := f"charlm/{name}/{len(found)}") in arrays:
        found.append(_array(arrays.pop(path), data, *kinds))
    return found


def _array(array, data, *kinds):
    """The array in its place in `data`; of a type of these, in this machine's order of bytes."""
    native = array.dtype[1:] in kinds and np.dtype(array.dtype).isnative
    if array.shape is None or not array.is_number or not native:
        raise InputError(f"expected {' or '.join(kinds)} in {array.name!r}, found {array.kind}")
    return safe_hdf5.stored(array, data)
