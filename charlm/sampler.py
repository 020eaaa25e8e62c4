"""Drawing text from a model, one id at a time. Knows ids and a step function, no Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
it costs the same per character however long the text, and nobody's model is disturbed.
"""

from collections.abc import Callable, Iterator

import numpy as np

from charlm.config import check_temperature

Step = Callable[[np.ndarray, object], tuple[np.ndarray, object]]


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


def generate(
    step: Step, states, prompt: np.ndarray, length: int, temperature, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yields `length` times the next ids (N,) of N texts that continue `prompt`.

    Args:
        step: see above. states: before the prompt.
        prompt: (N, P) ids with P at least 1; read first, not yielded.
        temperature: one number, or one a text (N,); 0 is argmax.
        seed: each text has a random stream of its own, made from this and its place, so that a
            text does not change with the number of texts beside it.

    Raises:
        InputError: a temperature that is negative or not finite.
    """
    for t in np.atleast_1d(temperature):
        check_temperature(float(t))
    randoms = [np.random.default_rng([seed, n]) for n in range(len(prompt))]
    for ids in prompt.T[:-1]:
        _, states = step(ids, states)
    ids = prompt[:, -1]
    for _ in range(length):
        logits, states = step(ids, states)
        ids = draw(probabilities(logits, temperature), np.array([r.random() for r in randoms]))
        yield ids
