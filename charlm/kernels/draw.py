"""The loop of sampling: steps of a whole network and draws between them, many characters in a call.

`generate.Drawing` runs it. Only loops over numbers are here: slices would take Numba three times as
long to compile, and arrays made here would need Numba when the code is loaded.
"""

import math
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types

from charlm.kernels.generate import CACHE
from charlm.kernels.jit import OPTIONS, f4, jit, renamed
from charlm.kernels.jit import cell as compiled_cell
from charlm.kernels.matmul import multiply
from charlm.kernels.object_code import Code

cell: Any = None  # the module whose equations `draw` runs, set by `compiled`
ZERO = f4(0)


def draw(
    rows, W, b, U, d, kernel, bias, skip, ids, h0, c0, temperatures, uniform, drawn, h1, c1,
    begin, end, R, h, c, x, u, logits, below, cache, edges, now,
):  # fmt: skip
    """Fills `drawn` and the states after it for texts begin..end.

    Args:
        rows: (V, G*H), the first layer's x W + b of each id.
        W: kernels of the layers above the first, `pack_panels`, (L - 1 or 1, ...).
        b: biases of x W, (L, G*H).
        U: recurrent kernels, `pack_panels`, (L, ...).
        d: biases of h' U, (L, G*H).
        kernel: `pack_panels` of the output layer's (H, V).
        bias: the output layer's, (V,).
        skip: 1 if layers above the first add their input to their output, else 0.
        ids: (N,), the last characters.
        h0, c0: (L, N, H), the states before them.
        temperatures: (N,).
        uniform: (K, N), random numbers in [0, 1).
        drawn: (K, N), ids to fill.
        h1, c1: (L, N, H), the states to fill.
        begin, end: the range of texts.
        R: `padded` of their number.
        h, c: work space, (2, L, R, H), zeros at first; as all that follows.
        x, u: (R, G*H and more).
        logits: (R, V and more); those of the last step are left in it.
        below: (R, H).
        cache: (CACHE * H,).
        edges: (V,).
        now: (R,).
    """
    (K, _), (L, _, H), (V, GH), n = uniform.shape, h0.shape, rows.shape, end - begin
    copy_states(h0, begin, h[0], 0, n)
    copy_states(c0, begin, c[0], 0, n)
    for r in range(n):
        now[r] = ids[begin + r]
    for k in range(K):
        before, after = k % 2, (k + 1) % 2
        for layer in range(L):
            for r in range(n):
                for j in range(GH):
                    u[r, j] = d[layer, j]
                    x[r, j] = b[layer, j]
            multiply(h[before, layer], 0, R, U[layer], u)
            if layer:
                multiply(below, 0, R, W[layer - 1], x)
            for r in range(n):
                cell.step(
                    x[r] if layer else rows[now[r]], u[r], h[before, layer, r], c[before, layer, r],
                    h[after, layer, r], c[after, layer, r], cache,
                )  # fmt: skip
                for j in range(H):
                    added = below[r, j] if skip and layer else ZERO
                    below[r, j] = h[after, layer, r, j] + added
        for r in range(n):
            for j in range(V):
                logits[r, j] = bias[j]
        multiply(below, 0, R, kernel, logits)
        for r in range(n):
            t = begin + r
            now[r] = drawn[k, t] = pick(logits[r], temperatures[t], uniform[k, t], edges)
    copy_states(h[K % 2], 0, h1, begin, n)
    copy_states(c[K % 2], 0, c1, begin, n)


@jit
def copy_states(source, first, target, to, n):
    """Copies source[:, first : first + n] to target[:, to : to + n]."""
    for layer in range(source.shape[0]):
        for r in range(n):
            for j in range(source.shape[2]):
                target[layer, to + r, j] = source[layer, first + r, j]


@jit
def pick(logits, temperature, uniform, edges):
    """Draws an id for one text, as `charlm.generation.sampler` does.

    Args:
        logits: (V or more,).
        temperature: 0 for the most probable id.
        uniform: a random number in [0, 1).
        edges: (V,), work space.
    """
    V, best = len(edges), 0
    for v in range(1, V):
        if logits[v] > logits[best]:
            best = v
    if temperature == 0:
        return best
    total, top = 0.0, np.float64(logits[best])
    for v in range(V):
        total += math.exp((np.float64(logits[v]) - top) / temperature)
        edges[v] = total
    v = 0
    while v < V - 1 and edges[v] <= uniform * total:
        v += 1
    return v


def compiled(cell_name: str, activations: dict[str, str]) -> Code:
    """Compiles `draw` for a cell.

    Raises:
        ImportError: the cell has no machine code, or code that needs Numba when it is loaded.
    """
    module = compiled_cell(cell_name, **activations)
    if module.CACHE > CACHE:
        raise ImportError(f"no machine code for {cell_name}: its CACHE is above {CACHE}")
    made = numba.njit(
        renamed(draw, cell=module),
        **OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False},
    )
    made.compile(_types())
    found: Any = made.overloads[_types()]
    needed = [f.name for f in found.library._final_module.functions if f.is_declaration]
    if missing := [x for x in needed if not is_everywhere(x)]:
        raise ImportError(f"no machine code for {cell_name}: it calls {missing[0]}")
    return Code(found.fndesc.mangled_name, found.library._get_compiled_object())


def is_everywhere(symbol: str) -> bool:
    """Returns whether a function that code calls is there without Numba: LLVM's own, or C's.

    Code that calls another would crash the process that loads it.
    """
    if symbol.startswith("llvm."):
        return True
    # Numba adds its own, and those of Python and of Intel's vector library
    from_numba = symbol.startswith(("numba", "NRT_", "Py", "_Py", "__svml"))
    return not from_numba and llvm.address_of_symbol(symbol) is not None


def _types() -> tuple[types.Type, ...]:
    """Returns the types of `draw`'s arguments."""
    integer, single, double = types.intp, types.float32, types.float64
    return (
        *_arrays(single, 2, 4, 2, 4, 2, 3, 1), integer,
        *_arrays(integer, 1), *_arrays(single, 3, 3), *_arrays(double, 1, 2),
        *_arrays(integer, 2), *_arrays(single, 3, 3), integer, integer, integer,
        *_arrays(single, 4, 4, 2, 2, 2, 2, 1), *_arrays(double, 1), *_arrays(integer, 1),
    )  # fmt: skip


def _arrays(kind, *dimensions):
    return [types.Array(kind, n, "C") for n in dimensions]
