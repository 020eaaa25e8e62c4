"""The state of every cell at every character of a text, and statistics of the gates."""

from collections.abc import Sequence

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.inside import recording, scoring
from charlm.reference.network import Network
from charlm.text.ids import Ids

LOW, HIGH = 0.1, 0.9  # a gate beyond these is saturated


def state_letter(config: ModelConfig) -> str:
    """Returns the letter of the state that remembers: c, or h for a cell without c."""
    return CELLS[config.cell_name].states[-1]


class States:
    """The states of C = L * H cells at n characters, rounded to two bytes.

    Args:
        network: the model.
        documents: the texts as ids, n characters in all.

    Raises:
        InputError: a state is not finite.
    """

    levels: np.ndarray
    """(n, C), see `scoring.to_levels`."""

    def __init__(self, network: Network, documents: Sequence[Ids]):
        config = network.config
        self.letter, self.shape = state_letter(config), (config.layers, config.units)
        cell = CELLS[config.cell_name]
        # g is a candidate between -1 and 1, and h an output: neither opens and closes
        self.gates = [g for g in cell.gates if g not in "gh"]
        self.n, C = sum(map(len, documents)), config.layers * config.units
        self.bounded = self.letter == "h" and config.activation == "tanh"
        self.levels = np.empty((self.n, C), np.uint16)
        self.sums = {x: np.zeros(C) for x in (self.letter, *self.gates)}
        self.low, self.high = dict.fromkeys(self.gates, 0), dict.fromkeys(self.gates, 0)
        for r in recording.record(network, documents, "".join(self.sums)):
            if not all(np.isfinite(x).all() for x in r.values.values()):
                raise InputError(
                    "cannot look at this run: its states become infinite on this text; train it "
                    "with a lower learning rate or with --activation tanh"
                )
            self._add(r.positions, {k: x.reshape(-1, C) for k, x in r.values.items()})

    def _add(self, positions, values):
        self.levels[positions] = scoring.to_levels(values[self.letter], self.bounded)
        for letter, x in values.items():
            self.sums[letter] += x.sum(axis=0, dtype=np.float64)
        for g in self.gates:
            self.low[g] += int(np.count_nonzero(values[g] < LOW))
            self.high[g] += int(np.count_nonzero(values[g] > HIGH))

    def mean(self, cell: int) -> float:
        """Returns the mean of a cell's state over all characters."""
        return float(self.sums[self.letter][cell] / self.n)

    def half_lives(self) -> np.ndarray:
        """Returns (L, H), after how many characters half of each cell's state is gone.

        It follows from the mean of the gate that keeps the state: the forget gate of an LSTM, the
        update gate of a GRU. Empty, (0, 0), for a cell without one.
        """
        keeps = next((g for g in "fz" if g in self.gates), None)
        if keeps is None:
            return np.zeros((0, 0))
        mean = np.clip(self.sums[keeps] / self.n, 1e-6, 1 - 1e-6)
        return (np.log(0.5) / np.log(mean)).reshape(self.shape)

    def saturation(self) -> dict[str, tuple[float, float]]:
        """Returns for each gate the shares of its values below `LOW` and above `HIGH`."""
        return {g: (self.low[g] / self.levels.size, self.high[g] / self.levels.size)
                for g in self.gates}  # fmt: skip
