"""Drawing text from a model, one id at a time. Knows ids and a step function, no Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
it costs the same per character however long the text, and nobody's model is disturbed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charlm.config import check_temperature, require
from charlm.reference.loss import log_softmax

Step = Callable[[np.ndarray, object], tuple[np.ndarray, object]]
# (ids (N,), states, temperatures (N,), random numbers (K, N)) -> (ids (K, N), states): K characters
# of N texts. The given ids are read first, the last of those drawn is not.
GenerateBlock = Callable[[np.ndarray, object, np.ndarray, np.ndarray], tuple[np.ndarray, object]]

PIECE = 16  # characters of each text: often enough for a reader, rare enough for a terminal
LARGE_PIECE = 2048  # characters in all, when they come quickly: 10 to 100 ms
# Machine code takes half a second to load (and once, when first used, seconds to compile), in which
# NumPy has written more than this of one text.
COMPILE_AFTER = 512


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


def probabilities(logits: np.ndarray, temperature) -> np.ndarray:
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

    def __init__(self, rules: SamplingConstraints, prompt: Sequence[np.ndarray]):
        self.rules, self.runs = rules, []
        if rules.repetition_penalty > 1:
            self.runs = [_SeenNgrams(rules.repetition_length, ids) for ids in prompt]

    def __call__(self, logits: np.ndarray, temperatures, uniform: np.ndarray) -> np.ndarray:
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


def block_from_step(step: Step, choice: TokenChooser | None = None) -> GenerateBlock:
    """A block of text by a step function, one character after another; by default freely chosen."""
    choice = choice or TokenChooser(SamplingConstraints(), ())

    def block(ids, states, temperatures, uniform):
        drawn = np.empty(uniform.shape, np.int64)
        for k, numbers in enumerate(uniform):
            logits, states = step(ids, states)
            ids = drawn[k] = choice(logits, temperatures, numbers)
        return drawn, states

    return block


def generate(
    step: Step,
    states,
    prompt: np.ndarray,
    length: int,
    temperature,
    seed: int = 0,
    rules: SamplingConstraints = SamplingConstraints(),
    compiled_block: Callable[[], GenerateBlock | None] | None = None,
    switch_after: int | None = None,
) -> Iterator[np.ndarray]:
    """Yields the next `length` ids of N texts that continue `prompt`, (K, N) of them at a time.

    Args:
        step: see above. states: before the prompt.
        prompt: (N, P) ids, both at least 1; read first, not yielded.
        temperature: one number, or one a text (N,); 0 is argmax.
        seed: each text has a random stream of its own, made from this and its place, so that a
            text does not change with the number of texts beside it, if the step's logits do not.
        rules: of choice.
        compiled_block: makes the block that replaces the step function in a long text, or returns
            None. It knows no rules and is not called where there are some.
        switch_after: characters before `compiled_block` takes over, by default `COMPILE_AFTER`.
            The same for all lengths and numbers of texts, so that a short text is the beginning
            of a long one even where the two round differently.

    Raises:
        InputError: a temperature that is negative or not finite.
    """
    N = len(prompt)
    temperatures = np.array(np.broadcast_to(temperature, N), np.float64)
    for t in temperatures:
        check_temperature(float(t))
    if rules != SamplingConstraints():
        compiled_block = None
    randoms = [np.random.default_rng([seed, n]) for n in range(N)]
    for ids in prompt.T[:-1]:
        _, states = step(ids, states)
    ids, block = prompt[:, -1].astype(np.int64), block_from_step(step, TokenChooser(rules, prompt))
    size, done = PIECE, 0
    switch_after = COMPILE_AFTER if switch_after is None else switch_after
    while done < length:
        if compiled_block and done >= switch_after:
            if found := compiled_block():
                block, size = found, max(PIECE, LARGE_PIECE // N)
            compiled_block = None
        K = min(size, length - done, switch_after - done if compiled_block else length)
        uniform = np.stack([r.random(K) for r in randoms], axis=1)
        drawn, states = block(ids, states, temperatures, uniform)
        yield drawn
        ids, done = drawn[-1], done + K


def beam_search(
    step: Step,
    states,
    prompt: np.ndarray,
    length: int,
    width: int,
    ended: Callable[[list[int]], bool] = lambda ids: False,
) -> list[tuple[list[int], float]]:
    """The likeliest continuations of a prompt that a search of limited width finds.

    At every character the `width` likeliest beginnings are kept, of all that one more character
    makes of those before (Lowerre 1976). A continuation ends at `length` or where `ended` says so;
    then it leaves its place to others. Those that end are compared by their mean loss a character,
    since any longer text is less likely in all than where it began.

    Args:
        step, states: see above; of `width` texts. prompt: (P,) ids, at least 1.
        ended: whether ids after the prompt are a whole continuation.

    Returns:
        At most `width` of (ids, nats a character), the likeliest first.
    """
    for ids in prompt[:-1]:
        _, states = step(np.full(width, ids), states)
    texts, losses, found = [[]], np.zeros(1), []
    last = np.full(width, prompt[-1])
    for n in range(1, length + 1):
        logits, states = step(last, states)
        V = logits.shape[1]
        log_p = log_softmax(logits[: len(texts)].astype(np.float64))
        after = (losses[:, None] - log_p).ravel()  # of every beginning and every next id
        best = np.argsort(after, kind="stable")[:width]
        parents, new, kept = best // V, best % V, []
        candidates = [[*texts[k], int(v)] for k, v in zip(parents, new, strict=True)]
        for k, ids in enumerate(candidates):
            if n == length or ended(ids):
                found.append((ids, after[best[k]] / n))
            else:
                kept.append(k)
        if not kept or len(found) >= width:
            break
        rows = np.resize(kept, width)  # the step takes `width` rows; what repeats is not read
        texts, losses = [candidates[k] for k in kept], after[best[kept]]
        states = _rows(states, parents[rows])
        last = new[rows]
    return sorted(found, key=lambda x: x[1])[:width]


def _rows(states, rows):
    """Those rows of every array in lists and tuples of them."""
    if isinstance(states, (list, tuple)):
        return type(states)(_rows(x, rows) for x in states)
    return states[rows]
