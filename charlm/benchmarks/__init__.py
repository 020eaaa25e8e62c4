"""Measures charlm and its peers for `charlm bench`, each in its own process, taking turns.

The parent (`sections`) starts a `worker` for each peer of `peers`. In each round the peers take
turns, so a drift in the machine's speed affects all of them. The peers' computations are in
`keras_step`, `torch_step`, `matmul`, `sampling`, `fit`, `quality` and `train_memory`: functions
that take a `Case` and return jobs, {name: run}. run(n) runs n steps, waits for the last, and
returns numbers that all peers must agree on, or None, or `Timed`.
"""

from typing import NamedTuple


class Timed(NamedTuple):
    """The result of a job that measures its own time: seconds of a step, and its numbers."""

    seconds: float
    value: object
