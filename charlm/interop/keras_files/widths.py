"""Checks a model's input and output by the widths of its first and last layers."""

from collections.abc import Sequence

from charlm.errors import InputError
from charlm.interop.keras_files.layers import Layer


def check_widths(
    cells: Sequence[Layer], head: Layer, tables: Sequence[Layer], one_hot: int | None = None
) -> None:
    """Refuses a model that does not read characters and predict the next one.

    The shapes of the layers may still contradict each other.

    Args:
        cells: recurrent layers in any order.
        head: the Dense.
        tables: a list of the Embedding if there is one.
        one_hot: the classes of a one_hot operation; None if there is none.
    """
    outputs = head.arrays["kernel"].shape[-1]
    first, key = (tables[0], "embeddings") if tables else (_first(cells), "kernel")
    inputs, *rest = shape = first.arrays[key].shape
    if one_hot not in (None, inputs):
        raise InputError(
            f"expected one-hot vectors of the {inputs} numbers that {first.name!r} reads, found "
            f"{one_hot!r:.20} classes"
        )
    if inputs == outputs:
        return
    if key == "kernel" and inputs == 1:
        raise InputError(
            f"expected one-hot characters or an Embedding as input, found a kernel of one row in "
            f"{first.name!r}: the model reads one number a step (an id divided by the size of the "
            "vocabulary, as a well-known recipe has it); train it again with one-hot input"
        )
    if outputs == 1:
        raise InputError(
            f"expected a softmax over the {inputs} characters that {first.name!r} reads, found one "
            f"number in {head.name!r} (a regression, or yes or no)"
        )
    raise InputError(
        f"expected {key} {(outputs, *rest)} in {first.name!r}, found {shape}: for {inputs} "
        f"characters to read there are {outputs} outputs in {head.name!r}, which are not a softmax "
        "over these characters"
    )


def _first(cells):
    """Returns the recurrent layer that reads the input, whose kernel may not have H rows."""
    units = len(cells[0].arrays["recurrent_kernel"])
    return next((x for x in cells if len(x.arrays["kernel"]) != units), cells[0])
