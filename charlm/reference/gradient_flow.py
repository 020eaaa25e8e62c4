"""The flow of a loss's gradient back to the states of earlier steps."""

from dataclasses import dataclass

import numpy as np

from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.network import Network


@dataclass(frozen=True)
class Flow:
    """Norms of one loss's gradient at every step back, and the weights' gradient."""

    states: dict[tuple[int, str], np.ndarray]
    """{(layer, "h" or "c"): |dLoss_T/d(state at T - k)| for k = 0 ... T-1, (T,)}, a mean over
    streams. The gradient by c holds h of the same step fixed: it is the flow along the cell."""
    weights: dict[str, np.ndarray]
    """{path: gradient of the mean loss over all steps}, the gradient of training."""


def measure(network: Network, ids: np.ndarray) -> Flow:
    """Back-propagates through the second half of each text, after a warm-up on the first half.

    Loss_T is the cross-entropy of the last prediction alone. Its gradient by h at step t
    passes every step between: training can learn over that distance only from it. Sources:
    Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient Descent is
    Difficult"; Pascanu, Mikolov and Bengio 2013, "On the difficulty of training
    recurrent neural networks".

    Args:
        network: a network in float64, to distinguish vanishing from underflow.
        ids: texts, (B, 2T + 1).
    """
    B, T = len(ids), ids.shape[1] // 2
    _, states, _ = network.forward(ids[:, :T], network.initial_states(B))
    logits, _, cache = network.forward(ids[:, T : 2 * T], states)
    targets = ids[:, T + 1 : 2 * T + 1]
    last = np.zeros_like(logits)
    last[:, -1] = np.exp(log_softmax(logits[:, -1]))
    last[np.arange(B), -1, targets[:, -1]] -= 1
    _, flows = network.backward(last, cache)
    norms = {
        (layer, letter): np.array([_norm(d[s], axis=-1).mean() for d in reversed(flow)])
        for layer, flow in enumerate(flows)
        for s, letter in enumerate(network.states)
    }
    weights, _ = network.backward(softmax_cross_entropy(logits, targets)[1], cache)
    return Flow(norms, weights)


def clip_by_norm(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    """Scales all gradients so that their common norm is at most `limit` (Pascanu et al., 3.2)."""
    size = norm(gradients)
    return {k: g * (limit / size) for k, g in gradients.items()} if size > limit else gradients


def norm(gradients: dict[str, np.ndarray]) -> float:
    """Computes the Euclidean norm of all tensors together, without intermediate overflow."""
    return float(_norm(np.array([_norm(g) for g in gradients.values()])))


def cosine(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Computes the cosine of the angle between two gradients: 1 is the same direction."""
    sizes = norm(a), norm(b)
    if not all(sizes):
        return 1.0
    return float(sum(((a[k] / sizes[0]) * (b[k] / sizes[1])).sum() for k in a))


def _norm(x, axis=None):
    """Computes the norm of numbers whose squares may overflow or underflow in float64."""
    largest = np.abs(x).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest, 1)
    size = np.sqrt(np.square(x / scale).sum(axis=axis, keepdims=True)) * scale
    return size.squeeze(axis)
