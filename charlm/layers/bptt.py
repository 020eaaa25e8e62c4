"""A cell over time: back-propagation derived by hand, machine code, or the backend's autodiff."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import ops

from charlm.layers import numpy_op
from charlm.layers.annotations import Masks, Tensor, Tensors
from charlm.layers.cell import RecurrentCell
from charlm.layers.gather import gather_rows
from charlm.layers.loops import scan
from charlm.layers.masks import has_started


def run(
    cell: RecurrentCell, a_x: Tensor, states: Tensors, weights: Tensors
) -> tuple[Tensor, Tensors]:
    """Runs `cell.step` over time; the gradient runs `cell.step_backward` in reverse.

    The forward loop keeps what the backward loop needs (gates and states), so nothing is computed
    twice. The backward loop computes only what the recurrence itself needs; one product over all
    steps after it gives the recurrent weights' gradients, sums over time of h_{t-1}^T da_t. Source:
    Graves 2012, "Supervised Sequence Labelling with Recurrent Neural Networks", chapter 4, network
    equations.

    Args:
        cell: a `RecurrentCell` with `step_backward`.
        a_x: (T, B, G*H), the inputs' share of the pre-activations.
        states: tuple of S states (B, H) before the first step, h first.
        weights: `cell.recurrent_weights()`.

    Returns:
        h at every step (T, B, H), and the tuple of states after the last.
    """
    T, S, W = ops.shape(a_x)[0], len(states), len(weights)

    # Keras's custom_gradient carries one output on every backend, so one tensor holds all:
    # h of every step, and under it the last step's other states, a row each.
    @ops.custom_gradient
    def loop(a_x, *rest):
        kept = _forward_loop(cell, a_x, rest[:W], rest[W:])

        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            found = kept
            if torch_differentiates_gradients():  # it has no derivatives of the forward pass
                found = _forward_loop(cell, args[0], args[1 : 1 + W], args[1 + W :])
            d_last = [upstream[T + k] for k in range(S - 1)]
            return _backward_loop(cell, found, upstream[:T], d_last)

        after = kept[3]
        return ops.concatenate([after[0], *(a[-1:] for a in after[1:])]), gradient

    packed = loop(a_x, *weights, *states)
    h = packed[:T]
    return h, (h[-1], *(packed[T + k] for k in range(S - 1)))


def _forward_loop(cell, a_x, weights, states):
    """Runs `cell.step` over time.

    Returns:
        The weights as products read them; the states before the first step; for each state, those
        before and those after every step, (T, B, H); what else `cell.step_backward` needs.
    """
    S, weights = len(states), cell.cast_operands(weights)

    def forward(states, x):
        states, cache = cell.step(x[0], states, weights)
        return states, (*states, *cache)

    _, kept = scan(forward, states, (a_x,))
    after, cache = kept[:S], kept[S:]
    before = [ops.concatenate([s[None], a[:-1]]) for s, a in zip(states, after, strict=True)]
    return weights, states, before, after, cache


def _backward_loop(cell, kept, d_h, d_last):
    """Runs `cell.step_backward` from the last step to the first.

    Args:
        cell: a `RecurrentCell` with `step_backward`.
        kept: what `_forward_loop` returned.
        d_h: dLoss/dh of every step, (T, B, H).
        d_last: dLoss/d(other states after the last step), S - 1 of (B, H).

    Returns:
        Gradients of a_x, of the weights and of the states before the first step.
    """
    weights, states, before, after, cache = kept
    S = len(states)
    # once: a transposing product in every step is slow
    transposed = [ops.transpose(w) if len(w.shape) == 2 else w for w in weights]

    def backward(d_states, x):
        d_h, *kept = x
        d_states = (d_states[0] + d_h, *d_states[1:])
        d_states, da = cell.step_backward(
            d_states, kept[2 * S :], kept[:S], kept[S : 2 * S], transposed
        )
        return d_states, (da,)

    last = (ops.zeros_like(states[0]), *d_last)
    d_states, (da,) = scan(backward, last, (d_h, *before, *after, *cache), reverse=True)
    return da, *cell.recurrent_gradients(da, cache, before), *d_states


def torch_differentiates_gradients() -> bool:
    """Returns whether this is a backward pass of torch with `create_graph=True`."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.is_grad_enabled()


