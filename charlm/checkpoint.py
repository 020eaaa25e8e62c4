"""One `.weights.h5` file holds all of a run: weights as Keras has them, and the group `charlm`.

    layers/lstm/cell/vars/0 ...     the network, where `keras.Model.load_weights` looks for it
    charlm/optimizer/0 ...          the optimizer's variables, in order
    charlm/carried/0 ...            the training streams' states
    charlm/meta                     JSON text: format, config, vocabulary, progress, versions

Only arrays and text are stored, and nothing in a file is ever run. NumPy and h5py, no Keras.
"""

import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from charlm.config import Config
from charlm.errors import InputError
from charlm.vocab import Vocab

FORMAT = 1


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Windows done of the epoch begun, 0 between epochs."""
    loss_sum: float = 0.0
    """Of those windows, in nats."""
    best: float | None = None
    """Lowest validation loss, in nats a character."""
    best_epoch: int = 0
    stale_epochs: int = 0
    """Epochs since then."""
    history: list[dict] = field(default_factory=list)
    """A row an epoch, counted from 1, with what history.csv has of it."""


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

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(np.isfinite(w).all() for w in self.weights.values() if w.dtype.kind == "f")

    def meta(self) -> dict:
        """All but the arrays, for JSON."""
        return {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "vocabulary": self.vocab.characters,
            "corpus_sha256": self.corpus_sha256,
            "progress": self.progress.__dict__,
            "versions": self.versions,
        }


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Saves to `path`, which holds the old file or the whole new one at any moment.

    Raises:
        ValueError: weights that are not finite.
        OSError: the file cannot be written.
    """
    if not checkpoint.finite():
        raise ValueError("expected finite weights to save, found NaN or infinity")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in checkpoint.weights.items():
            file[name] = value
        for name in ("optimizer", "carried"):
            group = file.create_group(f"charlm/{name}")
            for k, value in enumerate(getattr(checkpoint, name)):
                group[str(k)] = value
        text = json.dumps(checkpoint.meta(), ensure_ascii=True).encode()
        file["charlm/meta"] = np.frombuffer(text, np.uint8)
    write_atomically(path, buffer.getvalue())


def read(path: Path) -> Checkpoint:
    """A checkpoint from a file of ours.

    Raises:
        InputError: no such file, not one of ours, damaged, or of a newer format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"expected a weights file of charlm at {path}, found: {error.strerror}"
        ) from error
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if "charlm/meta" not in file:
                raise InputError(
                    f"expected a weights file of charlm, found {path}, which has no group 'charlm' "
                    "(vocabulary and settings)"
                )
            meta = json.loads(file["charlm/meta"][()].tobytes())
            if meta["format"] > FORMAT:
                raise InputError(
                    f"expected format {FORMAT} or older in {path}, found {meta['format']}; "
                    "a newer charlm wrote it"
                )
            checkpoint = Checkpoint(
                config=Config.from_dict(meta["config"]),
                vocab=Vocab(meta["vocabulary"]),
                corpus_sha256=meta["corpus_sha256"],
                progress=Progress(**meta["progress"]),
                weights=_arrays(file["layers"], "layers"),
                optimizer=_numbered(file["charlm/optimizer"]),
                carried=_numbered(file["charlm/carried"]),
                versions=meta["versions"],
            )
    except InputError:
        raise
    # h5py raises nearly every kind for a damaged file, JSON and the constructors their own
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a whole weights file, found {path} damaged ({error})"
        ) from error
    if not checkpoint.finite():
        raise InputError(f"expected finite weights in {path}, found NaN or infinity")
    return checkpoint


def _arrays(group, path):
    found = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            found |= _arrays(item, f"{path}/{name}")
        else:
            found[f"{path}/{name}"] = item[()]
    return found


def _numbered(group):
    return [group[str(k)][()] for k in range(len(group))]


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` beside `path`, forces it to disk and renames it into place."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")  # one writer a run; a leftover is reused
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
