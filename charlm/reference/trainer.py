"""Training in plain NumPy: windows of streams, RMSprop, clipping."""

from collections.abc import Callable, Iterator

import numpy as np

from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.network import Network
from charlm.text.windows import HeldOutWindows, TrainingWindows


class RMSprop:
    """Scales each weight's step by a moving average of its squared gradients.

        r <- decay * r + (1 - decay) * g^2
        w <- w - rate * g / (sqrt(r) + epsilon)

    Source: Tieleman and Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5.

    Args:
        rate: the learning rate.
        decay: share of the old average that is kept.
        epsilon: avoids a division by zero for a weight that never had a gradient.
    """

    def __init__(self, rate: float = 2e-3, decay: float = 0.95, epsilon: float = 1e-8):
        self.rate, self.decay, self.epsilon = rate, decay, epsilon
        self.squares: dict[str, np.ndarray] = {}

    def update(self, weights: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> None:
        """Takes one step; changes `weights` in place."""
        for name, g in gradients.items():
            r = self.squares.get(name, 0) * self.decay + (1 - self.decay) * g * g
            weights[name] -= self.rate * g / (np.sqrt(r) + self.epsilon)
            self.squares[name] = r


def clipped(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    """Clips every element to [-limit, limit]; a limit of 0 clips nothing."""
    if not limit:
        return gradients
    return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}


def train_epoch(
    network: Network, windows: TrainingWindows, optimizer: RMSprop, clip: float
) -> Iterator[float]:
    """Trains on the text once by truncated back-propagation through time; changes the weights.

    Args:
        network: the network to train.
        windows: windows of the text, in order.
        optimizer: updates the weights after each window.
        clip: the limit of each gradient's elements, 0 for none.

    Yields:
        The loss of each window, in nats a character, before its update.
    """
    states = None
    for k in range(len(windows)):
        (ids, fresh), targets = windows[k]
        states = states or network.initial_states(len(ids))
        kept = (1 - fresh)[:, None]  # a stream that starts must not inherit a state
        states = [tuple(s * kept for s in layer) for layer in states]
        logits, states, cache = network.forward(ids, states)
        loss, d_logits = softmax_cross_entropy(logits, targets)
        gradients, _ = network.backward(d_logits, cache)
        optimizer.update(network.weights, clipped(gradients, clip))
        yield loss


def evaluate(
    network: Network, held_out: HeldOutWindows, tell: Callable[[int], object] | None = None
) -> float:
    """Computes the mean loss of a held-out text, with the state carried through documents.

    Args:
        network: the network to measure.
        held_out: windows of the text.
        tell: called after each window with the number of characters measured in it.

    Returns:
        The loss in nats a character.
    """
    total, states = 0.0, network.initial_states(len(held_out.ids))
    for k in range(len(held_out)):
        (ids, _), targets, weights = held_out[k]
        logits, states, _ = network.forward(ids, states)
        log_p = np.take_along_axis(log_softmax(logits), targets[..., None], axis=-1)[..., 0]
        total -= (log_p * (weights > 0)).sum(dtype=np.float64)
        if tell:
            tell(int((weights > 0).sum()))
    return float(total / held_out.targets)
