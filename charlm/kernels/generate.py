"""Sampling: steps of a whole network and draws between them, many characters in a call."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from charlm.kernels.arrays import indices, require
from charlm.kernels.jit import cell as compiled_cell
from charlm.kernels.jit import f4, jit, specialized
from charlm.kernels.matmul import COLUMNS, multiply, pack_panels, padded
from charlm.kernels.parallel import parallel_for
from charlm.reference.activations import ACTIVATIONS, Arrays
from charlm.reference.network import Network

cell: Any = None  # the module whose equations `draw` runs, set by `jit.specialized`
ZERO = f4(0)


class Drawing:
    """Alternates a network's `step` and `constraints.draw` for a block of text in one function.

    Args:
        network: a `charlm.reference.network.Network`; its weights are copied.

    Raises:
        ImportError: there is no machine code for the network's cell or options.
    """

    def __init__(self, network: Network):
        options = dict(network.options)
        if not options.pop("reset_after", True):
            raise ImportError(f"no machine code for {network.config}")
        names = {value: name for name, value in ACTIVATIONS.items()}
        activations = {key: names[value] for key, value in options.items()}
        self.cell = compiled_cell(network.config.cell_name, **activations)
        self.loop = specialized(draw, cell=self.cell)
        self.skip = network.config.skip == "add"
        steps: list[Any] = network.steps
        (rows, _, _), *upper = steps
        self.units, GH = H, GH = network.steps[0][2][0].shape
        none = np.zeros(GH, np.float32)
        kernel, bias = network.dense
        self.weights = (
            np.array(rows, np.float32),
            np.stack(
                [pack_panels(W) for W, *_ in upper] or [np.zeros((1, H, COLUMNS), np.float32)]
            ),
            np.stack([none, *(b for _, b, _ in upper)], dtype=np.float32),
            np.stack([pack_panels(U) for *_, (U, *_) in network.steps]),
            np.stack(
                [d[0] if d else none for *_, (_, *d) in network.steps],
                dtype=np.float32,
            ),
            pack_panels(kernel),
            np.array(bias, np.float32),
        )

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
        (K, N), L, H = uniform.shape, len(self.weights[3]), self.units
        ids = indices(np.asarray(ids), len(self.weights[0])).astype(np.int64)
        first = [np.stack([s[k] for s in states]) for k in (0, -1)]  # h and c; twice h without c
        require("ids", ids, (N,), None)
        require("temperatures", temperatures, (N,), None)
        for state in first:
            require("states", state, (L, N, H))
        drawn = np.empty((K, N), np.int64)
        after = [np.empty_like(x) for x in first]

        def part(begin, end):
            self.loop(
                *self.weights, self.skip, ids, *first, temperatures, uniform,
                drawn, *after, begin, end, padded(end - begin),
            )  # fmt: skip

        parallel_for(part, N)
        return drawn, [tuple(x[k] for x in after[: len(states[0])]) for k in range(len(states))]


def draw(
    rows, W, b, U, d, kernel, bias, skip, ids, h0, c0, temperatures, uniform,
    drawn, h1, c1, begin, end, R,
):  # fmt: skip
    """Fills `drawn` and the states after it for texts begin..end.

    Args:
        rows: (V, G*H), the first layer's x W + b of each id.
        W: kernels of the layers above the first, `pack_panels`, (L - 1 or 1, ...).
        b: biases of x W, (L, G*H).
        U: recurrent kernels, `pack_panels`, (L, ...).
        d: biases of h' U, (L, G*H).
        kernel: `pack_panels` of the output layer's (H, V).
        bias: the output layer's, (V,).
        skip: whether layers above the first add their input to their output.
        ids: (N,), the last characters.
        h0, c0: (L, N, H), the states before them.
        temperatures: (N,).
        uniform: (K, N), random numbers in [0, 1).
        drawn: (K, N), ids to fill.
        h1, c1: (L, N, H), the states to fill.
        begin, end: the range of texts.
        R: `padded` of their number.
    """
    (K, _), (L, _, H), (V, GH), n = uniform.shape, h0.shape, rows.shape, end - begin
    h, c = np.zeros((2, L, R, H), np.float32), np.zeros((2, L, R, H), np.float32)
    wide = R, U.shape[1] * COLUMNS
    x, u = np.zeros(wide, np.float32), np.zeros(wide, np.float32)
    logits = np.zeros((R, kernel.shape[0] * COLUMNS), np.float32)
    below, cache = np.zeros((R, H), np.float32), np.zeros(cell.CACHE * H, np.float32)
    edges, now = np.zeros(V), ids[begin:end].copy()
    h[0, :, :n], c[0, :, :n] = h0[:, begin:end], c0[:, begin:end]
    for k in range(K):
        before, after = k % 2, (k + 1) % 2
        for layer in range(L):
            for r in range(n):
                for j in range(GH):
                    u[r, j] = d[layer, j]
                    x[r, j] = b[layer, j]
            multiply(h[before, layer], 0, R, U[layer], u)
            if layer:
                multiply(below, 0, R, W[layer - 1], x)
            for r in range(n):
                cell.step(
                    x[r] if layer else rows[now[r]], u[r], h[before, layer, r], c[before, layer, r],
                    h[after, layer, r], c[after, layer, r], cache,
                )  # fmt: skip
                for j in range(H):
                    added = below[r, j] if skip and layer else ZERO
                    below[r, j] = h[after, layer, r, j] + added
        for r in range(n):
            logits[r, :V] = bias
        multiply(below, 0, R, kernel, logits)
        for r in range(n):
            t = begin + r
            now[r] = drawn[k, t] = pick(logits[r], temperatures[t], uniform[k, t], edges)
    h1[:, begin:end], c1[:, begin:end] = h[K % 2, :, :n], c[K % 2, :, :n]


@jit
def pick(logits, temperature, uniform, edges):
    """Draws an id for one text, as `charlm.generation.sampler` does.

    Args:
        logits: (V or more,).
        temperature: 0 for the most probable id.
        uniform: a random number in [0, 1).
        edges: (V,), work space.
    """
    V, best = len(edges), 0
    for v in range(1, V):
        if logits[v] > logits[best]:
            best = v
    if temperature == 0:
        return best
    total, top = 0.0, np.float64(logits[best])
    for v in range(V):
        total += math.exp((np.float64(logits[v]) - top) / temperature)
        edges[v] = total
    v = 0
    while v < V - 1 and edges[v] <= uniform * total:
        v += 1
    return v
