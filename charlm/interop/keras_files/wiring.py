"""Checks that a model's layers form a chain from one input to one output.

A functional model's JSON describes the wiring. For a file of weights alone the chain is assumed,
and a note says so.
"""

from collections.abc import Sequence
from typing import Any

from charlm.errors import InputError
from charlm.interop.keras_files.kinds import GATES, kind_of

SHOWN = 6  # names of layers


def assumed_chain(reads: str, cells: Sequence[str], head: str) -> str:
    """Describes the chain that is assumed for a file without wiring.

    Args:
        reads: the first link of the chain.
        cells: names of the recurrent layers, in order.
        head: the last link of the chain.
    """
    between = "recurrent layers"
    if len(cells) > 1:
        names = ", ".join(repr(name[:60]) for name in cells[:SHOWN])
        between = f"{names}{', ...' if len(cells) > SHOWN else ''}"
    return (
        "the file does not say how its layers are connected, assumed: a chain of "
        f"{reads}, {between} and {head}, in this order"
    )


def chain(config: dict) -> list[dict]:
    """Returns a functional model's layers, from its input to its output.

    Args:
        config: the model's configuration, as Keras 1, 2 or 3 writes it.

    Raises:
        InputError: the layers are wired in another way.
    """
    layers = {layer["name"]: layer for layer in config["layers"]}
    first = _only("input", config["input_layers"])
    found = [_only("output", config["output_layers"])]
    sources = {name: _source(name, layer) for name, layer in layers.items()}
    while (source := sources[found[-1]]) is not None:
        if source in found:
            raise InputError(f"expected a chain of layers, found {source!r} in a circle")
        found.append(source)
    if found[-1] != first:
        raise InputError(f"expected the input {first!r} to lead to the output, found {found[-1]!r}")
    if beside := layers.keys() - set(found):
        raise InputError(f"expected a chain of layers, found others: {_listed(beside)}")
    return [layers[name] for name in reversed(found)]


def tensors(item: Any) -> list[tuple[str, int, int]]:
    """Returns all references to layers' outputs in a part of the JSON, (layer, call, output).

    Keras 1 and 2 write ["lstm_1", 0, 0] and may add a dictionary of further arguments; Keras 3
    writes a dictionary of class __keras_tensor__.
    """
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            return [tuple(item["config"]["keras_history"])]
        item = list(item.values())
    if not isinstance(item, list):
        return []
    if [type(x) for x in item[:3]] == [str, int, int]:
        return [tuple(item[:3]), *tensors(item[3:])]
    return [tensor for x in item for tensor in tensors(x)]


def _only(what, item):
    """Returns the layer of a model's only input or output."""
    found = tensors(item)
    if len(found) != 1:
        names = _listed(name for name, _, _ in found)
        raise InputError(f"expected a model with one {what}, found {len(found)}: {names}")
    _check_first_output("the model", *found)
    return found[0][0]


def _source(name, layer):
    """Returns the layer that a layer reads; None for the input."""
    nodes = layer["inbound_nodes"]
    if len(nodes) > 1:
        raise InputError(
            f"expected each layer called once, found {name!r} called {len(nodes)} times"
        )
    found = tensors(nodes)
    if not found:
        return None
    if len(found) > 1:
        what = "an initial_state: " if kind_of(layer["class_name"]) in GATES else ""
        names = _listed(source for source, _, _ in found)
        raise InputError(
            f"expected each layer called with one tensor, found {what}{name!r} called with "
            f"{len(found)}, of {names}"
        )
    _check_first_output(repr(name), *found)
    return found[0][0]


def _check_first_output(reader, tensor):
    source, _, number = tensor
    if number:
        raise InputError(
            f"expected layers that read each other's output, found {reader} with state {number} of "
            f"{source!r}"
        )


def _listed(names):
    return ", ".join(map(repr, sorted(set(names))))
