"""The network of `charlm.training.network` in NumPy, for sampling and for training."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.reference import through_time
from charlm.reference.activations import ACTIVATIONS, Arrays

Change = Callable[[int, Arrays, Arrays], Arrays]


class Network:
    """A network made from its weights.

    Args:
        weights: {path: array}, as in `charlm.training.network.weights` and in weights files.
            `forward` and `backward` read the current `self.weights`; `step` reads the weights given
            here.
        vocab_size: V.
        config: sizes and options.
        dtype: float32, or float64 to check gradients.

    Raises:
        InputError: weights that do not fit the configuration.
    """

    def __init__(
        self,
        weights: dict[str, np.ndarray],
        vocab_size: int,
        config: ModelConfig,
        dtype: DTypeLike = np.float32,
    ):
        self.config, self.cell = config, CELLS[config.cell_name].reference
        self.states = CELLS[config.cell_name].states
        self.gates = len(CELLS[config.cell_name].gates)
        self.options = options(config)
        self.weights = {
            path: checked(weights, path, shape, dtype)
            for path, shape in shapes(config, vocab_size).items()
        }
        layers: Any = [
            tuple(self.weights[f"{layer_path(config, k)}/{n}"] for n in range(3))
            for k in range(config.layers)
        ]
        self.layers = layers
        self.dense = self.weights[f"{DENSE}/0"], self.weights[f"{DENSE}/1"]
        # for `step`: an id reads a row, so the rows can include the first layer's bias
        self.steps = [(W, *through_time.parts((W, U, b))) for W, U, b in layers]
        W, b, recurrent = self.steps[0]
        self.steps[0] = (W + b, None, recurrent)

    def initial_states(self, batch_size: int) -> list[Arrays]:
        """Returns zeros: for each layer S of (B, H)."""
        return [
            tuple(np.zeros((batch_size, U.shape[0]), U.dtype) for _ in self.states)
            for _, U, _ in self.layers
        ]

    def step(self, ids: np.ndarray, states: Sequence[Arrays]) -> tuple[np.ndarray, list[Arrays]]:
        """Reads one character of each text: ids (B,), states -> next logits (B, V), states."""
        logits, after, _ = self.recorded_step(ids, states)
        return logits, after

    def recorded_step(
        self, ids: np.ndarray, states: Sequence[Arrays], change: Change | None = None
    ) -> tuple[np.ndarray, list[Arrays], list[Arrays]]:
        """Computes `step`, and returns the gates of each layer too, G of (B, H).

        Args:
            ids: (B,).
            states: for each layer S of (B, H).
            change: (layer, gates, new states) -> states to use in their place.
        """
        after, gates = [], []
        x = None
        for k, ((W, b, recurrent), before) in enumerate(zip(self.steps, states, strict=True)):
            a_x = self.first_inputs(ids) if x is None else x @ W + b
            new, cache = self.cell.step(a_x, before, recurrent, **self.options)
            gates.append(cache[len(before) : len(before) + self.gates])
            if change is not None:
                new = change(k, gates[-1], new)
            after.append(new)
            x = new[0] if x is None or self.config.skip == "none" else x + new[0]
        kernel, bias = self.dense
        return x @ kernel + bias, after, gates

    def first_inputs(self, ids: np.ndarray) -> np.ndarray:
        """Returns the first layer's share of the inputs, x W + b, for ids (B,): (B, G*H)."""
        return self.steps[0][0][ids]

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """Returns ids as they are predicted, of any shape."""
        return ids

    def forward(
        self, ids: np.ndarray, states: Sequence[Arrays]
    ) -> tuple[np.ndarray, list[Arrays], tuple]:
        """Reads ids (B, T): returns logits (B, T, V), last states and the cache for `backward`."""
        x, after, caches = ids, [], []
        for k, (weights, before) in enumerate(zip(self.layers, states, strict=True)):
            h, new, cache = through_time.forward(self.cell, x, before, weights, **self.options)
            after.append(new)
            caches.append(cache)
            x = h if k == 0 or self.config.skip == "none" else x + h
        kernel, bias = self.dense
        return x @ kernel + bias, after, (x, caches)

    def backward(
        self, d_logits: np.ndarray, cache: tuple
    ) -> tuple[dict[str, np.ndarray], list[list[Arrays]]]:
        """Computes the gradients of a loss by the weights.

        Args:
            d_logits: dLoss/d(logits), (B, T, V).
            cache: from `forward`.

        Returns:
            {path: gradient}, and for each layer the whole dLoss/d(states after step t) for every
            t, S of (B, H). Gradients stop at the states before the first step.
        """
        x, caches = cache
        kernel, _ = self.dense
        rows = d_logits.reshape(-1, d_logits.shape[-1])
        found = {
            f"{DENSE}/0": x.reshape(len(rows), -1).T @ rows,
            f"{DENSE}/1": rows.sum(axis=0),
        }
        dx = d_logits @ kernel.T
        flows: list[list[Arrays]] = []
        for k in reversed(range(len(caches))):
            W, U, bias = self.layers[k]
            none = tuple(np.zeros((len(dx), U.shape[0]), U.dtype) for _ in self.states)
            below, _, gradients, flow = through_time.backward(
                self.cell, dx, none, caches[k], (W, U, bias), **self.options
            )
            for n, gradient in enumerate(gradients):
                found[f"{layer_path(self.config, k)}/{n}"] = gradient
            flows.insert(0, flow)
            dx = below if k == 0 or self.config.skip == "none" else below + dx
        return found, flows


