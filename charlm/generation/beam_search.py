"""The most probable texts, by beam search. Knows ids and a step function, no Keras."""

from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.generation.sampler import Step
from charlm.reference.loss import log_softmax


def beam_search(
    step: Step,
    states: Any,
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
    texts: list[list[int]] = [[]]
    losses, found = np.zeros(1), []
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
