"""Comparison of hand-derived gradients with finite differences."""

from collections.abc import Callable

import numpy as np


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
    name = max(errors, key=errors.get)
    return name, errors[name]
