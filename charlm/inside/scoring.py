"""Scores of how well a number follows a property of a text."""

import functools
from collections.abc import Sequence

import numpy as np

LEVELS = 2**16  # of a cell's values, stored in two bytes
CONTEXTS = 1, 2, 4, 6  # characters
BACK_OFF = 2.0  # characters that the estimate of the shorter context counts for


def to_levels(x: np.ndarray, bounded: bool) -> np.ndarray:
    """Rounds states to levels 0 to 65,535 that keep their order.

    Args:
        x: states.
        bounded: whether they lie between -1 and 1; others are mapped by x / (1 + |x|) first.

    Returns:
        uint16, of the same shape.
    """
    y = x if bounded else x / (1 + np.abs(x))
    return np.clip(np.rint((LEVELS - 1) / 2 * (y + 1)), 0, LEVELS - 1).astype(np.uint16)


def counts(levels: np.ndarray, labels: np.ndarray, size: int = LEVELS) -> np.ndarray:
    """Counts the values of each level, (2, size): without the property, then with it."""
    flat = np.bincount(levels.astype(np.intp) + size * labels, minlength=2 * size)
    return flat.reshape(2, size)


def auc(table: np.ndarray) -> float:
    """Computes the area under the ROC curve from `counts`.

    It is the probability that a random character with the property has a higher level than one
    without, ties counting half; 0.5 means no relation. NaN if one of the two does not occur.
    """
    without, with_ = table
    below = np.cumsum(without) - without
    pairs = without.sum() * with_.sum()
    return float((with_ * (below + without / 2)).sum() / pairs) if pairs else float("nan")


def rough_auc(levels: np.ndarray, labels: np.ndarray) -> float:
    """Computes `auc` of levels rounded to 12 bits, in less time."""
    return auc(counts(levels >> 4, labels, LEVELS >> 4))


def best_threshold(table: np.ndarray) -> int:
    """Returns the level from which on predicting the property has the highest F1 score."""
    without, with_ = table
    hits = np.cumsum(with_[::-1])[::-1]
    said = hits + np.cumsum(without[::-1])[::-1]
    return int(np.argmax(2 * hits / np.maximum(1, said + with_.sum())))


def f1(table: np.ndarray, threshold: int) -> float:
    """Computes the F1 score of predicting the property from a level on."""
    without, with_ = table
    hits, wrong = with_[threshold:].sum(), without[threshold:].sum()
    return float(2 * hits / max(1, hits + wrong + with_.sum()))


class CharacterContexts:
    """Predicts a property from the last characters alone: what a cell has to surpass.

    Args:
        ids: (n,), the text.
        V: size of the vocabulary.
        half: predictions are learned before this position and scored from it on.
    """

    def __init__(self, ids: np.ndarray, V: int, half: int):
        self.ids, self.V, self.half = ids, V, half

    @functools.cached_property
    def codes(self) -> list[np.ndarray]:
        """A number for each context, (n,), for each length."""
        return [_contexts(self.ids, self.V, k) for k in CONTEXTS]

    def scores(self, labels: np.ndarray) -> dict[int, float]:
        """Returns the AUC by the length of the context, for the labels (n,) of a property."""
        half, found = self.half, {}
        p = np.full(len(labels), labels[:half].mean())
        for length, codes in zip(CONTEXTS, self.codes, strict=True):
            size = int(codes.max()) + 1
            seen = np.bincount(codes[:half], minlength=size)
            hits = np.bincount(codes[:half], labels[:half], minlength=size)
            p = (hits[codes] + BACK_OFF * p) / (seen[codes] + BACK_OFF)
            _, levels = np.unique(p[half:], return_inverse=True)
            found[length] = auc(counts(levels, labels[half:], int(levels.max()) + 1))
        return found


def _contexts(ids: np.ndarray, V: int, length: int) -> np.ndarray:
    """Returns a number for the last `length` characters at each place, equal if they are."""
    codes = ids.astype(np.int64)
    for k in range(1, length):
        earlier = np.concatenate([np.full(k, -1), ids[:-k]])[: len(ids)]
        _, codes = np.unique(codes * (V + 1) + earlier + 1, return_inverse=True)
    return codes


def differences(levels: np.ndarray, labels: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Computes the standardized difference of each cell's mean with and without each property.

    Args:
        levels: (n, C) of all cells.
        labels: (P, n) booleans.

    Returns:
        (P, C) float64; 0 where there is none.
    """
    n, C = levels.shape
    sums, squares, all_ = np.zeros((len(labels), C)), np.zeros(C), np.zeros(C)
    for at in range(0, n, 2**14):
        x = levels[at : at + 2**14].astype(np.float32)
        sums += np.stack([row[at : at + 2**14] for row in labels]).astype(np.float32) @ x
        all_ += x.sum(axis=0, dtype=np.float64)
        squares += (x * x).sum(axis=0, dtype=np.float64)
    count = np.array([[np.count_nonzero(row)] for row in labels])
    spread = np.sqrt(np.maximum(squares / n - (all_ / n) ** 2, 1e-12))
    inside, outside = sums / np.maximum(count, 1), (all_ - sums) / np.maximum(n - count, 1)
    return np.where((count > 0) & (count < n), (inside - outside) / spread, 0)
