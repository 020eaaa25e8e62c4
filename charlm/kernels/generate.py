"""Sampling from a whole network in machine code. Loads no Numba, unless code must be compiled."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charlm.cells import CELLS
from charlm.kernels import object_code
from charlm.kernels.arrays import indices, require
from charlm.kernels.object_code import Function
from charlm.kernels.panels import COLUMNS, pack_panels, padded, rounded
from charlm.kernels.parallel import parallel_for
from charlm.notes import note
from charlm.reference.activations import ACTIVATIONS, Arrays
from charlm.reference.network import Network

CACHE = 4  # blocks of H numbers, at least `CACHE` of every cell's kernel


@functools.cache
def _function(cell_name: str, **activations: str) -> Function:
    """Returns `draw.draw` for a cell; compiles it, after a note, if it is not in the cache."""

    def compiled():
        from charlm.kernels import draw

        note(f"compiling the code that draws text (cell {cell_name}), once; it takes seconds")
        return draw.compiled(cell_name, activations)

    name = "-".join(("draw", cell_name, *activations.values()))
    return Function(object_code.read_or_compile(name, compiled))


class Drawing:
    """Alternates a network's `step` and `constraints.draw` for a block of text in one function.

    `step` and blocks of any length compute the same numbers to the bit, for any number of texts.
    An object is not for several threads at once.

    Args:
        network: a `charlm.reference.network.Network`; its weights are copied.

    Raises:
        ImportError: there is no machine code for the network's cell or options, or no Numba.
    """

    def __init__(self, network: Network):
        options = dict(network.options)
        cell_name = network.config.cell_name
        if CELLS[cell_name].kernel is None or not options.pop("reset_after", True):
            raise ImportError(f"no machine code for {network.config}")
        names = {value: name for name, value in ACTIVATIONS.items()}
        self._function = _function(cell_name, **{k: names[x] for k, x in options.items()})
        self._skip = int(network.config.skip == "add")
        self._weights = _weights(network)
        self._states = len(network.states)
        self._plan: tuple[tuple[int, int], _Texts, Callable] | None = None

    def __call__(
        self,
        ids: np.ndarray,
        states: Sequence[Arrays],
        temperatures: np.ndarray,
        uniform: np.ndarray,
    ) -> tuple[np.ndarray, list[Arrays]]:
        """Draws the next K characters of N texts.

        Args:
            ids: (N,), the last characters, which the network has not read yet.
            states: the states before those, as in `Network.step`: for each layer S of (N, H).
            temperatures: (N,).
            uniform: (K, N), random numbers in [0, 1).

        Returns:
            Ids (K, N), and the states before the last of them is read.

        Raises:
            ValueError: arrays that do not fit together, or an id outside the vocabulary.
        """
        texts = self._run(ids, states, temperatures, uniform)
        return texts.drawn.copy(), texts.states(self._states)

    def step(self, ids: np.ndarray, states: Sequence[Arrays]) -> tuple[np.ndarray, list[Arrays]]:
        """Reads one character of each text: ids (N,), states -> next logits (N, V), states."""
        N, V = len(ids), len(self._weights[0])
        texts = self._run(ids, states, np.zeros(N), np.zeros((1, N)))
        return texts.logits(V), texts.states(self._states)

    def _run(self, ids, states, temperatures, uniform):
        V, (L, *_), H = len(self._weights[0]), self._weights[3].shape, self._weights[3].shape[2]
        (K, N), ids = uniform.shape, indices(np.asarray(ids), V)
        require("ids", ids, (N,), None)
        require("temperatures", temperatures, (N,), None)
        if len(states) != L or any(s.shape != (N, H) for layer in states for s in layer):
            raise ValueError(f"Expected states of {L} layers, each ({N}, {H})")
        if self._plan is None or self._plan[0] != (K, N):
            self._plan = (K, N), *self._prepared(K, N, L, H, V)
        _, texts, run = self._plan
        texts.ids[:], texts.temperatures[:], texts.uniform[:] = ids, temperatures, uniform
        for k, layer in enumerate(states):
            texts.h0[k], texts.c0[k] = layer[0], layer[-1]  # twice h without c
        run()
        return texts

    def _prepared(self, K, N, L, H, V):
        """Returns the arrays for K characters of N texts, and what computes them."""
        texts = _Texts(K, N, L, H)
        width = self._weights[3].shape[1] * COLUMNS, self._weights[5].shape[0] * COLUMNS
        parts = {}

        def prepare(begin, end):
            space = _work_space(padded(end - begin), L, H, V, *width)
            texts.parts[begin] = end - begin, space[4]
            parts[begin, end] = self._function.prepare(
                *self._weights, self._skip, *texts.arrays, begin, end, padded(end - begin), *space
            )

        parallel_for(prepare, N)
        return texts, lambda: parallel_for(lambda *part: parts[part](), N)


class _Texts:
    """The arrays that a call reads and fills, for N texts."""

    def __init__(self, K, N, L, H):
        self.ids, self.temperatures = np.zeros(N, np.intp), np.zeros(N)
        self.uniform, self.drawn = np.zeros((K, N)), np.zeros((K, N), np.intp)
        self.h0, self.c0, self.h1, self.c1 = np.zeros((4, L, N, H), np.float32)
        self.arrays = (
            self.ids, self.h0, self.c0, self.temperatures, self.uniform, self.drawn,
            self.h1, self.c1,
        )  # fmt: skip
        self.parts: dict[int, tuple[int, np.ndarray]] = {}  # by its first text: number, logits

    def states(self, S):
        """Copies the states after the call: for each layer S of (N, H)."""
        after = self.h1.copy(), self.c1.copy()
        return [tuple(x[k] for x in after[:S]) for k in range(len(self.h1))]

    def logits(self, V):
        """Copies the logits (N, V) of the last step."""
        return np.concatenate([x[:n, :V] for _, (n, x) in sorted(self.parts.items())])


def _work_space(R, L, H, V, width, out):
    """Allocates the last arguments of `draw.draw`."""
    shapes = [(2, L, R, H)] * 2 + [(R, width)] * 2 + [(R, out), (R, H), (CACHE * H,)]
    return *(np.zeros(shape, np.float32) for shape in shapes), np.zeros(V), np.zeros(R, np.intp)


def _weights(network):
    """Returns the first arguments of `draw.draw`."""
    steps: list[Any] = network.steps
    (rows, _, _), *upper = steps
    H, GH = steps[0][2][0].shape
    none = np.zeros(GH, np.float32)
    no_panels = np.zeros((rounded(GH, COLUMNS) // COLUMNS, H, COLUMNS), np.float32)
    kernel, bias = network.dense
    found = (
        rows,
        np.stack([pack_panels(W) for W, *_ in upper] or [no_panels]),
        np.stack([none, *(b for _, b, _ in upper)]),
        np.stack([pack_panels(U) for *_, (U, *_) in steps]),
        np.stack([d[0] if d else none for *_, (_, *d) in steps]),
        pack_panels(kernel),
        bias,
    )
    return tuple(np.array(x, np.float32, order="C") for x in found)
