"""Records every cell on a passage while a network is trained, in a file of the run.

The file is .safetensors. Its header has `format`, `text`, `letter` (of the state) and `snapshots`,
a JSON list of [updates, epochs]. Snapshot k has two arrays, float16: `values.k` (N, L, H), the
state after each of N characters, and `bits.k` (N,), the surprise of each given those before it.
"""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from charlm.errors import InputError
from charlm.inside import recording, states
from charlm.notes import note
from charlm.reference.network import Network
from charlm.runs import untrusted
from charlm.text.vocab import Vocab

FORMAT = "1"
LENGTH = 1000  # characters: a snapshot has two bytes for each of them and each cell
MOST = 64  # snapshots: a bound for the memory, the file and the page
LARGEST = np.finfo(np.float16).max
WHOLE = "what charlm train --record-cells writes"


def times() -> Iterator[int]:
    """Yields the updates after which the cells are recorded: 0, 10, 30, 100, 300 ..."""
    yield 0
    for power in itertools.count(1):
        yield 10**power
        yield 3 * 10**power


@dataclass(frozen=True)
class Snapshot:
    """The network at N characters after some updates."""

    updates: int
    epochs: float
    values: np.ndarray
    """(N, L, H) float16."""
    bits: np.ndarray
    """(N,) float16; 0 for the first character, before which nothing was read."""

    @property
    def mean_bits(self) -> float:
        """Bits per character after the first."""
        return float(self.bits[1:].mean(dtype=np.float64)) if len(self.bits) > 1 else 0.0


@dataclass
class TrainingCells:
    """Snapshots of one passage, in order of time."""

    text: str
    letter: str
    """The state, c or h."""
    snapshots: list[Snapshot] = field(default_factory=list)

    def add(self, network: Network, vocab: Vocab, updates: int, epochs: float) -> None:
        """Records the network.

        Removes snapshots of a run that was ahead of where it was saved, and every second one if
        there are `MOST`.
        """
        ids = vocab.encode(self.text)
        values = np.empty((len(ids), network.config.layers, network.config.units), np.float16)
        bits = np.zeros(len(ids), np.float16)
        for r in recording.record(network, [ids], self.letter, whole=True):
            values[r.positions] = np.clip(r.values[self.letter], -LARGEST, LARGEST)
            bits[r.positions] = np.nan_to_num(r.losses / np.log(2))
        self.snapshots = [s for s in self.snapshots if s.updates < updates]
        if len(self.snapshots) == MOST:
            self.snapshots = self.snapshots[::2]
        self.snapshots.append(Snapshot(updates, epochs, values, bits))

    def to_bytes(self) -> bytes:
        """Returns the file."""
        header = {
            "format": FORMAT,
            "text": self.text,
            "letter": self.letter,
            "snapshots": json.dumps([[s.updates, s.epochs] for s in self.snapshots]),
        }
        arrays: dict[str, np.ndarray] = {}
        for k, s in enumerate(self.snapshots):
            arrays |= {f"values.{k}": s.values, f"bits.{k}": s.bits}
        return save(arrays, header)


def empty(text: str, network: Network) -> TrainingCells:
    """Returns an empty recording of the first `LENGTH` characters of a passage."""
    return TrainingCells(text[:LENGTH], states.state_letter(network.config))


def of_page(
    path: Path, network: Network, vocab: Vocab, text: str, epochs: float
) -> TrainingCells | None:
    """Reads the file of a run for a page; None if there is none or, after a note, if it is no use.

    Args:
        path: of the file.
        network: of the page.
        vocab: of the run.
        text: of the page; the recording must be of its beginning.
        epochs: that the page's weights were trained; later snapshots are left out.
    """
    if not path.exists():
        return None
    try:
        found = read(path, network, vocab)
        found.snapshots = [s for s in found.snapshots if s.epochs <= epochs]
        if not text.startswith(found.text):
            raise InputError(f"{path}: it is of another passage; leave out --max-characters")
        if not found.snapshots:
            raise InputError(f"{path}: it has nothing from before the weights of the page")
        return found
    except InputError as error:
        note(f"NOTE: the page has no slider over training: {error}")
        return None


def read(path: Path, network: Network, vocab: Vocab) -> TrainingCells:
    """Reads the file of a run, which may be a stranger's.

    Raises:
        InputError: there is none, it is damaged or of another network.
    """
    with untrusted.refusals(path, WHOLE):
        arrays, header = untrusted.tensors(untrusted.file_bytes(path, WHOLE))
        if header.get("format") != FORMAT:
            raise InputError(f"expected format {FORMAT}, found {header.get('format')!r:.20}")
        text, letter = header["text"], header["letter"]
        config = network.config
        shape = len(text), config.layers, config.units
        if letter != states.state_letter(config) or not text or vocab.known(text) != text:
            raise InputError("it is of another network")
        found = TrainingCells(text, letter)
        for k, (updates, epochs) in enumerate(untrusted.parsed_json(WHOLE, header["snapshots"])):
            values, bits = arrays[f"values.{k}"], arrays[f"bits.{k}"]
            if (values.shape, bits.shape) != (shape, shape[:1]):
                raise InputError(f"expected values of shape {shape}, found {values.shape}")
            if not (updates >= 0 and math.isfinite(epochs)):
                raise InputError(f"expected finite times, found {updates} and {epochs}")
            halves = values.astype(np.float16), bits.astype(np.float16)
            found.snapshots.append(Snapshot(int(updates), float(epochs), *halves))
        return found
