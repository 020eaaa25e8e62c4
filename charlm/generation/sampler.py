"""Drawing text from a model, one id at a time. Knows ids and a step function, no Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
it costs the same per character however long the text, and nobody's model is disturbed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from charlm.config import check_temperature
from charlm.generation.constraints import SamplingConstraints, TokenChooser

Step = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
# (ids (N,), states, temperatures (N,), random numbers (K, N)) -> (ids (K, N), states): K characters
# of N texts. The given ids are read first, the last of those drawn is not.
GenerateBlock = Callable[[np.ndarray, Any, np.ndarray, np.ndarray], tuple[np.ndarray, Any]]

PIECE = 16  # characters of each text: often enough for a reader, rare enough for a terminal
LARGE_PIECE = 2048  # characters in all, when they come quickly: 10 to 100 ms
# Machine code takes half a second to load (and once, when first used, seconds to compile), in which
# NumPy has written more than this of one text.
COMPILE_AFTER = 512


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
    states: Any,
    prompt: np.ndarray,
    length: int,
    temperature: ArrayLike,
    seed: int = 0,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
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
