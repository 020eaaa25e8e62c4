"""Chooses an id from logits: temperature, top-k, nucleus, repetition penalty, random draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from charlm.errors import require


@dataclass(frozen=True)
class SamplingConstraints:
    """Constraints on sampling; with the defaults, characters are drawn with their probabilities.

    Sources: nucleus sampling, Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration",
    section 3.1; top-k, Fan, Lewis and Dauphin 2018, "Hierarchical Neural Story Generation", section
    5.4. The repetition penalty of Keskar et al. 2019 ("CTRL", section 4.1) lowers every token that
    has occurred. For characters that is the whole alphabet, so here it lowers only a character that
    would repeat an n-gram.
    """

    top_k: int = 0
    """Top-k sampling: draw from the k most probable characters (tokens in a run with --tokens)
    only; 0 for all."""
    top_p: float = 1.0
    """Nucleus (top-p) sampling: draw from the smallest set of most probable characters whose
    probabilities sum to at least this; 1 for all."""
    repetition_penalty: float = 1.0
    """Repetition penalty: divide the probability (at temperature 1) of a character by this if it
    would repeat --repetition-length characters of the text, its prompt included; 1 for none."""
    repetition_length: int = 12
    """Length in characters of the repetitions that --repetition-penalty makes less probable."""

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


MAX_PENALTY = 1e30  # has the effect of a probability of 0, without an infinity
MAX_RUN = 1000  # characters; the cost of each draw grows with it


def probabilities(logits: np.ndarray, temperature: ArrayLike) -> np.ndarray:
    """Computes softmax(logits / temperature) without overflow; temperature 0 is argmax.

    Args:
        logits: (N, V).
        temperature: one number, or one for each row (N,).

    Returns:
        (N, V) float64; rows sum to 1. At temperature 0 the first of the largest logits gets 1.
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
    """Sets all but the most probable ids of each row of p (N, V) to zero; ties keep the first.

    Args:
        p: probabilities (N, V).
        top_k: see `SamplingConstraints`.
        top_p: see `SamplingConstraints`; an id must pass both.
    """
    order = np.argsort(-p, axis=-1, kind="stable")
    falling = np.take_along_axis(p, order, axis=-1)
    before = np.cumsum(falling, axis=-1) - falling  # the sum of all that are more probable
    falling[before >= top_p * p.sum(axis=-1, keepdims=True)] = 0
    if top_k:
        falling[:, top_k:] = 0
    kept = np.empty_like(p)
    np.put_along_axis(kept, order, falling, axis=-1)
    return kept


def draw(p: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draws ids (N,) by inverse transform sampling.

    Args:
        p: probabilities (N, V), which need not sum to 1.
        uniform: random numbers (N,) in [0, 1).
    """
    # Scaled by the row's own sum, so that rounding can never point past the last id; ids of
    # probability 0 have no width and are never drawn.
    edges = np.cumsum(p, axis=-1)
    return (edges <= (uniform * edges[:, -1])[:, None]).sum(axis=-1)


class TokenChooser:
    """Chooses the next id of each of N texts, under constraints, from the text so far.

    Args:
        rules: the constraints.
        prompt: N arrays of ids, the texts so far.
        pieces: the text of each id, if ids stand for tokens: the repetition penalty counts
            characters.
    """

    def __init__(
        self,
        rules: SamplingConstraints,
        prompt: Sequence[np.ndarray] | np.ndarray,
        pieces: Sequence[str] | None = None,
    ):
        self.rules = rules
        self.runs: list[_SeenNgrams | _SeenText] = []
        if rules.repetition_penalty > 1:
            n = rules.repetition_length
            tokens = None if pieces is None else _Tokens(pieces, n)
            self.runs = [
                _SeenNgrams(n, ids) if tokens is None else _SeenText(tokens, ids) for ids in prompt
            ]

    def __call__(
        self, logits: np.ndarray, temperatures: np.ndarray, uniform: np.ndarray
    ) -> np.ndarray:
        """Returns ids (N,) for logits (N, V), temperatures (N,) and random numbers (N,)."""
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

    def select(self, rows: np.ndarray) -> None:
        """Keeps only these of the texts, which are the next ones to choose for."""
        self.runs = [self.runs[k] for k in rows] if self.runs else []


class _SeenNgrams:
    """The n-grams of a text, n = `length`: the last ids, by the n - 1 ids before them."""

    def __init__(self, length, ids):
        self.length, self.last, self.found = length, (), {}
        for new in ids.tolist():
            self.add(new)

    def add(self, new):
        if len(self.last) == self.length - 1:
            self.found.setdefault(self.last, set()).add(new)
        self.last = (*self.last, new)[-(self.length - 1) :] if self.length > 1 else ()

    def again(self):
        """Returns the ids that would repeat an n-gram of the text."""
        return self.found.get(self.last, ())


class _Tokens:
    """The tokens by what they begin with, and by the n-grams of characters within them.

    Args:
        pieces: the text of each of V ids.
        length: n.
    """

    def __init__(self, pieces, length):
        self.pieces, self.length = pieces, length
        self.longest = max(map(len, pieces))
        self.repetitive: set[int] = set()  # that repeat an n-gram within themselves
        self.beginning: dict[str, list[int]] = {}
        self.holding: dict[str, list[int]] = {}
        for k, piece in enumerate(pieces):
            for end in range(1, len(piece) + 1):
                self.beginning.setdefault(piece[:end], []).append(k)
            grams = [piece[at : at + length] for at in range(len(piece) - length + 1)]
            for gram in {*grams}:
                self.holding.setdefault(gram, []).append(k)
            if len({*grams}) < len(grams):
                self.repetitive.add(k)


class _SeenText:
    """The n-grams of characters, n = `length`, of a text whose ids have several characters each.

    An n-gram may end at each character of a token. It is found by the characters before the token,
    for every number of them; an n-gram within a token needs none.
    """

    def __init__(self, tokens, ids):
        self.tokens, self.last, self.seen = tokens, "", set()
        self.within = {*tokens.repetitive}  # ids that hold an n-gram of the text
        self.after = {}  # the ends of n-grams by their beginnings
        for new in ids.tolist():
            self.add(new)

    def add(self, new):
        n, text = self.tokens.length, self.last + self.tokens.pieces[new]
        for at in range(len(text) - n + 1):
            gram = text[at : at + n]
            if gram in self.seen:
                continue
            self.seen.add(gram)
            self.within.update(self.tokens.holding.get(gram, ()))
            for cut in range(max(1, n - self.tokens.longest), n):
                self.after.setdefault(gram[:cut], []).append(gram[cut:])
        self.last = text[max(0, len(text) - n + 1) :]

    def again(self):
        """Returns the ids with a character that would end an n-gram of the text."""
        found = set(self.within)
        for cut in range(max(1, self.tokens.length - self.tokens.longest), len(self.last) + 1):
            for end in self.after.get(self.last[len(self.last) - cut :], ()):
                found.update(self.tokens.beginning.get(end, ()))
        return found
