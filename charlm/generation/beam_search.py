"""Beam search for the most probable texts, with ids and a step function, without Keras."""

from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.generation.sampler import Step, select_rows
from charlm.reference.loss import log_softmax


def beam_search(
    step: Step,
    states: Any,
    prompt: np.ndarray,
    length: int,
    width: int,
    ended: Callable[[list[int]], bool] = lambda ids: False,
    lengths: np.ndarray | None = None,
    allowed: Callable[[list[list[int]]], np.ndarray] | None = None,
) -> list[tuple[list[int], float]]:
    """Finds probable continuations of a prompt by beam search (Lowerre 1976).

    At each character every beam is extended by every character, and the `width` most probable
    results are kept. A continuation ends at `length` or where `ended` is true, and leaves its beam
    to another. Finished continuations are compared by their mean loss per character, because a
    longer text is always less probable than its beginning.

    Args:
        step: see `charlm.generation.sampler`.
        states: of `width` texts, before the prompt.
        prompt: (P,) ids, at least 1.
        length: maximum number of ids of a continuation.
        width: number of beams.
        ended: whether the ids after the prompt are a finished continuation.
        lengths: (V,), the number of characters of each id; None for one.
        allowed: (N texts) -> (N, V) of booleans, the ids that may follow each.

    Returns:
        At most `width` pairs (ids, nats per character), the most probable first.
    """

    def size(ids):
        return len(ids) if lengths is None else max(1, lengths[ids].sum())

    for ids in prompt[:-1]:
        _, states = step(np.full(width, ids), states)
    texts: list[list[int]] = [[]]
    losses, found = np.zeros(1), []
    last = np.full(width, prompt[-1])
    for n in range(1, length + 1):
        logits, states = step(last, states)
        V = logits.shape[1]
        log_p = log_softmax(logits[: len(texts)].astype(np.float64))
        if allowed:
            log_p = np.where(allowed(texts), log_p, -np.inf)
        after = (losses[:, None] - log_p).ravel()  # for every beam and every next id
        best = np.argsort(after, kind="stable")[:width]
        parents, new, kept = best // V, best % V, []
        candidates = [[*texts[k], int(v)] for k, v in zip(parents, new, strict=True)]
        candidates = candidates[: np.isfinite(after[best]).sum()]  # fewer ids may be allowed
        for k, ids in enumerate(candidates):
            if n == length or ended(ids):
                found.append((ids, after[best[k]] / size(ids)))
            else:
                kept.append(k)
        if not kept or len(found) >= width:
            break
        rows = np.resize(kept, width)  # the step takes `width` rows; repeated ones are not read
        texts, losses = [candidates[k] for k in kept], after[best[kept]]
        states = select_rows(states, parents[rows])
        last = new[rows]
    return sorted(found, key=lambda x: x[1])[:width]
