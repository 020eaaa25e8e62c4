"""Drawing text from a model, one id at a time. Knows ids and a step function, no Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
it costs the same per character however long the text, and nobody's model is disturbed.
"""

from collections.abc import Callable, Iterator

import numpy as np

from charlm.config import check_temperature

Step = Callable[[np.ndarray, object], tuple[np.ndarray, object]]
# (ids (N,), states, temperatures (N,), random numbers (K, N)) -> (ids (K, N), states): K characters
# of N texts. The given ids are read first, the last of those drawn is not.
Block = Callable[[np.ndarray, object, np.ndarray, np.ndarray], tuple[np.ndarray, object]]

PIECE = 16  # characters of each text: often enough for a reader, rare enough for a terminal
LARGE_PIECE = 2048  # characters in all, when they come quickly: 10 to 100 ms
# Machine code takes half a second to load (and once, when first used, seconds to compile), in which
# NumPy has written as much, in one text or in many.
STEPS, STEPS_OF_ALL = 2**13, 2**16


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


def draw(p: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ids (N,) from probabilities (N, V) by the inverse of their distribution function.

    Args:
        uniform: (N,) in [0, 1).
    """
    # Counted against the row's own sum, so that rounding can never point past the last id; ids of
    # probability 0 have no width and are never drawn.
    edges = np.cumsum(p, axis=-1)
    return (edges <= (uniform * edges[:, -1])[:, None]).sum(axis=-1)


def by_steps(step: Step) -> Block:
    """A block of text by a step function, one character after another."""

    def block(ids, states, temperatures, uniform):
        drawn = np.empty(uniform.shape, np.int64)
        for k, numbers in enumerate(uniform):
            logits, states = step(ids, states)
            ids = drawn[k] = draw(probabilities(logits, temperatures), numbers)
        return drawn, states

    return block


def generate(
    step: Step,
    states,
    prompt: np.ndarray,
    length: int,
    temperature,
    seed: int = 0,
    quicker: Callable[[], Block | None] | None = None,
    handover: int | None = None,
) -> Iterator[np.ndarray]:
    """Yields the next `length` ids of N texts that continue `prompt`, (K, N) of them at a time.

    Args:
        step: see above. states: before the prompt.
        prompt: (N, P) ids, both at least 1; read first, not yielded.
        temperature: one number, or one a text (N,); 0 is argmax.
        seed: each text has a random stream of its own, made from this and its place, so that a
            text does not change with the number of texts beside it (but for what rounding does).
        quicker: makes what takes the place of the step function in a long text, or None.
        handover: after how many characters of each text; by default when it pays. It is the same
            whatever the length, so that a short text is the beginning of a long one even where
            the two round differently.

    Raises:
        InputError: a temperature that is negative or not finite.
    """
    N = len(prompt)
    temperatures = np.array(np.broadcast_to(temperature, N), np.float64)
    for t in temperatures:
        check_temperature(float(t))
    randoms = [np.random.default_rng([seed, n]) for n in range(N)]
    for ids in prompt.T[:-1]:
        _, states = step(ids, states)
    ids, block, size, done = prompt[:, -1].astype(np.int64), by_steps(step), PIECE, 0
    handover = min(STEPS, STEPS_OF_ALL // N) if handover is None else handover
    while done < length:
        if quicker and done >= handover:
            if found := quicker():
                block, size = found, max(PIECE, LARGE_PIECE // N)
            quicker = None
        K = min(size, length - done)
        uniform = np.stack([r.random(K) for r in randoms], axis=1)
        drawn, states = block(ids, states, temperatures, uniform)
        yield drawn
        ids, done = drawn[-1], done + K
