"""Records a network's states, gates and losses while it reads texts."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.notes import progress
from charlm.reference.activations import ACTIVATIONS, Arrays
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network
from charlm.text.ids import Ids

WORKERS = 2  # threads; BLAS gets one in each, which for small products is faster than two in BLAS
STREAMS = 128  # stretches of text that a worker reads side by side
STRETCH = 2048  # characters
WARM_UP = 1024  # characters
BLOCK = 2**25  # bytes of a recording


@dataclass(frozen=True)
class Recording:
    """The network at M characters of the texts, in any order."""

    positions: np.ndarray
    """(M,), in the texts laid end to end."""
    losses: np.ndarray
    """(M,), nats of each character given those before it; NaN for the first of a text."""
    values: dict[str, np.ndarray]
    """The states and gates by their letters, (M, L, H) float32, after the character was read."""


@dataclass(frozen=True)
class Clamp:
    """A cell whose state keeps one value at every step.

    A cell of an LSTM has its state c clamped; its output h follows from it and the output gate. In
    a GRU or plain RNN it is h.
    """

    layer: int
    cell: int
    value: float


def letters(config: ModelConfig) -> str:
    """Returns the letters of a cell's states and gates, for example "hcifgo"."""
    cell = CELLS[config.cell_name]
    return cell.states + "".join(g for g in cell.gates if g not in cell.states)


def record(
    network: Network,
    documents: Sequence[Ids],
    wanted: str | None = None,
    whole: bool = False,
    clamps: Sequence[Clamp | None] = (),
) -> Iterator[Recording]:
    """Reads texts and yields what the network does, in constant memory.

    Each text starts from a zero state. A long one is read in stretches of `STRETCH` characters side
    by side, which is many times as fast. A stretch starts from a zero state, too, but `WARM_UP`
    characters early: its values differ from those of a text that is read as a whole by what the
    network remembers of characters before that.

    Args:
        network: the model.
        documents: the texts, arrays (n,) of ids.
        wanted: letters of the states and gates to record; None for all.
        whole: read each text from its beginning to its end, however long it is.
        clamps: for each text a clamp or None; by default none.

    Yields:
        The recordings; each character is in one of them.
    """
    wanted = letters(network.config) if wanted is None else wanted
    clamps = clamps or [None] * len(documents)
    rows = sorted(_rows(documents, clamps, whole), key=lambda row: -row.length)
    size = max(1, min(STREAMS, -(-len(rows) // WORKERS)))
    readers = [_read(network, rows[k : k + size], wanted) for k in range(0, len(rows), size)]
    with (
        progress("recording", sum(map(len, documents))) as tell,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        queues = [itertools.chain.from_iterable(readers[k::WORKERS]) for k in range(WORKERS)]
        running = deque((pool.submit(_next, queue), queue) for queue in queues)
        while running:
            future, queue = running.popleft()
            with threadpool_limits(
                1, "blas"
            ):  # of the whole process, so not while the caller works
                found = future.result()
            if found is not None:
                running.append((pool.submit(_next, queue), queue))
                tell(len(found.positions))
                yield found


def _next(queue):
    with np.errstate(over="ignore", invalid="ignore"):  # of cells with relu; the caller checks
        return next(queue, None)


@dataclass(frozen=True)
class _Row:
    """A stretch of a text."""

    document: Ids
    first: int
    """Place in the document of the first character of its warm-up."""
    length: int
    warm_up: int
    """Number of characters that are read before the first that is recorded."""
    at: int
    """Position of the first character in the texts laid end to end."""
    clamp: Clamp | None


def _rows(documents, clamps, whole):
    begin = 0
    for document, clamp in zip(documents, clamps, strict=True):
        n = len(document)
        edges = np.linspace(0, n, 2 if whole else max(1, n // STRETCH) + 1).astype(int)
        for first, end in itertools.pairwise(edges):
            early = max(0, first - WARM_UP)
            if end > first:
                yield _Row(document, early, end - early, first - early, begin + early, clamp)
        begin += n


def _read(network, rows, wanted):
    """Yields the recordings of stretches read side by side, the longest first."""
    N, L, H = len(rows), network.config.layers, network.config.units
    lengths, warm_up, starts = np.array([(r.length, r.warm_up, r.at) for r in rows]).T
    change = _change(network.config, [row.clamp for row in rows])
    states, n = network.initial_states(N), N
    V = len(network.dense[1])
    log_p = np.full((N, V), np.nan, np.float32)  # of the next characters; unknown for the first
    T = max(1, BLOCK // (4 * N * (L * H * len(wanted) + 3)))
    for begin in range(0, lengths[0], T):
        steps = range(begin, min(begin + T, lengths[0]))
        ids = _ids(rows, steps)
        losses = np.empty(ids.shape, np.float32)
        values = {letter: np.empty((*ids.shape, L, H), np.float32) for letter in wanted}
        for t, read in enumerate(ids):
            n = int(np.searchsorted(-lengths, -(begin + t)))  # those that are longer
            states = [tuple(s[:n] for s in layer) for layer in states]
            losses[t, :n] = -log_p[np.arange(n), read[:n]]
            logits, states, gates = network.recorded_step(read[:n], states, change)
            log_p = log_softmax(logits)
            for letter, found in _by_letter(network, states, gates, wanted):
                for k, x in enumerate(found):
                    values[letter][t, :n, k] = x
        at = np.arange(steps.start, steps.stop)[:, None]
        kept = (at >= warm_up) & (at < lengths)
        if kept.any():
            yield Recording(
                (starts + at)[kept],
                losses[kept],
                {letter: x[kept] for letter, x in values.items()},
            )


def _ids(rows, steps):
    """Returns the ids of some steps of all rows, (T, N); 0 after the end of a row."""
    found = np.zeros((len(steps), len(rows)), np.intp)
    for k, row in enumerate(rows):
        end = min(steps.stop, row.length)
        if end > steps.start:
            part = row.document[row.first + steps.start : row.first + end]
            found[: end - steps.start, k] = part
    return found


def _by_letter(network, states, gates, wanted):
    """Yields the letter and the arrays of all layers of each wanted state and gate."""
    cell = CELLS[network.config.cell_name]
    for letter in wanted:
        source, names = (states, cell.states) if letter in cell.states else (gates, cell.gates)
        yield letter, [layer[names.index(letter)] for layer in source]


def _change(config, clamps):
    """Returns `change` of `Network.recorded_step` for a clamp or None for each row."""
    if not any(clamps):
        return None
    cell, activation = CELLS[config.cell_name], ACTIVATIONS[config.activation]
    rows = np.array([k for k, c in enumerate(clamps) if c])
    table = [(c.layer, c.cell, c.value) for c in clamps if c]
    layers, cells, values = (np.array(x) for x in zip(*table, strict=True))

    def change(layer: int, gates: Arrays, states: Arrays) -> Arrays:
        chosen = (layers == layer) & (rows < len(states[0]))
        if not chosen.any():
            return states
        at, value = (rows[chosen], cells[chosen]), values[chosen].astype(np.float32)
        changed = tuple(s.copy() for s in states)
        changed[-1][at] = value
        if cell.states == "hc":
            changed[0][at] = gates[cell.gates.index("o")][at] * activation(value)
        return changed

    return change
