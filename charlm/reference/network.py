"""A trained network in NumPy, stepped one character at a time: no TensorFlow, quick to start."""

import numpy as np

from charlm.errors import InputError
from charlm.reference import lstm


class Network:
    """The network of `charlm.model.build`, from its weights.

    Args:
        weights: {path: array}, as `charlm.model.weights` gives and weight files hold.
        vocab_size: V.

    Raises:
        InputError: weights that are not those of such a network.
    """

    def __init__(self, weights: dict[str, np.ndarray], vocab_size: int):
        self.layers = []
        width = vocab_size
        while not self.layers or f"{_layer(len(self.layers))}/0" in weights:
            path = _layer(len(self.layers))
            H = weights[f"{path}/1"].shape[0] if f"{path}/1" in weights else 0
            shapes = [(width, 4 * H), (H, 4 * H), (4 * H,)]
            self.layers.append(_arrays(weights, path, shapes))
            width = H
        self.dense = _arrays(weights, "layers/dense/vars", [(width, vocab_size), (vocab_size,)])
        W, U, b = self.layers[0]
        self.layers[0] = (W + b, U, None)  # ids read rows, so the bias can be in them for good

    def initial_states(self, batch_size: int):
        """Zeros: for each layer (h, c), each (B, H)."""
        return [
            tuple(np.zeros((batch_size, U.shape[0]), np.float32) for _ in "hc")
            for _, U, _ in self.layers
        ]

    def step(self, ids, states):
        """One character on: ids (B,), states -> logits of the next (B, V), states."""
        after = []
        x = None
        for (W, U, b), before in zip(self.layers, states, strict=True):
            a_x = W[ids] if x is None else x @ W + b
            after.append(lstm.step(a_x, before, U))
            x = after[-1][0]
        kernel, bias = self.dense
        return x @ kernel + bias, after


def _layer(k):
    return f"layers/lstm{f'_{k}' if k else ''}/cell/vars"


def _arrays(weights, path, shapes):
    found = []
    for k, shape in enumerate(shapes):
        value = weights.get(f"{path}/{k}")
        if value is None or value.shape != shape:
            what = "none" if value is None else value.shape
            raise InputError(f"expected weights {path}/{k} of shape {shape}, found {what}")
        found.append(np.asarray(value, np.float32))
    return found
