"""Recognizes the modules of a PyTorch state dict by the names and shapes of their parameters.

rnn.weight_ih_l0, rnn.bias_hh_l1 ...     nn.LSTM, nn.GRU, nn.RNN: a stack of layers 0, 1 ...
cells.0.weight_ih, cells.0.bias_hh ...   nn.LSTMCell, nn.GRUCell, nn.RNNCell: one layer
decoder.weight, decoder.bias             nn.Linear (V, H), or nn.Embedding (V, D), without a bias
"""

import re
from collections.abc import Collection, Mapping
from itertools import permutations
from typing import TypeAlias

import numpy as np

from charlm.config import MAX_LAYERS
from charlm.errors import InputError

RECURRENT = re.compile(
    r"(?:(.*)\.)?((?:weight|bias)_(?:ih|hh|hr))(?:_l(\d{1,3}))?(_reverse)?", re.S
)
PLAIN = "weight", "bias"
LAYERS = {"weight_ih", "weight_hh"}, {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
MAX_NAME = 300  # characters
EMBEDDING = re.compile(r"emb|(^|[._])(enc|lookup|table|wte)", re.I)

Stacks: TypeAlias = dict[str, dict[int, dict[str, str]]]
"""{recurrent module: {layer: {parameter: name}}}"""
Others: TypeAlias = dict[str, dict[str, str]]
"""{module: {parameter: name}}"""


def shown(names: Collection[str], tensors: Mapping[str, np.ndarray] | None = None) -> str:
    """Lists the first few names, with their shapes if `tensors` are given."""
    some = [f"{n[:60]!r}{f' {tensors[n].shape}' if tensors else ''}" for n in sorted(names)[:6]]
    return ", ".join(some) + (", ..." if len(names) > 6 else "") or "nothing"


def split(names: Collection[str]) -> tuple[Stacks, Others]:
    """Sorts the names of parameters by module.

    Returns:
        The recurrent modules, {module: {layer: {parameter: name}}}, and the others, {module:
        {parameter: name}}.

    Raises:
        InputError: there are parameters of layers that charlm lacks.
    """
    stacks: Stacks = {}
    others: Others = {}
    for name in names:
        if len(name) > MAX_NAME:
            raise InputError(f"expected names of {MAX_NAME} characters at most, found {len(name)}")
        if match := RECURRENT.fullmatch(name):
            module, part, k, reverse = match.groups()
            if reverse:
                raise InputError(
                    f"expected layers that read forward, found bidirectional ones: {shown([name])}"
                )
            if part == "weight_hr":
                raise InputError(
                    f"expected layers without a projection (proj_size), found {shown([name])}"
                )
            place = stacks.setdefault(module or "", {}).setdefault(int(k or 0), {})
        else:
            module, _, part = name.rpartition(".")
            if part not in PLAIN:
                raise InputError(
                    "expected the parameters of an nn.LSTM, nn.GRU or nn.RNN, an nn.Linear and at "
                    f"most an nn.Embedding, found {shown([name])}"
                )
            place = others.setdefault(module, {})
        if part in place:
            raise InputError(f"expected one name a parameter, found {shown([place[part], name])}")
        place[part] = name
    if not stacks:
        raise InputError(
            f"expected an nn.LSTM, nn.GRU or nn.RNN, found no weight_ih_l0 in {shown(names)}"
        )
    return stacks, others


def in_order(stacks: Stacks, tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of the recurrent modules, first to last.

    Raises:
        InputError: a module is incomplete, or nothing gives their order.
    """
    if (count := sum(map(len, stacks.values()))) > MAX_LAYERS:
        raise InputError(f"expected {MAX_LAYERS} recurrent layers at most, found {count}")
    for module, layers in stacks.items():
        if sorted(layers) != [*range(len(layers))]:
            raise InputError(
                f"expected layers l0 to l{len(layers) - 1} in {module[:60]!r}, found "
                f"{', '.join(f'l{k}' for k in sorted(layers))}"
            )
        for layer in layers.values():
            if set(layer) not in LAYERS:
                raise InputError(
                    "expected weight_ih and weight_hh with both biases or none in each layer, "
                    f"found {shown(layer.values())}"
                )
    modules = _by_number(stacks) or _by_width(stacks, tensors)
    if not modules:
        raise InputError(
            "expected names with numbers, or widths, that give the order of the recurrent modules, "
            f"found {shown(stacks)}; rename them to rnn.0, rnn.1 and so on, in the order in which "
            "the model calls them"
        )
    return modules


def _by_number(stacks):
    """Sorts modules by the last number in their names, if the names do not differ otherwise."""
    last = {name: re.search(r"[._]?(\d{1,9})(?=\D*$)", name) for name in stacks}
    numbers = {name: int(match[1]) if match else -1 for name, match in last.items()}
    stems = {n[: m.start()] + n[m.end() :] if m else n for n, m in last.items()}
    if len(stems) > 1 or len({*numbers.values()}) < len(stacks):
        return None
    return sorted(stacks, key=numbers.__getitem__)


def _by_width(stacks, tensors):
    """Sorts two modules if only one has an input of another width than H; that one is first."""
    first = [
        name
        for name, layers in stacks.items()
        if tensors[layers[0]["weight_ih"]].shape[-1] != tensors[layers[0]["weight_hh"]].shape[-1]
    ]
    if len(stacks) != 2 or len(first) != 1:
        return None
    return sorted(stacks, key=lambda name: name != first[0])


def ends(
    others: Others, tensors: Mapping[str, np.ndarray], D: int, H: int
) -> tuple[str | None, str, str | None]:
    """Returns the names of the embedding's table, of the output's weight and of its bias.

    The first and the last may be None. With tied weights the first two are the same name.

    Args:
        others: the modules that are not recurrent.
        tensors: arrays by their names.
        D: width of the first layer's input.
        H: units.
    """
    parts = list(others.values())
    tables = [p for p in parts if "weight" in p]
    alone = [p["bias"] for p in parts if "weight" not in p]
    if all(tensors[p["weight"]].ndim == 2 for p in tables):
        if len(tables) == 2 and not alone:
            found = _pair(tables, tensors, D, H)
        elif len(tables) == 1:
            found = _single(tables[0], alone, tensors, D, H)
        else:
            found = None
        if found:
            return found
    names = [name for p in parts for name in p.values()]
    raise InputError(
        f"expected an nn.Linear (V, H) and at most an nn.Embedding (V, D), where H = {H} and D = "
        f"{D}, with the recurrent layers, found {shown(names, tensors)}"
    )


def _single(table, alone, tensors, D, H):
    """Returns the names for one module: with one-hot input, or with tied weights."""
    weight = table["weight"]
    V, width = tensors[weight].shape
    tied = D == H != V
    biases = [*alone, *([table["bias"]] if "bias" in table else [])]
    if width != H or not (D == V or tied) or (alone and not tied) or len(biases) > 1:
        return None
    return weight if tied else None, weight, *(biases or [None])


def _pair(tables, tensors, D, H):
    shape = {id(p): tensors[p["weight"]].shape for p in tables}
    pairs = [
        (embedding, linear)
        for embedding, linear in permutations(tables)
        if "bias" not in embedding
        and shape[id(embedding)] == (shape[id(linear)][0], D)
        and shape[id(linear)][1] == H
    ]
    if len(pairs) == 2 and tensors[pairs[0][0]["weight"]] is not tensors[pairs[0][1]["weight"]]:
        pairs = [pair for pair in pairs if EMBEDDING.search(pair[0]["weight"])]
        if len(pairs) != 1:
            raise InputError(
                "expected names or shapes that distinguish nn.Embedding and nn.Linear, found "
                f"{shown([p['weight'] for p in tables], tensors)}; rename them to embedding.weight "
                "and linear.weight"
            )
    if not pairs:
        return None
    embedding, linear = pairs[0]
    return embedding["weight"], linear["weight"], linear.get("bias")
