"""A checkpoint: a whole run at one moment, in one `.weights.h5` file that Keras can read.

`file_format` describes the file. Files are validated before anything is used: wrong names, shapes
or types, missing or extra arrays, numbers that are not finite and a wrong checksum are refused.
"""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm.cells import CONTEXT_SCALE
from charlm.config import Config, ModelConfig
from charlm.errors import CharlmError, InputError
from charlm.reference import network
from charlm.reference.contexts import ConditionedNetwork, in_context
from charlm.runs import atomic, description, file_format, untrusted
from charlm.runs.progress import Progress, read_progress
from charlm.text.contexts import KnownContexts
from charlm.text.vocab import Vocab

ARRAY_META, EPOCH_META = 100, 220  # bytes of the description for each array and each epoch
GROUPS = "optimizer", "carried", "metrics"
FLOAT, INTEGERS = ("f4",), ("i4", "i8", "u4", "u8")


class NotFiniteError(CharlmError):
    """Weights to save hold NaN or infinity."""


@dataclass
class Checkpoint:
    """A whole run at one moment."""

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
    """SHA-256 of the corpora that the run's initial weights were trained on."""
    contexts: KnownContexts | None = None
    """Contexts of the network: each has a row of the first kernel, after those of the ids."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all arrays by their path in a file."""
        found = dict(self.weights)
        for name in GROUPS:
            found |= {f"charlm/{name}/{k}": x for k, x in enumerate(getattr(self, name))}
        return found

    def to_network(self) -> network.Network:
        """Returns the model in NumPy."""
        if self.contexts is not None:
            return self.conditioned_network()
        return network.Network(self.weights, len(self.vocab), self.config.model)

    def in_context(self, name: str | None = None) -> "Checkpoint":
        """Returns a run without contexts, and without what resuming needs, for one context.

        Args:
            name: of the context; None if it is unknown, for the mean of all.

        Raises:
            InputError: there is no such context, or the run has none.
        """
        if self.contexts is None and name is None:
            return self
        number = 0 if name is None else self.required_contexts().number(name)
        data, model = replace(self.config.data, context=None), self.config.model
        plain = replace(model, context_scale=CONTEXT_SCALE)  # which has no use then
        config = replace(self.config, data=data, model=plain)
        weights = in_context(self.weights, model, len(self.vocab), number)
        none: Any = {group: [] for group in GROUPS}
        return replace(self, config=config, weights=weights, contexts=None, **none)

    def required_contexts(self) -> KnownContexts:
        """Returns the contexts; raises InputError if there are none."""
        if self.contexts is None:
            raise InputError(
                "expected a run with contexts, found one without; charlm train --context FIELD "
                "trains one"
            )
        return self.contexts

    def conditioned_network(self) -> ConditionedNetwork:
        """Returns the model in NumPy with its contexts; raises InputError if there are none."""
        C, V = len(self.required_contexts().names), len(self.vocab)
        return ConditionedNetwork(self.weights, V, self.config.model, C)

    def finite(self) -> bool:
        """Returns whether every number is finite."""
        return all(np.isfinite(x).all() for x in self.arrays().values() if x.dtype.kind == "f")

    def meta(self) -> dict:
        """Returns everything but the arrays, for JSON."""
        vocabulary = self.vocab.stored()
        is_new = self.contexts is not None or not isinstance(vocabulary, str)
        return {
            "format": file_format.FORMAT if is_new else 3,
            "config": self.config.to_dict(),
            "vocabulary": vocabulary,
            "corpus_sha256": self.corpus_sha256,
            "learned_before": self.learned_before,
            "progress": self.progress.stored(),
            "versions": self.versions,
        } | ({} if self.contexts is None else {"contexts": asdict(self.contexts)})


def write(path: Path, checkpoint: Checkpoint, like: Path | None = None) -> None:
    """Saves to `path`, which holds the old file or the whole new one at any moment.

    Args:
        like: a file whose permissions a new file gets, if it exists.

    Raises:
        NotFiniteError, OSError: see `to_verified_bytes`, `atomic.write`.
    """
    atomic.write(path, to_verified_bytes(checkpoint), like)


def to_verified_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns `to_bytes`, after reading it back and comparing it with `checkpoint`.

    Raises:
        NotFiniteError: a number is not finite.
        OSError: it reads back as something else, or is too large to be read.
    """
    if not checkpoint.finite():
        raise NotFiniteError("expected finite weights to save, found NaN or infinity")
    try:
        data = to_bytes(checkpoint)
        untrusted.check_size("a file", len(data), untrusted.MAX_BYTES)
        again = from_bytes(data)
        file_format.check_hdf5(data)
    except Exception as error:  # h5py raises nearly every kind
        raise OSError(f"cannot save: reading the data back failed: {error}") from error
    mine, read_back = checkpoint.arrays(), again.arrays()
    same = json.dumps(again.meta()) == json.dumps(checkpoint.meta())
    same = same and mine.keys() == read_back.keys()
    pairs = [(x, read_back[name]) for name, x in mine.items()] if same else []
    same = same and all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)
    if not (same and all(a.tobytes() == b.tobytes() for a, b in pairs)):
        raise OSError("cannot save: the data that was read back differs")
    return data


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns the contents of the file."""
    return file_format.to_bytes(checkpoint.meta(), checkpoint.arrays())