DENSE, RANDOM_STATE = "layers/dense/vars", "seed_generator/vars/0"


def layer_path(config: ModelConfig, k: int) -> str:
    """Returns the path of layer k's weights in a file."""
    return f"layers/{CELLS[config.cell_name].saved_as}{f'_{k}' if k else ''}/cell/vars"


def shapes(config: ModelConfig, vocab_size: int, contexts: int = 0) -> dict[str, tuple[int, ...]]:
    """Returns {path: shape} of all weights of a network; C contexts are rows after those of ids."""
    V, H = vocab_size, config.units
    GH = len(CELLS[config.cell_name].gates) * H
    two_rows = options(config).get("reset_after", False)
    found: dict[str, tuple[int, ...]] = {}
    for k in range(config.layers):
        path = layer_path(config, k)
        found[f"{path}/0"] = (H if k else V + contexts, GH)
        found[f"{path}/1"] = (H, GH)
        found[f"{path}/2"] = (2, GH) if two_rows else (GH,)
    return found | {f"{DENSE}/0": (H, V), f"{DENSE}/1": (V,)}


def random_states(config: ModelConfig) -> set[str]:
    """Returns the paths of dropout's random states, which files may contain, of shape (2,)."""
    found = {
        f"{layer_path(config, k).removesuffix('vars')}{RANDOM_STATE}" for k in range(config.layers)
    }
    return found | {
        f"layers/dropout{f'_{k}' if k else ''}/{RANDOM_STATE}" for k in range(config.layers)
    }


def options(config: ModelConfig) -> dict:
    """Picks the options of the cell's `step` from the settings."""
    given = {
        "activation": ACTIVATIONS[config.activation],
        "recurrent_activation": ACTIVATIONS[config.recurrent_activation],
        "reset_after": config.reset == "after",
    }
    known = inspect.signature(CELLS[config.cell_name].reference.step).parameters
    return {name: value for name, value in given.items() if name in known}


def initial_weights(
    config: ModelConfig,
    vocab_size: int,
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
    log_shares: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Draws initial weights with the distributions of Keras: {path: array}.

    Kernels are uniform (Glorot and Bengio 2010, equation 16), recurrent kernels as in `config`.
    Biases are 0, except for the forget gate's and, if `output_bias` is unigram, the output layer's.

    Args:
        config: sizes and options.
        vocab_size: V.
        rng: source of random numbers.
        dtype: dtype of the weights.
        log_shares: (V,), the log of each character's share of the text, for the output layer's
            bias; None for 0.
    """
    found = {}
    gates = CELLS[config.cell_name].gates
    for path, shape in shapes(config, vocab_size).items():
        value = np.zeros(shape)
        if path.endswith("cell/vars/2"):
            if "f" in gates:
                at = gates.index("f") * config.units
                value[at : at + config.units] = config.forget_bias
        elif path.endswith("cell/vars/1"):
            value = _INITIALIZERS[config.recurrent_initializer](shape, rng)
        elif len(shape) == 2:
            value = _glorot_uniform(shape, rng)
        elif path == f"{DENSE}/1" and config.output_bias == "unigram" and log_shares is not None:
            value[:] = log_shares
        found[path] = value.astype(dtype)
    return found


def _glorot_uniform(shape, rng):
    limit = np.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def _orthogonal(shape, rng):
    """Draws rows of a random rotation (Saxe, McClelland and Ganguli 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.normal(size=(columns, rows)))
    return (q * np.sign(np.diag(r))).T


_INITIALIZERS = {
    "orthogonal": _orthogonal,
    "glorot_uniform": _glorot_uniform,
    "identity": lambda shape, rng: np.eye(*shape),
}


def checked(
    weights: dict[str, np.ndarray], path: str, shape: tuple[int, ...], dtype: DTypeLike
) -> np.ndarray:
    """Returns an array of the weights; raises InputError if it is missing or has another shape."""
    value = weights.get(path)
    if value is None or value.shape != shape:
        what = "none" if value is None else value.shape
        raise InputError(f"expected weights {path} of shape {shape}, found {what}")
    return np.asarray(value, dtype)
