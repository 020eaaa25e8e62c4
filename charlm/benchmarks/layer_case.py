"""The models of `charlm bench --only layers`, with their data and their jobs."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from charlm.benchmarks.case import SEED, VOCABULARY, Case

CLASSES = 10  # of the Dense layer on top
SHORTEST = 4  # a padded sequence has T/4 to T steps


@dataclass(frozen=True)
class Model:
    """Recurrent layers and a Dense layer, as in ordinary Keras models.

    Args:
        options: keyword arguments of each recurrent layer.
        layers: number of recurrent layers.
        every_step: whether the last recurrent layer returns its sequence.
        bidirectional: whether each recurrent layer is wrapped in `Bidirectional`.
        padding: sequences of random lengths, padded with zeros on this side, under `Masking`.
        ids: whether an `Embedding` comes first and the classes are characters.
    """

    options: dict = field(default_factory=dict)
    layers: int = 1
    every_step: bool = False
    bidirectional: bool = False
    padding: Literal["left", "right"] | None = None
    ids: bool = False


MODELS = {
    "last": Model(),
    "sequences": Model(every_step=True),
    "stacked": Model(layers=2),
    "two-layer-text": Model(layers=2, every_step=True, ids=True),
    "bidirectional": Model(bidirectional=True),
    "masked-left": Model(padding="left"),
    "masked-right": Model(padding="right"),
    "dropout": Model({"dropout": 0.2, "seed": SEED}),
    "recurrent-dropout": Model({"recurrent_dropout": 0.2, "seed": SEED}),
    "relu": Model({"activation": "relu"}),
}
NAMES = (*(f"{cell}-{kind}" for cell in ("lstm", "gru") for kind in MODELS), "rnn-last")


@dataclass(frozen=True)
class LayerCase:
    """A model's name and its sizes; D = H = units."""

    name: str
    units: int
    batch: int
    window: int

    def __str__(self):
        cell = "SimpleRNN" if self.cell == "rnn" else self.cell.upper()
        return f"{cell} {self.kind.replace('-', ' ')}"

    @property
    def cell(self) -> str:
        return self.name.split("-", 1)[0]

    @property
    def kind(self) -> str:
        return self.name.split("-", 1)[1]

    @property
    def model(self) -> Model:
        return MODELS[self.kind]

    @property
    def classes(self) -> int:
        return VOCABULARY if self.model.ids else CLASSES

    @property
    def sequences(self) -> dict[str, int]:
        """The jobs, and the number of sequences in a step of each."""
        return {"training": self.batch} | {f"inference {n}": n for n in (1, self.batch)}

    def characters(self, job: str) -> int:
        """Returns the time steps of all sequences in a step of a job."""
        return self.sequences[job] * self.window

    def bytes(self) -> int:
        """Returns an upper bound of a training step's memory; see `Case.bytes`."""
        layers = self.model.layers * (1 + self.model.bidirectional)
        return Case(self.cell, self.units, layers, self.batch, self.window, self.units).bytes()

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the input, (B, T, D) or ids (B, T), and the classes, (B,) or (B, T)."""
        rng = np.random.default_rng(SEED)
        B, T = self.batch, self.window
        x: np.ndarray = rng.normal(size=(B, T, self.units)).astype(np.float32)
        if self.model.ids:
            x = rng.integers(VOCABULARY, size=(B, T), dtype=np.int32)
        if self.model.padding:
            lengths = rng.integers(max(1, T // SHORTEST), T + 1, size=(B, 1))
            steps = np.arange(T) if self.model.padding == "right" else np.arange(T)[::-1]
            x[steps >= lengths] = 0
        y = rng.integers(self.classes, size=(B, T) if self.model.every_step else B, dtype=np.int32)
        return x, y
