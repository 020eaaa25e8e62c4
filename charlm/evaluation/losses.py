"""Computes the loss of each character of a text under a network."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charlm.notes import progress
from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.network import DENSE, Network
from charlm.text.ids import Ids

MAX_SIDE_BY_SIDE = 64  # documents or windows read at once
PASSAGE = 200  # characters


def groups(lengths: Sequence[int]) -> list[list[int]]:
    """Returns the numbers of documents that are measured side by side, those of a length together.

    The last digits of a document's losses depend on the others in its group. A part of the groups,
    their documents in the order of `lengths`, has the same groups.
    """
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])  # those of a length end together
    return [order[k : k + MAX_SIDE_BY_SIDE] for k in range(0, len(order), MAX_SIDE_BY_SIDE)]


def stateful_losses(network: Network, documents: Sequence[Ids]) -> list[np.ndarray]:
    """Computes losses with the state carried from the first character of a document to its last.

    Args:
        network: the model.
        documents: arrays (n,) of ids, which may have contexts, see `ConditionedNetwork`.

    Returns:
        For each document, the losses of all its characters except the first, (n - 1,), in nats.
    """
    return _stateful_losses(network, documents, "measuring")


def _stateful_losses(network, documents, what):
    found: list[Any] = [None] * len(documents)
    with progress(what, sum(map(len, documents))) as tell:
        for group in groups([len(d) for d in documents]):
            losses = _side_by_side(network, [documents[k] for k in group], tell)
            for k, x in zip(group, losses, strict=True):
                found[k] = x
    return found


def _side_by_side(network, documents, tell):
    """Computes losses of documents in a batch, sorted by length, the longest first."""
    lengths = [len(d) for d in documents]
    ids = np.zeros((len(documents), max(lengths)), np.int64)
    for row, d in zip(ids, documents, strict=True):
        row[: len(d)] = d
    losses = np.zeros(ids.shape, np.float32)
    states, n = network.initial_states(len(ids)), len(ids)
    for t in range(ids.shape[1] - 1):
        while n and lengths[n - 1] <= t + 1:
            n -= 1
        states = [tuple(s[:n] for s in layer) for layer in states]
        logits, states = network.step(ids[:n, t], states)
        tell(n)
        log_p = log_softmax(logits)
        target = network.targets(ids[:n, t + 1, None])
        losses[:n, t + 1] = -np.take_along_axis(log_p, target, axis=-1)[:, 0]
    return [row[1:n] for row, n in zip(losses, lengths, strict=True)]


def zero_state_losses(
    network: Network, documents: Sequence[Ids], context: int, most: int
) -> np.ndarray:
    """Computes losses of windows of context + 1 ids, each read from a zero state.

    Args:
        network: the model.
        documents: arrays (n,) of ids.
        context: ids that are measured in a window.
        most: maximum number of windows; they are spread evenly over the documents.

    Returns:
        Losses (windows, context), in nats.
    """
    kept = windows(documents, context, most)
    if not kept:
        return np.zeros((0, context), np.float32)
    return np.stack(_stateful_losses(network, kept, f"measuring windows of {context}"))


def windows(documents: Sequence[Ids], context: int, most: int) -> list[Ids]:
    """Returns the windows that `zero_state_losses` measures, (context + 1,) ids each."""
    found = [d[k : k + context + 1] for d in documents for k in range(0, len(d) - context, context)]
    places = np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)
    return [found[k] for k in places]


class DynamicEvaluation:
    """Dynamic evaluation: the weights are updated on each stretch of a text after measuring it.

    Let w be the weights, w_0 the trained weights, g the gradient of a stretch's mean loss, and s
    the root mean square of such gradients on training text:

        w <- w - rate g / (s + mean(s)) + min(1, decay s / mean(s)) (w_0 - w)

    Source: Krause, Kahembwe, Murray and Renals 2018, "Dynamic Evaluation of Neural Sequence
    Models", section 5. The paper has a small constant instead of the first mean(s). But the rows of
    the first kernel for rare characters have an s close to zero, and one update destroyed them.

    Args:
        network: the trained model, which is not changed.
        training: (n,) ids of its training text.
        rate: learning rate, chosen on a held-out speech.
        decay: decay toward the trained weights, chosen on a held-out speech.
    """

    STRETCH = 32  # characters
    SAMPLES = 200  # stretches of training text

    def __init__(self, network: Network, training: Ids, rate: float = 8e-4, decay: float = 0.01):
        self.network = network
        states = network.initial_states(1)
        squares: dict[str, np.ndarray] = {}
        length = self.STRETCH * self.SAMPLES + 1
        begin = max(0, (len(training) - length) // 2)
        found = 0
        with progress("preparing dynamic evaluation", self.SAMPLES) as tell:
            for ids in self._stretches(training[begin : begin + length]):
                _, gradients, states = self._learned(network, ids, states)
                squares = {name: squares.get(name, 0) + g * g for name, g in gradients.items()}
                found += 1
                tell()
        sizes = {name: np.sqrt(x / max(found, 1)) for name, x in squares.items()}
        mean = sum(x.sum() for x in sizes.values()) / sum(x.size for x in sizes.values())
        self.rates = {name: rate / (x + mean) for name, x in sizes.items()}
        self.pull = {name: np.minimum(1, decay * x / mean) for name, x in sizes.items()}

    def losses(self, ids: Ids, tell: Callable[[int], None] = lambda n: None) -> np.ndarray:
        """Computes the losses of a document (n,), in nats (n - 1,), from the trained weights on.

        Args:
            ids: the document.
            tell: called with the number of characters of each stretch.
        """
        first = self.network.weights
        weights = {name: w.copy() for name, w in first.items()}
        network = Network(weights, len(first[f"{DENSE}/1"]), self.network.config)
        states, found = network.initial_states(1), []
        for stretch in self._stretches(ids):
            losses, gradients, states = self._learned(network, stretch, states)
            found.append(losses)
            tell(len(losses))
            for name, w in network.weights.items():
                w -= self.rates[name] * gradients[name]
                w += self.pull[name] * (first[name] - w)
        return np.concatenate(found)

    def _stretches(self, ids):
        """Yields each stretch with the character after it."""
        return (ids[k : k + self.STRETCH + 1] for k in range(0, len(ids) - 1, self.STRETCH))

    @staticmethod
    def _learned(network, ids, states):
        """Returns the losses of a stretch, the gradients of their mean, and the states after it."""
        ids = ids[None].astype(np.int64)
        logits, states, cache = network.forward(ids[:, :-1], states)
        _, d_logits = softmax_cross_entropy(logits, ids[:, 1:])
        losses = -np.take_along_axis(log_softmax(logits), ids[:, 1:, None], axis=-1)
        return losses[0, :, 0], network.backward(d_logits, cache)[0], states


def by_character(losses: np.ndarray, ids: Ids, lengths: np.ndarray) -> np.ndarray:
    """Spreads the loss of each token evenly over its characters.

    Args:
        losses: of all ids but the first, (n - 1,).
        ids: (n,).
        lengths: (V,), the number of characters of each id. The loss of an id without a character,
            which continues one, goes to the id before it.

    Returns:
        (m,), one for each character after those of the first id.
    """
    if (lengths == 1).all():
        return losses
    sizes = lengths[np.asarray(ids[1:])]
    group = np.maximum(np.cumsum(sizes > 0) - 1, 0)
    sizes = sizes[sizes > 0]
    sums = np.bincount(group, losses, len(sizes))[: len(sizes)].astype(losses.dtype)
    return np.repeat(sums / sizes.astype(losses.dtype), sizes)


def bits(losses: Sequence[np.ndarray]) -> float:
    """Returns the mean of losses in nats, in bits."""
    total = sum(float(x.sum(dtype=np.float64)) for x in losses)
    return total / sum(x.size for x in losses) / math.log(2)


def perplexity(bits: float, characters: float, units: float) -> str:
    """Returns the perplexity per unit of a text, for a table.

    Args:
        bits: per character.
        characters: of the text.
        units: its number of words, tokens or others.
    """
    power = bits * characters / max(1, units)
    if power >= 30:
        return f"2^{power:.0f}"
    return f"{2**power:.3f}" if power < 10 else f"{2**power:,.0f}"


def by_position(losses: Sequence[np.ndarray], firsts: Sequence[int] | None = None) -> list[dict]:
    """Returns bits per character by the number of characters read before: 1, 2 to 3, 4 to 7 ...

    Args:
        losses: of characters, arrays.
        firsts: the position of the first of each document's; 1 by default.
    """
    rows, low = [], 1
    begins = firsts or [1] * len(losses)
    while any(len(x) + begin > low for x, begin in zip(losses, begins, strict=True)):
        part = [
            x[max(0, low - begin) : max(0, 2 * low - begin)]
            for x, begin in zip(losses, begins, strict=True)
        ]
        if any(map(len, part)):  # a token may have more characters
            rows.append({"from": low, "to": 2 * low - 1, "bits": bits(part)})
        low *= 2
    return rows


def hardest(
    losses: Sequence[np.ndarray], count: int, firsts: Sequence[int] | None = None
) -> list[tuple[int, int, float]]:
    """Returns the passages with the most bits per character: (document, first character, bits).

    Passages have `PASSAGE` characters and do not overlap; a shorter document has none. Args: see
    `by_position`.
    """
    found = []
    for k, x in enumerate(losses):
        ends = np.cumsum(np.concatenate([[0.0], x]))
        means = (ends[PASSAGE:] - ends[:-PASSAGE]) / PASSAGE / np.log(2)
        for _ in range(count):
            if means.max(initial=-1) < 0:
                break
            at = int(means.argmax())
            found.append((k, at + (firsts[k] if firsts else 1), float(means[at])))
            means[max(0, at - PASSAGE + 1) : at + PASSAGE] = -1
    return sorted(found, key=lambda row: -row[2])[:count]
