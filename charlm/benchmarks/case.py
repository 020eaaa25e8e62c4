"""What a step computes: sizes, arithmetic, memory, first weights and data."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.reference.network import initial_weights, shapes

VOCABULARY = 92
SEED = 1
LEARNING_RATE, CLIP_NORM, EPSILON = 1e-3, 1.0, 1e-10  # of every peer's Adam


@dataclass(frozen=True)
class Case:
    """Sizes: L layers of H units over windows of B x T ids out of V."""

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
        """As `charlm.training.network.build` takes it; the cell is ours."""
        sizes: dict[str, Any] = {"cell": self.cell, "units": self.units, "layers": self.layers}
        return ModelConfig(**sizes, dropout=0.0, output_bias="zeros")

    @property
    def gates(self) -> int:
        """G."""
        return len(CELLS[self.cell].gates)

    def characters(self, job: str) -> int:
        """Characters in a step of a job: one of each stream when sampling, else whole windows."""
        return self.batch * (1 if job == "characters" else self.window)

    def flops(self, whole: bool) -> int:
        """Floating-point operations of a forward and backward pass, products only.

        3 x 2 x B T (L G H^2 + (L - 1) G H^2 [+ H V]): one product forward and two backward (by the
        input, by the weights) of each matrix. A first layer reads ids, a gather, so its input costs
        nothing, and what a peer spends on multiplying one-hot vectors is no useful work.

        Args:
            whole: with the logits, as in a training step; else the recurrent layers alone.
        """
        H, L = self.units, self.layers
        products = (2 * L - 1) * self.gates * H * H + whole * H * self.vocab
        return 3 * 2 * self.batch * self.window * products

    def bytes(self) -> int:
        """Memory that a step may take beside the library itself: an estimate from above.

        Weights, their gradients and Adam's two moments; of each position and layer, four times the
        gates (inputs' share, gates, their gradients, and a copy) and eight times the state; the
        one-hot input, logits, their gradient and two copies. All float32.
        """
        B, T, V, H = self.batch, self.window, self.vocab, self.units
        weights = sum(int(np.prod(s)) for s in shapes(self.model, V).values())
        positions = B * T * (self.layers * (4 * self.gates + 8) * H + 5 * V)
        return 4 * (4 * weights + positions)

    def weights(self) -> dict[str, np.ndarray]:
        """First weights, the same for all peers, by path and in the order of `set_weights`."""
        return initial_weights(self.model, self.vocab, np.random.default_rng(SEED))

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids (B, T), next ids (B, T), and dLoss/dh (B, T, H) for the layers alone."""
        rng = np.random.default_rng(SEED)
        ids = rng.integers(self.vocab, size=(self.batch, self.window + 1)).astype(np.int32)
        upstream = rng.normal(size=(self.batch, self.window, self.units)) / self.units
        return ids[:, :-1], ids[:, 1:], upstream.astype(np.float32)

    def one_hot(self) -> np.ndarray:
        """The ids as vectors (B, T, V), for layers that read no ids."""
        return np.eye(self.vocab, dtype=np.float32)[self.data()[0]]


def random_text(vocab: int, characters: int) -> str:
    """Characters drawn alike from `vocab` of them: speed does not depend on what is learned."""
    ids = np.random.default_rng(SEED).integers(vocab, size=characters)
    return "".join(map(chr, ids + ord("!")))
