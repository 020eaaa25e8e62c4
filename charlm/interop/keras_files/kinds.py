"""Recognizes kinds of layers by their class or by their name in a file."""

import re
from collections.abc import Iterable

from charlm.cells import CELLS
from charlm.errors import InputError

GATES = {name: len(cell.gates) for name, cell in CELLS.items()}
# by a recurrent kernel's columns per row; coupled has three, too, and is recognized by name
BY_GATES: dict[float, str] = {len(cell.gates): name for name, cell in CELLS.items() if cell.keras}
KINDS = {  # by a layer's class, or its name without number, in small letters without "_"
    **{cell.saved_as.replace("_", ""): name for name, cell in CELLS.items()},
    "embedding": "embedding", "dense": "dense", "timedistributed": "dense",
}  # fmt: skip
OTHERS = {  # recognized by name in a file without a description
    "attention": "attention",
    r"(^|/)(add|subtract|multiply|average|maximum|minimum|dot|merge|concatenate)(_\d+)?(/|$)|concat":
        "layers side by side that are merged",
    "(layer|batch|group|unit|spectral|rms)_normalization": "normalization",
    r"(^|/)(separable_|depthwise_)?conv(olution)?_?[123]d": "a convolution",
}  # fmt: skip
PLACES = {"embedding": 0, "dense": 2}  # in a chain; recurrent layers are between them


def kind_of(name: str) -> str | None:
    return KINDS.get(re.sub(r"_\d+$", "", name).replace("_", "").lower())


def forbid(name: str) -> None:
    """Refuses layers that are recognized as unsupported by their name alone."""
    low = name.lower()
    if "bidirectional" in low or re.search("(^|/)(for|back)ward_", low):
        raise InputError(f"expected layers that read forward, found Bidirectional: {name!r}")
    if "cudnn" in low.replace("_", ""):
        raise InputError(
            f"expected an LSTM, GRU or SimpleRNN, found {name!r} in CuDNN's layout; load it in "
            "Keras 2 into a plain layer and save that"
        )
    for pattern, what in OTHERS.items():
        if re.search(pattern, low):
            raise InputError(
                "expected a chain of an Embedding or none, recurrent layers and a Dense, found "
                f"{what}: {name!r}"
            )


def forbid_inputs(names: Iterable[str]) -> None:
    """Refuses several inputs among the names of layers that have no arrays."""
    found = sorted(name for name in names if "input" in name.lower())
    if len(found) > 1:
        listed = ", ".join(map(repr, found))
        raise InputError(f"expected a model with one input, found {len(found)}: {listed}")


def check_one_kind(cells: dict[str, str]) -> None:
    """Refuses recurrent layers of several kinds.

    Args:
        cells: their kinds by their names.
    """
    if len({*cells.values()}) > 1:
        found = ", ".join(f"{kind} {name!r}" for name, kind in cells.items())
        raise InputError(f"expected recurrent layers of one kind, found {found}")


def check_order(kinds: dict[str, str]) -> None:
    """Refuses layers in another order than an Embedding, recurrent layers, a Dense.

    Args:
        kinds: by the layers' names, from the model's input to its output.
    """
    places = [PLACES.get(kind, 1) for kind in kinds.values()]
    if places != sorted(places):
        found = ", ".join(f"{kind} {name!r}" for name, kind in kinds.items())
        raise InputError(
            f"expected an Embedding or none, recurrent layers and a Dense in this order, found "
            f"{found}"
        )
