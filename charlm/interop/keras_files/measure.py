"""Measures how well an imported model predicts a text, compared with a unigram model."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from charlm.interop.keras_files.readings import Reading
from charlm.reference import trainer
from charlm.reference.network import Network
from charlm.text.encoded_text import Text
from charlm.text.windows import HeldOutWindows

MEASURED, DOCUMENTS = 20_000, 10  # maximum number of characters and of documents to measure
UNIGRAM = "a unigram model, which only knows how frequent each character is"
LEAST = 100  # held-out characters below which a measurement is meaningless
PIECE, WINDOW = 1024, 64  # characters of a piece (batch row), and of a window of all pieces


@dataclass(frozen=True)
class Measured:
    """A reading of a model's ids, and the model's loss with it."""

    reading: Reading
    characters: int = 0
    """Number of characters that were measured; 0 if too few are held out."""
    bits: float = 0.0
    """Bits per character."""
    unigram: float = 0.0
    """Bits per character of a unigram model."""

    @property
    def useful(self) -> bool:
        """Whether the model is as good as the unigram model; a wrong order of ids is far worse."""
        return self.bits <= self.unigram

    def describe(self, name: str) -> str:
        """Describes the measurement.

        Args:
            name: name of the text.
        """
        if self.characters:
            return (
                f"{self.bits:.2f} bits/char on {self.characters:,} characters of {name} "
                f"({UNIGRAM}: {self.unigram:.2f})"
            )
        if self.reading.text is None:
            return "not measured, because --vocab-from names no text"
        return f"not measured, because {name} has fewer than {LEAST} held-out characters"


def held_out(text: Text) -> HeldOutWindows | None:
    """Returns the held-out windows of a text that are measured; None if there are too few."""
    documents = sorted(text.to_measure(), key=len, reverse=True)[:DOCUMENTS]
    if sum(map(len, documents)) < LEAST:
        return None
    return HeldOutWindows([d[: MEASURED // len(documents)] for d in documents], WINDOW, PIECE)


def measure(
    reading: Reading, network: Network, windows: HeldOutWindows, tell: Callable[[int], object]
) -> Measured:
    """Measures a model on the held-out text of a reading.

    Args:
        reading: the reading.
        network: the model, with ids of the reading's vocabulary.
        windows: see `held_out`.
        tell: called with the number of characters measured since its last call.
    """
    from threadpoolctl import threadpool_limits

    # Products of a few rows are too small for several threads: waiting for a busy core took 30
    # times as long as the products themselves.
    # A relu may overflow, in particular one that should be a tanh; the loss is then not finite.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        nats = trainer.evaluate(network, windows, tell)
    text: Any = reading.text  # there is one, for the windows are of it
    return Measured(reading, windows.targets, nats / log(2), unigram_bits(text, windows))


def unigram_bits(text: Text, windows: HeldOutWindows) -> float:
    """Computes the windows' bits per character under the training text's character frequencies."""
    log_p = text.log_shares(text.vocab)[windows.ids[:, 1:]]
    return -float(log_p[windows.weights > 0].mean(dtype="float64")) / log(2)
