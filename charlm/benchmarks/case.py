"""A benchmark's case: sizes, arithmetic, memory, initial weights and data of a step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.reference.network import initial_weights, shapes

VOCABULARY = 92
SEED = 1
LEARNING_RATE, CLIP_NORM, EPSILON = 1e-3, 1.0, 1e-10  # for every peer's Adam


@dataclass(frozen=True)
class Case:
    """The sizes of a case: L layers of H units, windows of B x T ids, V characters."""

    cell: str
    units: int
    layers: int
    batch: int
    window: int
    vocab: int = VOCABULARY

    def __str__(self):
        return f"{self.cell.upper()} {self.layers} x {self.units}"

    @property
    def model(self) -> ModelConfig:
        """Settings for `charlm.training.network.build`, with charlm's cell."""
        sizes: dict[str, Any] = {"cell": self.cell, "units": self.units, "layers": self.layers}
        return ModelConfig(**sizes, dropout=0.0, output_bias="zeros")

    @property
    def gates(self) -> int:
        """G, the number of gates."""
        return len(CELLS[self.cell].gates)

    def characters(self, job: str) -> int:
        """Returns the characters in a step of a job: B in sampling, else B T."""
        return self.batch * (1 if job == "characters" else self.window)

    def flops(self, whole: bool) -> int:
        """Counts the floating-point operations of the matrix products, forward and backward.

        3 x 2 x B T (L G H^2 + (L - 1) G H^2 [+ H V]): for each matrix one product forward and two
        backward (by the input, by the weights). The first layer gathers rows by ids, which costs
        nothing; a peer's products with one-hot vectors do not count as useful work.

        Args:
            whole: whether to count the logits, as in a training step.
        """
        H, L = self.units, self.layers
        products = (2 * L - 1) * self.gates * H * H + whole * H * self.vocab
        return 3 * 2 * self.batch * self.window * products

    def bytes(self) -> int:
        """Returns an upper bound of a step's memory, without the library itself.

        Counts float32 numbers: the weights, their gradients and Adam's two moments; for each
        position and layer four times the gates (input projection, gates, their gradients, a copy)
        and eight times the state; the one-hot input, logits, their gradient and two copies.
        """
        B, T, V, H = self.batch, self.window, self.vocab, self.units
        weights = sum(int(np.prod(s)) for s in shapes(self.model, V).values())
        positions = B * T * (self.layers * (4 * self.gates + 8) * H + 5 * V)
        return 4 * (4 * weights + positions)

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the initial weights of all peers by path, in the order of `set_weights`."""
        return initial_weights(self.model, self.vocab, np.random.default_rng(SEED))

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns ids (B, T), next ids (B, T), and dLoss/dh (B, T, H) for the layers alone."""
        rng = np.random.default_rng(SEED)
        ids = rng.integers(self.vocab, size=(self.batch, self.window + 1)).astype(np.int32)
        upstream = rng.normal(size=(self.batch, self.window, self.units)) / self.units
        return ids[:, :-1], ids[:, 1:], upstream.astype(np.float32)

    def one_hot(self) -> np.ndarray:
        """Returns the ids as vectors (B, T, V), for layers that do not read ids."""
        return np.eye(self.vocab, dtype=np.float32)[self.data()[0]]


def random_text(vocab: int, characters: int) -> str:
    """Returns a text with characters drawn uniformly; speed does not depend on the text."""
    ids = np.random.default_rng(SEED).integers(vocab, size=characters)
    return "".join(map(chr, ids + ord("!")))