def check_size_limits(config: Config, vocab: Vocab, known: KnownContexts | None = None) -> None:
    """Raises InputError if a run's file would become too large to be read.

    The file holds the weights, Adam's two moments of each, the carried states and the description.
    """
    m, V = config.model, len(vocab)
    shapes = network.shapes(m, V, len(known.names) if known else 0)
    weights = sum(math.prod(s) for s in shapes.values())
    states, most = 2 * m.layers * m.units * config.data.batch_size, file_format.MAX_META
    size = 4 * (3 * weights + states) + 2 * most
    if size > untrusted.MAX_BYTES:
        raise InputError(
            f"expected a model whose weights files have at most {untrusted.MAX_BYTES / 1e9:.1f} "
            f"GB, found one of {size / 1e9:.1f} GB (units {m.units}, layers {m.layers}, "
            f"vocabulary {V}); give fewer --units or other text"
        )
    described = len(json.dumps(vocab.stored())) + config.fit.epochs * EPOCH_META
    described += len(json.dumps([known.names, known.counts])) if known else 0
    described += ARRAY_META * (3 * len(shapes) + 2 * m.layers)
    if described > most - 10_000:
        raise InputError(
            f"expected a run whose description has at most {most / 1e6:.1f} MB, found "
            f"{described / 1e6:.1f} MB (vocabulary {V}, epochs {config.fit.epochs}); give fewer "
            "--epochs, fewer --tokens, another --context or other text"
        )


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        InputError: not a checkpoint, damaged, malicious, or of a newer format.
    """
    with untrusted.refusals(path, "a whole weights file"):
        return from_bytes(untrusted.file_bytes(path))


def from_bytes(data: bytes) -> Checkpoint:
    """Parses the result of `to_bytes`; may raise any exception on other data."""
    meta, arrays = file_format.parse(data)
    config = Config.from_dict(meta["config"])
    vocab = description.vocabulary(meta, config.data)
    if not len(vocab):
        raise InputError("expected a vocabulary, found it empty")
    known = description.contexts(meta, config.data)
    shapes = _checked_shapes(arrays, config.model, len(vocab), known)
    # no array is read yet: under different names, several may lie in the same place
    untrusted.check_size("arrays", sum(x.nbytes for x in arrays.values()), len(data))
    kinds: dict[str, tuple[str, ...]] = dict.fromkeys(shapes, FLOAT)
    kinds |= dict.fromkeys(network.random_states(config.model) & set(shapes), INTEGERS)
    weights = {p: file_format.read_array(arrays.pop(p), data, *kinds[p]) for p in shapes}
    groups = {name: _numbered(name, arrays, data) for name in GROUPS}
    if arrays:
        raise InputError(f"expected only the arrays of a run, found {min(arrays)!r} too")
    progress = dict(meta["progress"])
    if meta["format"] == 1:
        metrics = file_format.metrics_of_format_1(progress, config.data.batch_size)
        groups["metrics"] = metrics or groups["metrics"]
    found = Checkpoint(
        config, vocab, meta["corpus_sha256"], read_progress(progress), weights,
        versions=meta["versions"], learned_before=description.learned_before(meta), contexts=known,
        **groups,
    )  # fmt: skip
    if not found.finite():
        bad = next(k for k, x in found.arrays().items() if not np.isfinite(x).all())
        raise InputError(f"expected finite numbers in {bad!r}, found NaN or infinity")
    # until here the arrays were views of `data` and took no memory of their own
    found.weights = {path: x.copy() for path, x in weights.items()}
    for name in GROUPS:
        setattr(found, name, [x.copy() for x in groups[name]])
    return found


def _checked_shapes(
    arrays: dict, config: ModelConfig, V: int, known: KnownContexts | None
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the model's weights by path; raises InputError if others are stored."""
    expected = network.shapes(config, V, len(known.names) if known else 0)
    random = network.random_states(config) & set(arrays)  # only Keras's own layers save them
    expected |= dict.fromkeys(sorted(random), (2,))
    if odd := {path for path in arrays if not path.startswith("charlm/")} ^ set(expected):
        raise InputError(
            f"expected the weights of {config.cell} {config.layers} x {config.units}, found others "
            f"(they differ in {min(odd)!r})"
        )
    for path, shape in expected.items():
        if arrays[path].shape != shape:
            raise InputError(f"expected {path!r} of shape {shape}, found {arrays[path].shape}")
    return expected


def _numbered(name, arrays, data):
    """Removes the arrays charlm/name/0, charlm/name/1 ... from `arrays` and reads them."""
    found: list[np.ndarray] = []
    while (path := f"charlm/{name}/{len(found)}") in arrays:
        found.append(file_format.read_array(arrays.pop(path), data, *FLOAT, *INTEGERS))
    return found