def in_backend_ops(
    cell: RecurrentCell,
    xs: Tensor,
    project: Callable[[Tensor], Tensor],
    states: Tensors,
    weights: Tensors,
    drop: Masks = None,
    live: Tensor | None = None,
    unroll: bool = False,
    every_step: bool = True,
) -> tuple[Tensor, Tensors]:
    """Runs a cell over time by the backend's operations, for autodiff or without gradients.

    Args:
        cell: a `RecurrentCell`.
        xs: the inputs, (B, T, ...).
        project: one step of xs (B, ...) -> its share of the pre-activations, (B, G*H).
        states: tuple of S states (B, H) before the first step, h first.
        weights: `cell.recurrent_weights()`.
        drop: masks of recurrent dropout: None, or a list of one (B, H) for each gate.
        live: (B, T), True where a sequence takes a step, False where it keeps its states; None if
            all sequences take all steps.
        unroll: write out the loop; T must be known.
        every_step: return h after every step, not only after the last.

    Returns:
        h after every step (B, T, H), or (B, 1, H), and the tuple of states after the last.
    """
    xs = [ops.swapaxes(xs, 0, 1)]
    if live is not None:
        xs.append(ops.swapaxes(live, 0, 1)[..., None])  # (T, B, 1)

    def step(states, x):
        after, _ = cell.step(project(x[0]), states, weights, drop)
        for takes in x[1:]:
            after = tuple(ops.where(takes, a, s) for a, s in zip(after, states, strict=True))
        return after, (after[0],) if every_step else ()

    # XLA takes twice as long if each step's output is written into an array
    states, h = scan(step, tuple(states), tuple(xs), unroll=unroll)
    return ops.swapaxes(h[0], 0, 1) if every_step else states[0][:, None], states


GIVEN = "ids", "contexts", "live", "drop"  # arguments of machine code that have no gradient
FOR_ALL = "U", "d", "W", "b", "context_rows"  # the same for every sequence


def run_compiled(
    cell: RecurrentCell,
    length: int | None,
    arrays: Mapping[str, Tensor],
    keep: bool = True,
    show_first: bool = False,
) -> tuple[Tensor, Tensors]:
    """Runs a cell over time in machine code, forward and backward one operation each.

    Args:
        cell: a `RecurrentCell` with `compiled()`.
        length: T, or None where TensorFlow does not know it yet.
        arrays: tensors by their names in `charlm.kernels.batch_loop.Batch`.
        keep: keep what the backward pass needs; otherwise it is computed again.
        show_first: see `charlm.kernels.batch_loop.forward`.

    Returns:
        h after every step (B, T, H), and the tuple of states after the last.
    """
    from charlm.kernels import batch_loop

    compiled: Any = cell.compiled()
    module, factors = compiled
    given = [name for name in GIVEN if name in arrays]
    inputs = [name for name in arrays if name not in GIVEN]
    n, S = len(arrays), len(cell.STATES)

    def batch(values):
        return batch_loop.Batch(**dict(zip([*given, *inputs], values, strict=True)))

    def forward(*values):
        states, last, kept = batch_loop.forward(module, factors, batch(values), keep, show_first)
        return states[0], *last, *states[1:], kept

    def backward(*values):
        found, (h, *rest) = batch(values[:n]), values[n:]
        states, kept, (d_h, *d_last) = [h, *rest[S : 2 * S - 1]], rest[2 * S - 1], rest[2 * S :]
        if not keep:
            states, _, kept = batch_loop.forward(module, factors, found, show_first=show_first)
        d = batch_loop.backward(module, factors, found, states, kept, d_h, d_last, show_first)
        return [getattr(d, name) for name in inputs]

    def fallback(*values):
        return _by_tensors(cell, dict(zip([*given, *inputs], values, strict=True)), show_first)

    B, H = arrays["h"].shape
    kept = (B, length if keep else 1, module.CACHE * H)
    shapes = [(B, length, H), *[(B, H)] * S], [*[(B, length, H)] * (S - 1), kept]
    tensors = [arrays[name] for name in given], [arrays[name] for name in inputs]
    shared = [*FOR_ALL, "rows"] if "ids" in arrays else FOR_ALL
    batch_axes = [None if x in shared else int(x == "drop") for x in (*given, *inputs)]
    h, *last = numpy_op.numpy_op(forward, backward, fallback, shapes, *tensors, batch_axes)
    return h, tuple(last)


def _by_tensors(cell, arrays, show_first):
    """Computes what `run_compiled` returns, as one tuple, by `in_backend_ops`."""
    states = tuple(arrays[name] for name in cell.STATES)
    weights = tuple(arrays[name] for name in ("U", "d") if name in arrays)
    live, drop = arrays.get("live"), arrays.get("drop")
    if "x" in arrays:
        xs, W, b = arrays["x"], arrays["W"], arrays.get("b")
        project: Callable[[Tensor], Tensor] = partial(affine, cell, W, b)
    else:
        xs, project = arrays["rows"], lambda a_x: a_x
        if "ids" in arrays:
            xs = gather_rows(xs, arrays["ids"])
        if "contexts" in arrays:
            xs += gather_rows(arrays["context_rows"], arrays["contexts"])
    if drop is not None:
        drop = list(ops.unstack(drop, len(cell.GATES)))
    h, last = in_backend_ops(cell, xs, project, states, weights, drop, live)
    if live is not None and not show_first:
        h = ops.where(has_started(live), h, ops.zeros_like(h))
    return h, *last


def affine(cell: RecurrentCell, W: Tensor, b: Tensor | None, x: Tensor) -> Tensor:
    """Computes x W + b."""
    a_x = cell.matmul(x, W)
    return a_x if b is None else a_x + b
