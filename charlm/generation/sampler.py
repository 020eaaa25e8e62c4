"""Samples text from a model, one id at a time, with ids and a step function, without Keras.

The step function is (ids (N,), states) -> (logits (N, V), states). The sampler holds the states, so
the cost of a character does not grow with the text, and the model itself keeps no state.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from charlm.config import check_temperature
from charlm.generation.constraints import SamplingConstraints, TokenChooser

Step = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
# (ids (N,), states, temperatures (N,), random numbers (K, N)) -> (ids (K, N), states): K characters
# of N texts. The given ids are read first; the last ids drawn are not read.
GenerateBlock = Callable[[np.ndarray, Any, np.ndarray, np.ndarray], tuple[np.ndarray, Any]]

PIECE = 16  # characters of each text: smooth for a reader, few calls for a terminal
LARGE_PIECE = 2048  # characters of all texts with compiled kernels: 10 to 100 ms
# Loading a compiled kernel takes half a second (compiling it a few seconds, once); in that time
# NumPy generates more than this of one text.
COMPILE_AFTER = 512


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
    """Yields the next `length` ids of N texts that continue `prompt`, (K, N) at a time.

    Args:
        step: the step function.
        states: the states before the prompt.
        prompt: (N, P) ids, both at least 1; read first, not yielded.
        length: number of ids for each text.
        temperature: one number, or one for each text (N,); 0 is argmax.
        seed: random seed. Each text has its own random numbers, made from the seed and the text's
            index, so it does not depend on N if the step's logits do not.
        rules: constraints on the ids.
        compiled_block: returns the block function that replaces the step function in a long text,
            or None. It supports no constraints and is not called if there are any.
        switch_after: characters after which `compiled_block` takes over, by default
            `COMPILE_AFTER`. It is the same for all lengths and N, so a short text is the beginning
            of a longer one even if the two functions round differently.

    Raises:
        InputError: a temperature is negative or not finite.
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
