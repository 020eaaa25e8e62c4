"""Finds the cell of a model of tunes that counts the notes of a bar."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charlm.inside import recording, states
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

TUNES = 100  # that are read
NOTES = "ABCDEFGabcdefgz"


@dataclass(frozen=True)
class Counter:
    """The cell whose state follows the number of notes since the bar line best."""

    layer: int
    """Layers and cells are counted from 0."""
    cell: int
    r: float
    """Its correlation (Pearson's r) with that number, on tunes that were not used to choose it."""


def find(network: Network, vocab: Vocab, tunes: Sequence[str]) -> Counter | None:
    """Returns the cell that counts best; None if there are too few tunes.

    It is chosen on every other tune, and its correlation is that on the others.

    Args:
        network: the model.
        vocab: its vocabulary.
        tunes: in ABC notation; the first `TUNES` are read.
    """
    letter, texts = states.state_letter(network.config), [*tunes][:TUNES]
    halves = [_read(network, vocab, texts[k::2], letter) for k in (0, 1)]
    if any(len(counts) < 2 or counts.std() == 0 for counts, _ in halves):
        return None
    first, second = (_correlations(*half) for half in halves)
    k = int(np.abs(first).argmax())
    layer, cell = divmod(k, network.config.units)
    return Counter(layer, cell, float(second[k]))


def notes_since_bar(tune: str) -> np.ndarray:
    """Returns the number of notes since the bar line at each character (n,); -1 in the header."""
    found, count = np.full(len(tune), -1), 0
    key = re.search(r"^K:.*\n", tune, re.MULTILINE)
    for k in range(key.end() if key else len(tune), len(tune)):
        count = 0 if tune[k] == "|" else count + (tune[k] in NOTES)
        found[k] = count
    return found


def _read(network, vocab, texts, letter):
    """Returns counts (n,) and states (n, L*H) at the characters of the music."""
    counts, values = [np.empty(0)], [np.empty((0, network.config.layers * network.config.units))]
    for text in texts:
        for r in recording.record(network, [vocab.encode(text)], letter):
            x = r.values[letter].astype(np.float64)
            x = np.tanh(x) if letter == "c" else x
            of = notes_since_bar(text)[r.positions]
            counts.append(of[of >= 0])
            values.append(x.reshape(len(x), -1)[of >= 0])
    return np.concatenate(counts), np.concatenate(values)


def _correlations(counts, values):
    x, y = counts - counts.mean(), values - values.mean(axis=0)
    scale = np.sqrt((x**2).sum() * (y**2).sum(axis=0))
    return np.divide(x @ y, scale, out=np.zeros(y.shape[1]), where=scale > 0)
