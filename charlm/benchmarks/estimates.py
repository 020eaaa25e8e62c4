"""Estimates the memory that the sections of a benchmark need."""

from charlm.benchmarks.case import Case
from charlm.benchmarks.layer_case import LayerCase
from charlm.benchmarks.peers import SAMPLING, Peer
from charlm.text.encoded_text import Text

# Measured bytes of a process with its libraries loaded, without memory shared between processes.
LIBRARY = {"numpy": 1e8, "numba": 2e8, "tensorflow": 6e8, "jax": 5e8, "torch": 4e8}


def memory(
    lineup: tuple[Peer, ...], cases: list[Case], layer_cases: list[LayerCase], text: Text | None
) -> dict[str, float]:
    """Estimates the bytes that all processes of a section take, by section.

    Args:
        lineup: the peers of training steps.
        cases: the cases of training steps.
        layer_cases: the cases of the section `layers`.
        text: the text of the section `quality`, if there is one.
    """
    largest = max(case.bytes() for case in cases)
    steps = [LIBRARY[p.needs] + largest for p in lineup if not p.missing()]
    found = {
        "step": sum(steps) + LIBRARY["tensorflow"],  # and the large products
        "sampling": sum(LIBRARY[p.needs] for p in SAMPLING if not p.missing()),
        "fit": 2 * (LIBRARY["tensorflow"] + largest),
        "memory": sum(steps),
        "layers": 2 * (LIBRARY["tensorflow"] + max(case.bytes() for case in layer_cases)),
    }
    if text:
        # one-hot windows of 40 characters with a stride of 3, one byte for each number; and a copy
        windows = len(text.training) / 3
        found["quality"] = LIBRARY["tensorflow"] + 2 * windows * 40 * len(text.vocab)
    return found
