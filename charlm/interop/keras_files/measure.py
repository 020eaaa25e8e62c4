"""How well a model tells the next characters of a text, beside what it takes to be of any use."""

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

MEASURED, DOCUMENTS = 20_000, 10  # characters that are measured, and of how many texts
UNIGRAM = "a unigram model, which only knows how frequent each character is"
LEAST = 100  # held-out characters below which a measurement would mean nothing
PIECE, WINDOW = 1024, 64  # characters of a piece; of a step of all pieces, which lie side by side


@dataclass(frozen=True)
class Measured:
    """A reading of a model's ids, and how well the model tells the text that way."""

    reading: Reading
    characters: int = 0
    """How many were measured; 0: too few were held out."""
    bits: float = 0.0
    """Per character."""
    unigram: float = 0.0
    """Bits per character of a model that knows how frequent each character is, and nothing else."""

    @property
    def useful(self) -> bool:
        """Whether the model is as good as the unigram model. A wrong order of ids is far worse."""
        return self.bits <= self.unigram

    def describe(self, name: str) -> str:
        """The figures in words.

        Args:
            name: the text's.
        """
        if self.characters:
            return (
                f"{self.bits:.2f} bits/char on {self.characters:,} characters of {name} "
                f"({UNIGRAM}: {self.unigram:.2f})"
            )
        if self.reading.text is None:
            return "not measured, for --vocab-from names no text"
        return f"not measured, for {name} has fewer than {LEAST} held-out characters"


def held_out(text: Text) -> HeldOutWindows | None:
    """What of a text is measured, None if that is too little."""
    documents = sorted(text.to_measure(), key=len, reverse=True)[:DOCUMENTS]
    if sum(map(len, documents)) < LEAST:
        return None
    return HeldOutWindows([d[: MEASURED // len(documents)] for d in documents], WINDOW, PIECE)


def measure(
    reading: Reading, network: Network, windows: HeldOutWindows, tell: Callable[[int], object]
) -> Measured:
    """Measures a model on what is held out of the text of a reading.

    Args:
        network: with ids of the reading's vocabulary. windows: see `held_out`.
        tell: called with the number of characters that were measured since the last call.
    """
    from threadpoolctl import threadpool_limits

    # Products of a few rows are too small to be shared: waiting for a core that is busy took 30
    # times as long as the products themselves.
    # A relu may overflow, above all one that should be a tanh; the figure then is no number.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        nats = trainer.evaluate(network, windows, tell)
    text: Any = reading.text  # there is one, for the windows are of it
    return Measured(reading, windows.targets, nats / log(2), unigram_bits(text, windows))


def unigram_bits(text: Text, windows: HeldOutWindows) -> float:
    """Bits per character of the windows under the shares of characters in the training text."""
    log_p = text.log_shares(text.vocab)[windows.ids[:, 1:]]
    return -float(log_p[windows.weights > 0].mean(dtype="float64")) / log(2)
