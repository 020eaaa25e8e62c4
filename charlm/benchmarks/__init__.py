"""Measures charlm and its peers for `charlm bench`, each in its own process, taking turns.

The parent (`sections`) starts a `worker` for each peer of `peers` and asks one after another for a
round, so that a machine whose speed drifts drifts for all alike. What peers compute is in
`keras_step`, `torch_step`, `matmul`, `sampling`, `fit`, `quality` and `train_memory`: functions
that take a `Case` and return jobs, {name: run}. run(n) takes n steps, waits for the last, and
returns numbers in which peers must agree, or None, or `Timed`.
"""

from typing import NamedTuple


class Timed(NamedTuple):
    """What a run returns that has timed itself: seconds of a step, and its numbers."""

    seconds: float
    value: object
