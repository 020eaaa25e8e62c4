"""How much of a loss's gradient arrives at the states of earlier steps."""

from dataclasses import dataclass

import numpy as np

from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.network import Network


@dataclass(frozen=True)
class Flow:
    """Norms of one loss's gradient at every step back, and of the weights' gradient."""

    states: dict[tuple[int, str], np.ndarray]
    """{(layer, "h" or "c"): |dLoss_T/d(state at T - k)| for k = 0 ... T-1, (T,)}, a mean over
    streams. That of c is taken with h of the same step held fixed: what flows along the cell."""
    weights: dict[str, np.ndarray]
    """{path: gradient of the mean loss over all steps}, as training has it."""


def measure(network: Network, ids: np.ndarray) -> Flow:
    """Back-propagates through half of each text, from states warmed up on the other half.

    Loss_T is the cross-entropy of the last prediction alone. Its gradient by h at step t goes
    through every step between: it is what training can learn from over that distance. Sources:
    Bengio, Simard and Frasconi 1994, "Learning Long-Term Dependencies with Gradient Descent is
    Difficult"; Pascanu, Mikolov and Bengio 2013, "On the difficulty of training
    recurrent neural networks".

    Args:
        network: in float64, so that what vanishes is told from what underflows.
        ids: (B, 2T + 1).
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
    """All scaled alike so that their common norm is at most `limit` (Pascanu et al., there 3.2)."""
    size = norm(gradients)
    return {k: g * (limit / size) for k, g in gradients.items()} if size > limit else gradients


def norm(gradients: dict[str, np.ndarray]) -> float:
    """The Euclidean norm of all tensors together; nothing overflows before it does."""
    return float(_norm(np.array([_norm(g) for g in gradients.values()])))


def cosine(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Of the angle between two gradients: 1 is the same direction."""
    sizes = norm(a), norm(b)
    if not all(sizes):
        return 1.0
    return float(sum(((a[k] / sizes[0]) * (b[k] / sizes[1])).sum() for k in a))


def _norm(x, axis=None):
    """Of numbers whose squares may be too large or too small for float64."""
    largest = np.abs(x).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest, 1)
    size = np.sqrt(np.square(x / scale).sum(axis=axis, keepdims=True)) * scale
    return size.squeeze(axis)
