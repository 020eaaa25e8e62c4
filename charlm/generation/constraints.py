"""From logits to an id: temperature, constraints on what may be drawn, the draw itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from charlm.config import require


@dataclass(frozen=True)
class SamplingConstraints:
    """Which characters may be drawn, beside their odds. The defaults leave all as they are.

    Sources: nucleus, Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section
    3.1; top-k, Fan, Lewis and Dauphin 2018, "Hierarchical Neural Story Generation", section 5.4. A
    penalty on every character that was there (Keskar et al. 2019, "CTRL", section 4.1) would fall
    on the whole alphabet, so here it falls on what makes a run of characters come again.
    """

    top_k: int = 0
    """Only the k likeliest characters are drawn from; 0 for all."""
    top_p: float = 1.0
    """Only the likeliest characters that together have this share of the odds, at least one."""
    repetition_penalty: float = 1.0
    """A character's odds (as they are at temperature 1) are divided by this where it would complete
    a run of --repetition-length characters that the text, its prompt included, already has."""
    repetition_length: int = 12
    """Characters of a run that is not to come again."""

    def __post_init__(self):
        require(self.top_k >= 0, "top_k", "0 or more", self.top_k)
        require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1", self.top_p)
        ok = 1 <= self.repetition_penalty <= MAX_PENALTY
        require(ok, "repetition_penalty", f"from 1 to {MAX_PENALTY:g}", self.repetition_penalty)
        n, default = self.repetition_length, type(self).repetition_length
        ok = 1 <= n <= MAX_RUN
        require(ok, "repetition_length", f"from 1 to {MAX_RUN}", n)
        ok = n == default or self.repetition_penalty > 1
        require(ok, "repetition_length", "left out without --repetition-penalty", n)


MAX_PENALTY = 1e30  # no different from never, and no infinity
MAX_RUN = 1000  # characters: each that is drawn costs as much


def probabilities(logits: np.ndarray, temperature: ArrayLike) -> np.ndarray:
    """softmax(logits / temperature), without overflow at any finite temperature; 0 is argmax.

    Args:
        logits: (N, V). temperature: one number, or one a row (N,).

    Returns:
        (N, V) float64, rows sum to 1. At temperature 0 the first of the largest logits has it all.
    """
    temperature = np.broadcast_to(np.asarray(temperature, np.float64), logits.shape[:1])[:, None]
    below = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)  # at most 0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        p = np.exp(below / temperature)  # -inf at worst, whose exp is 0
    greedy = np.zeros_like(p)
    np.put_along_axis(greedy, logits.argmax(axis=-1)[:, None], 1.0, axis=-1)
    p = np.where(temperature == 0, greedy, p)
    return p / p.sum(axis=-1, keepdims=True)


def filter_top_k_top_p(p: np.ndarray, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """p (N, V) with zeros for all but the likeliest ids of each row; of equals the first comes.

    Args:
        top_k, top_p: see `Rules`; what remains of both is kept.
    """
    order = np.argsort(-p, axis=-1, kind="stable")
    falling = np.take_along_axis(p, order, axis=-1)
    before = np.cumsum(falling, axis=-1) - falling  # the share of those that are likelier
    falling[before >= top_p * p.sum(axis=-1, keepdims=True)] = 0
    if top_k:
        falling[:, top_k:] = 0
    kept = np.empty_like(p)
    np.put_along_axis(kept, order, falling, axis=-1)
    return kept


def draw(p: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ids (N,) from probabilities (N, V), which need not sum to 1, by the inverse of their
    distribution function.

    Args:
        uniform: (N,) in [0, 1).
    """
    # Counted against the row's own sum, so that rounding can never point past the last id; ids of
    # probability 0 have no width and are never drawn.
    edges = np.cumsum(p, axis=-1)
    return (edges <= (uniform * edges[:, -1])[:, None]).sum(axis=-1)


class TokenChooser:
    """An id for each of N texts, by the rules, from what has been written.

    Args:
        prompt: N texts of ids so far.
    """

    def __init__(self, rules: SamplingConstraints, prompt: Sequence[np.ndarray] | np.ndarray):
        self.rules, self.runs = rules, []
        if rules.repetition_penalty > 1:
            self.runs = [_SeenNgrams(rules.repetition_length, ids) for ids in prompt]

    def __call__(
        self, logits: np.ndarray, temperatures: np.ndarray, uniform: np.ndarray
    ) -> np.ndarray:
        """(N, V), (N,), (N,) -> (N,)."""
        if self.runs:
            logits = logits.astype(np.float64)
            for row, runs in zip(logits, self.runs, strict=True):
                row[list(runs.again())] -= np.log(self.rules.repetition_penalty)
        p = probabilities(logits, temperatures)
        if self.rules.top_k or self.rules.top_p < 1:
            p = filter_top_k_top_p(p, self.rules.top_k, self.rules.top_p)
        ids = draw(p, uniform)
        for runs, new in zip(self.runs, ids.tolist(), strict=False):
            runs.add(new)
        return ids


class _SeenNgrams:
    """The runs of `length` ids that a text has: by all but their last, the ids that were last."""

    def __init__(self, length, ids):
        self.length, self.last, self.found = length, (), {}
        for new in ids.tolist():
            self.add(new)

    def add(self, new):
        if len(self.last) == self.length - 1:
            self.found.setdefault(self.last, set()).add(new)
        self.last = (*self.last, new)[-(self.length - 1) :] if self.length > 1 else ()

    def again(self):
        """Ids that would complete a run that was there before."""
        return self.found.get(self.last, ())
