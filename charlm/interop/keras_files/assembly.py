"""Assembles a character model from the layers that were found in a Keras file."""

import re

import numpy as np

from charlm.errors import InputError
from charlm.interop.keras_files.description import ModelDescription
from charlm.interop.keras_files.kinds import BY_GATES, GATES, check_one_kind, check_order
from charlm.interop.keras_files.layers import CELL, DENSE, TABLE, Layer, check_shape
from charlm.interop.keras_files.widths import check_widths
from charlm.interop.keras_files.wiring import assumed_chain

ROLES = {CELL: "recurrent", DENSE: "dense", TABLE: "embedding"}


def _role(layer):
    """Returns the layer's role, CELL, DENSE or TABLE, after checking that it has those arrays."""
    if layer.kind in GATES or (layer.kind is None and "recurrent_kernel" in layer.arrays):
        role: tuple[str, ...] = CELL
    else:
        role = TABLE if layer.kind == "embedding" or "embeddings" in layer.arrays else DENSE
    if not set(role) - {"bias"} <= set(layer.arrays) <= set(role):
        found = ", ".join(map(repr, sorted(layer.arrays)))
        raise InputError(f"expected {', '.join(role)} in {layer.name!r}, found {found}")
    return role


def assemble(layers: list[Layer], described: ModelDescription | None, ordered: bool) -> dict:
    """Returns the fields of `charlm.interop.keras_files.KerasWeights`, after checking every shape.

    Args:
        layers: packed.
        described: what the model's JSON says, None if there is none.
        ordered: whether the layers are in the model's order.
    """
    cells, head, tables = _by_role(layers)
    if ordered:
        check_order({layer.name: layer.kind or ROLES[_role(layer)] for layer in layers})
    H = _check_kinds(cells, tables, described)
    cells = _check_shapes(cells, head, tables, described, ordered, H)
    return {
        "cell": cells[0].kind,
        "layers": tuple(tuple(layer.arrays[key] for key in CELL) for layer in cells),
        "dense": tuple(head.arrays[key] for key in DENSE),
        "embedding": tables[0].arrays["embeddings"] if tables else None,
        "activation": described and described.activation,
        "recurrent_activation": described and described.recurrent_activation,
        "notes": () if described else (_assumed(cells, tables),),
    }


def _by_role(layers):
    """Returns the recurrent layers, the Dense, and a list of the Embedding if there is one."""
    cells, dense, tables = (
        [x for x in layers if _role(x) is role] for role in (CELL, DENSE, TABLE)
    )
    if not cells or len(dense) != 1 or len(tables) > 1:
        raise InputError(
            "expected recurrent layers, one Dense and at most one Embedding, found "
            f"{len(cells)} recurrent, {len(dense)} Dense, {len(tables)} Embedding: "
            + ", ".join(f"{layer.name!r} ({layer.kind or 'unknown'})" for layer in layers)
        )
    return cells, dense[0], tables


def _check_kinds(cells, tables, described):
    """Refuses layers of other kinds than the model's JSON says; returns the units of all cells."""
    for layer in cells:
        _check_gates(layer, described)
    check_one_kind({layer.name: layer.kind for layer in cells})
    units = [len(layer.arrays["recurrent_kernel"]) for layer in cells]
    if len(set(units)) > 1:
        raise InputError(f"expected recurrent layers of the same units, found {units}")
    kinds = sorted([x.kind for x in cells] + ["dense"] + ["embedding"] * len(tables))
    if described and kinds != sorted(described.kinds.values()):
        wanted = ", ".join(sorted(described.kinds.values()))
        raise InputError(f"expected {wanted}, as the model's JSON says, found {', '.join(kinds)}")
    return units[0]


def _check_shapes(cells, head, tables, described, ordered, H):
    """Checks every width; returns the recurrent layers in the model's order."""
    V = head.arrays["kernel"].shape[-1]
    head.arrays.setdefault("bias", np.zeros(V, np.float32))
    check_shape(head, "kernel", (H, V))
    check_shape(head, "bias", (V,))
    check_widths(cells, head, tables, described and described.one_hot)
    D = tables[0].arrays["embeddings"].shape[-1] if tables else V
    for table in tables:
        check_shape(table, "embeddings", (V, D))
    cells = cells if ordered else _in_order(cells, D)
    for k, layer in enumerate(cells):
        columns = GATES[layer.kind] * H
        check_shape(layer, "recurrent_kernel", (H, columns))
        check_shape(layer, "kernel", (H if k else D, columns))
        check_shape(layer, "bias", cells[0].arrays["bias"].shape)
    return cells


def _assumed(cells, tables):
    reads = "an Embedding" if tables else "one-hot characters"
    return assumed_chain(reads, [layer.name for layer in cells], "a Dense")


def _check_gates(layer, described):
    """Sets the kind of a recurrent layer, from its name or from G, its number of gates."""
    shape = layer.arrays["recurrent_kernel"].shape
    H, columns = shape if len(shape) == 2 else (0, 0)
    G = columns / H if H else 0
    kind = layer.kind = layer.kind or BY_GATES.get(G)
    if kind is None or GATES[kind] != G:
        wanted = f"a {kind}'s (H, {GATES[kind]}H)" if kind else "(H, H), (H, 3H) or (H, 4H)"
        found = f"{shape}, a {BY_GATES[G]}'s {G:.0f} gates" if G in BY_GATES else shape
        raise InputError(f"expected recurrent_kernel {wanted} in {layer.name!r}, found {found}")
    allowed = [(columns,), (2, columns)] if kind == "gru" else [(columns,)]
    if kind == "gru" and described:
        allowed = [allowed[described.reset_after]]
    if "bias" not in layer.arrays and len(allowed) > 1:
        raise InputError(
            f"expected a bias in {layer.name!r}, since its shape says whether a GRU resets after "
            "the product, found none; build it as a Sequential model and save that as .keras"
        )
    layer.arrays.setdefault("bias", np.zeros(allowed[0], np.float32))
    check_shape(layer, "bias", *allowed)


def _in_order(cells, D):
    """Sorts recurrent layers by Keras's numbers, or by widths if only one order is possible."""
    first = [layer for layer in cells if len(layer.arrays["kernel"]) == D]
    if len({re.sub(r"_\d+$", "", layer.name) for layer in cells}) == 1:
        return cells
    if len(cells) == 2 and len(first) == 1:
        return sorted(cells, key=lambda layer: layer is not first[0])
    names = ", ".join(repr(layer.name) for layer in cells)
    raise InputError(
        f"expected names or widths that give the order of the layers, found {names}; build "
        "it as a Sequential model and save that"
    )
