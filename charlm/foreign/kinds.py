"""Kinds of layers, known by their class or by their name in a file."""

import re

from charlm import reference
from charlm.errors import InputError

GATES = {name: len(reference.cell(name).GATES) for name in reference.CELLS}
KINDS = {  # by a layer's class, or its name without number, in small letters without "_"
    **{reference.cell(name).LAYER.replace("_", ""): name for name in reference.CELLS},
    "embedding": "embedding", "dense": "dense", "timedistributed": "dense",
}  # fmt: skip


def kind_of(name):
    return KINDS.get(re.sub(r"_\d+$", "", name).replace("_", "").lower())


def forbid(name):
    """Refuses what a name alone gives away."""
    low = name.lower()
    if "bidirectional" in low or re.search("(^|/)(for|back)ward_", low):
        raise InputError(f"expected layers that read forward, found Bidirectional: {name!r}")
    if "cudnn" in low.replace("_", ""):
        raise InputError(
            f"expected an LSTM, GRU or SimpleRNN, found {name!r} in CuDNN's layout; load it in "
            "Keras 2 into a plain layer and save that"
        )
