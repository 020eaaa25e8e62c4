"""Softmax cross-entropy in NumPy."""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Computes log(exp(logits) / sum of exp(logits)), (..., V), without overflow."""
    below = logits - logits.max(axis=-1, keepdims=True)  # at most 0
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def softmax_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Computes the mean of -log softmax(logits)[target], in nats, and its gradient.

    Args:
        logits: (..., V).
        targets: integers (...).

    Returns:
        The loss, and (softmax(logits) - one_hot(targets)) / n, (..., V), for n targets.
    """
    log_p = log_softmax(logits)
    at = targets[..., None]
    loss = -np.take_along_axis(log_p, at, axis=-1).mean(dtype=np.float64)
    d_logits = np.exp(log_p)
    np.put_along_axis(d_logits, at, np.take_along_axis(d_logits, at, axis=-1) - 1, axis=-1)
    return float(loss), d_logits / targets.size
