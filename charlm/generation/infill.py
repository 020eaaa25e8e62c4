"""Fills the gap between two texts: middles that lead from one to the other.

Wanted are middles m with the probability p(m | left, right), which is proportional to the product
of p(m | left) and p(right | left m). Many texts are drawn that continue `left`, so they come from
the first factor, and each of their beginnings is a middle with the second factor as its weight:
importance resampling (Rubin 1987, "The Calculation of Posterior Distributions by Data Augmentation:
Comment"). Beforehand every length is equally likely.

Most middles lead nowhere, which the first characters of `right` show. Of the middles of one length,
`READ_ON` are read to the end, chosen at random so that the expected weights stay as they are
(Fearnhead and Clifford 2003, "On-line Inference for Hidden Markov Models via Particle Filters",
section 5).
"""

from dataclasses import dataclass

import numpy as np

from charlm.errors import require
from charlm.generation import generate, sampler
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.sampler import select_rows
from charlm.notes import progress
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

FIRST, READ_ON = 2, 32  # characters of the right text that all are weighed by; middles read on


@dataclass(frozen=True)
class Filled:
    """A middle that was chosen."""

    text: str
    bits: float
    """Bits per character of the right text after the left one and this."""


@dataclass(frozen=True)
class Filling:
    """Middles between two texts."""

    chosen: list[Filled]
    effective: float
    """Effective number of middles that were drawn (Kong 1992, "A Note on Importance Sampling using
    Standardized Weights"): 1 if a single one has all the weight."""


def fill(
    network: Network,
    vocab: Vocab,
    left: str,
    right: str,
    length: int,
    n: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    draws: int = 256,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
    min_length: int = 1,
    separator: str | None = None,
    machine: generate.Machine | None = None,
) -> Filling:
    """Chooses middles between two texts, out of many.

    Args:
        network: the model.
        vocab: its vocabulary.
        left: text before the gap.
        right: text after it, one character or more.
        length: most characters of a middle.
        n: number of middles to choose; one may be chosen several times.
        temperature: at which texts are drawn. Their weights are the model's own probabilities.
        seed: random seed.
        draws: number of texts to draw.
        rules: constraints on the characters drawn.
        min_length: fewest characters of a middle, 1 or more.
        separator: of a model of records.
        machine: the result of `generate.stepper`, if it was called before.

    Raises:
        UnknownCharacterError: a character is not in the vocabulary.
    """
    require(len(right) >= 1, "right", "one character or more", "none")
    step = (machine or generate.stepper(network))[0]
    vocab.require_characters("fill a gap")
    ids, wanted = generate.begin(vocab, left, separator).ids, vocab.encode(right)
    rng = np.random.default_rng([seed, draws])
    # by length and text: natural logarithms of weights, and of p(right | left m)
    weights, log_p = np.full((2, length + 1, draws), -np.inf)
    calls = -len(ids)

    def weighing(x, states):
        """Reads a character; once the left text is read, weighs what was drawn so far."""
        nonlocal calls
        logits, states = step(x, states)
        calls += 1
        tell(1)
        if calls >= min_length:
            weights[calls], log_p[calls] = _weigh(step, logits, states, wanted, rng)
        return logits, states

    with progress("filling the gap", len(ids) + length) as tell:
        # one character more, because the last that is drawn is not read
        drawn = np.concatenate(
            list(
                sampler.generate(
                    weighing, network.initial_states(1), ids, length + 1, [temperature] * draws,
                    seed, rules,
                )
            )
        )  # fmt: skip
    shares = np.exp(weights - weights.max()).ravel()
    shares /= shares.sum()
    places = np.unravel_index(rng.choice(shares.size, n, p=shares), weights.shape)
    chosen = [
        Filled(vocab.decode(drawn[:k, j]), float(-log_p[k, j] / len(wanted) / np.log(2)))
        for k, j in zip(*places, strict=True)
    ]
    return Filling(chosen, float(1 / np.square(shares).sum()))


def _weigh(step, logits, states, ids, rng):
    """Reads ids after each of N texts; returns log-weights and log-probabilities, (N,) each."""
    weights, log_p = np.full((2, len(logits)), -np.inf)
    rows, extra = np.arange(len(logits)), 0.0
    found = np.zeros(len(rows))
    for k, wanted in enumerate(ids):
        found = found + log_softmax(logits.astype(np.float64))[:, wanted]
        if k + 1 == min(FIRST, len(ids)):
            kept, extra = _thinned(found, READ_ON, rng)
            rows, found, states = rows[kept], found[kept], select_rows(states, kept)
        if k + 1 < len(ids):
            logits, states = step(np.full(len(rows), wanted), states)
    weights[rows], log_p[rows] = found + extra, found
    return weights, log_p


def _thinned(log_weights, count, rng):
    """Keeps about `count` of the weights, the large ones for certain, at random among the others.

    A weight w below a bound c is kept with probability w / c, and then counts as c.

    Returns:
        The places that are kept, and what is added to their logarithms.
    """
    n = len(log_weights)
    if n <= count:
        return np.arange(n), 0.0
    w = np.exp(log_weights - log_weights.max())
    largest = np.sort(w)[::-1]
    rest = np.cumsum(largest[::-1])[::-1]  # the sum of each and the smaller ones
    # with the k largest above the bound, the others' probabilities have to sum to count - k
    k = int(np.argmax(largest[:count] * (count - np.arange(count)) <= rest[:count]))
    bound = rest[k] / (count - k)
    kept = np.flatnonzero(rng.random(n) * bound < w)
    return kept, np.maximum(0.0, np.log(bound / w[kept]))
