"""Comparison of hand-derived gradients with finite differences."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from charlm.config import ModelConfig
from charlm.reference.loss import softmax_cross_entropy
from charlm.reference.network import Network, initial_weights


def numeric(loss: Callable[[], float], value: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Computes (loss(value + e) - loss(value - e)) / 2e for each element, changing it in place."""
    gradient = np.empty_like(value)
    for at in np.ndindex(value.shape):
        kept = value[at]
        value[at] = kept + epsilon
        above = loss()
        value[at] = kept - epsilon
        gradient[at] = (above - loss()) / (2 * epsilon)
        value[at] = kept
    return gradient


def worst(
    loss: Callable[[], float], values: dict[str, np.ndarray], gradients: dict[str, np.ndarray]
) -> tuple[str, float]:
    """Finds the tensor whose hand-derived gradient differs most from the numeric one.

    Args:
        loss: computes the loss from `values` at each call.
        values: float64 arrays by name; float32 has too few digits for differences.
        gradients: hand-derived gradients with the same names and shapes.

    Returns:
        Its name, and |hand - numeric| / (|hand| + |numeric|) in the Euclidean norm, 0 to 1.

    Raises:
        TypeError: values that are not float64.
    """
    errors = {}
    for name, value in values.items():
        if value.dtype != np.float64:
            raise TypeError(f"Expected float64 to check gradients. Received: {name}, {value.dtype}")
        found, hand = numeric(loss, value), gradients[name]
        size = np.linalg.norm(found) + np.linalg.norm(hand)
        errors[name] = float(np.linalg.norm(found - hand) / size) if size else 0.0
    name = max(errors, key=errors.__getitem__)
    return name, errors[name]


def check_cell(config: ModelConfig, seed: int) -> tuple[str, float, int]:
    """Checks every gradient of a small network of the same cell and options.

    Args:
        config: the network's; its units are replaced by a few.
        seed: for weights and ids.

    Returns:
        The worst tensor and its error: see `worst`; and the number of tensors.
    """
    config = replace(config, units=4)
    B, T, V = 2, 6, 7
    rng = np.random.default_rng(seed)
    weights = initial_weights(config, V, rng, np.float64)
    for w in weights.values():
        w += 0.3 * rng.normal(size=w.shape)  # without it, all biases would be equal
    ids, targets = rng.integers(V, size=(2, B, T))
    network = Network(weights, V, config, np.float64)

    def loss():
        logits, _, _ = network.forward(ids, network.initial_states(B))
        return softmax_cross_entropy(logits, targets)[0]

    logits, _, cache = network.forward(ids, network.initial_states(B))
    gradients, _ = network.backward(softmax_cross_entropy(logits, targets)[1], cache)
    return *worst(loss, network.weights, gradients), len(gradients)
