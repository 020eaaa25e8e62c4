"""A trained network in NumPy, stepped one character at a time: no TensorFlow, quick to start."""

import numpy as np

from charlm.reference import lstm


class Network:
    """The network of `charlm.model.build`, from its weights.

    Args:
        weights: {path: array}, as `charlm.model.weights` gives and weight files hold.
    """

    def __init__(self, weights: dict[str, np.ndarray]):
        self.layers = []
        while (
            path := f"layers/lstm{f'_{len(self.layers)}' if self.layers else ''}/cell/vars"
        ) + "/0" in weights:
            W, U, b = (np.asarray(weights[f"{path}/{k}"], np.float32) for k in range(3))
            self.layers.append((W, U, b))
        W, U, b = self.layers[0]
        self.layers[0] = (W + b, U, None)  # ids read rows, so the bias can be in them for good
        self.dense = [np.asarray(weights[f"layers/dense/vars/{k}"], np.float32) for k in range(2)]

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
