"""Samples text from a model, one id at a time, with ids and a step function, without Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
the cost of a character does not grow with the text, and the model itself keeps no state.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from charlm.errors import check_temperature
from charlm.generation.constraints import SamplingConstraints, TokenChooser

Step = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
# (ids (N,), states, temperatures (N,), random numbers (K, N)) -> (ids (K, N), states): K characters
# of N texts. The given ids are read first; the last ids drawn are not read.
GenerateBlock = Callable[[np.ndarray, Any, np.ndarray, np.ndarray], tuple[np.ndarray, Any]]

PIECE = 16  # characters of each text: smooth for a reader, few calls for a terminal
LARGE_PIECE = 512  # characters of all texts with a block function: 2 to 100 ms


def block_from_step(step: Step, choice: TokenChooser | None = None) -> GenerateBlock:
    """Makes a block function from a step function; by default without constraints."""
    choice = choice or TokenChooser(SamplingConstraints(), ())

    def block(ids, states, temperatures, uniform):
        drawn = np.empty(uniform.shape, np.int64)
        for k, numbers in enumerate(uniform):
            logits, states = step(ids, states)
            ids = drawn[k] = choice(logits, temperatures, numbers)
        return drawn, states

    return block


Seed: TypeAlias = int | Sequence[int]
"""A random seed of several texts, or a seed for each."""


def random_numbers(seed: Seed, n: int, *purpose: int) -> np.random.Generator:
    """Returns the random numbers of text n of those that are drawn together.

    Args:
        seed: of all texts. Or a seed for each: then a text is the first of that seed.
        n: from 0.
        purpose: numbers that tell one use of random numbers from another.
    """
    one, n = (seed[n], 0) if isinstance(seed, Sequence) else (seed, n)
    return np.random.default_rng([one, *purpose, n])


def generate(
    step: Step,
    states: Any,
    prompt: np.ndarray,
    length: int,
    temperature: ArrayLike,
    seed: Seed = 0,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
    block: GenerateBlock | None = None,
    going: np.ndarray | None = None,
    before: Sequence[np.ndarray] | None = None,
    pieces: Sequence[str] | None = None,
) -> Iterator[np.ndarray]:
    """Yields the next `length` ids of N texts that continue `prompt`, (K, N) at a time.

    Args:
        step: the step function.
        states: the states before the prompt, arrays of N rows in lists and tuples.
        prompt: (N, P) ids, both at least 1; read first, not yielded. Or (P,) ids that all texts
            continue, which are read once; then `states` has one row, and `temperature` N numbers.
        length: number of ids for each text.
        temperature: one number, or one for each text (N,); 0 is argmax.
        seed: random seed, or N of them; see `random_numbers`. Each text has its own random numbers,
            so it does not depend on N if the step's logits do not.
        rules: constraints on the ids.
        block: a block function to use where there are no constraints, which it does not support.
            Its logits are those of `step` to the bit, so a text does not depend on which is used.
        going: (N,) of booleans. The caller sets those of texts that have ended to false; they are
            no longer drawn, and their ids are 0.
        before: the ids of each text so far, for the constraints; by default its prompt.
        pieces: the text of each id, if ids stand for tokens; see `TokenChooser`.

    Raises:
        InputError: a temperature is negative or not finite.
    """
    N = len(prompt) if prompt.ndim == 2 else len(np.asarray(temperature))
    temperatures = np.array(np.broadcast_to(temperature, N), np.float64)
    for t in temperatures:
        check_temperature(float(t))
    randoms = [random_numbers(seed, n) for n in range(N)]
    for ids in np.atleast_2d(prompt).T[:-1]:
        _, states = step(ids, states)
    if prompt.ndim == 1:
        prompt, states = np.tile(prompt, (N, 1)), select_rows(states, np.zeros(N, np.intp))
    ids = prompt[:, -1].astype(np.int64)
    choice = TokenChooser(rules, prompt if before is None else before, pieces)
    largest = PIECE if going is not None else max(PIECE, LARGE_PIECE // N)
    if block is None or rules != SamplingConstraints():
        block, largest = block_from_step(step, choice), PIECE
    rows, size, done = np.arange(N), PIECE, 0  # small at first, so that text appears at once
    while done < length and len(rows):
        K = min(size, length - done)
        uniform = np.stack([randoms[n].random(K) for n in rows], axis=1)
        drawn, states = block(ids, states, temperatures[rows], uniform)
        found = np.zeros((K, N), np.int64)
        found[:, rows] = drawn
        yield found
        ids, done, size = drawn[-1], done + K, min(2 * size, largest)
        if going is not None and not going[rows].all():
            kept = np.flatnonzero(going[rows])
            ids, states, rows = ids[kept], select_rows(states, kept), rows[kept]
            choice.select(kept)


def select_rows(states: Any, rows: np.ndarray) -> Any:
    """Selects rows of every array in nested lists and tuples; None stays None."""
    if isinstance(states, (list, tuple)):
        return type(states)(select_rows(x, rows) for x in states)
    return None if states is None else states[rows]
