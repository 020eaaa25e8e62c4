"""Results and gradients of any Keras layer on whichever backend runs, and those NumPy expects."""

import keras
import numpy as np
from keras import ops

from charlm.reference import through_time


def outputs(layer, x, **call):
    """The layer's outputs, a flat list of arrays."""
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(layer(x, **call))]


def results_and_gradients(layer, x, inputs=(), **call):
    """The layer's outputs, and the gradients of a loss that tells every position apart.

    Args:
        inputs: arrays given as `initial_state`, if any; their gradients are appended to those
            of the weights.
    """
    variables = layer.trainable_variables
    compute = {
        "tensorflow": _tensorflow,
        "jax": _jax,
        "torch": _torch,
    }[keras.backend.backend()]
    results, gradients = compute(layer, variables, x, list(inputs), call)
    results = [ops.convert_to_numpy(y) for y in keras.tree.flatten(results)]
    return results, [np.asarray(g, np.float64) for g in gradients]


def _loss(results):
    total = 0.0
    for k, y in enumerate(keras.tree.flatten(results)):
        y = ops.cast(y, "float32")
        places = ops.reshape(ops.arange(int(np.prod(y.shape)), dtype="float32"), y.shape)
        total = total + ops.sum(ops.sin(y * (k + 1.3) + 0.1 * places))
    return total


def loss_by(results):
    """dLoss/d(each result), in NumPy."""
    return [
        (k + 1.3) * np.cos(y * (k + 1.3) + 0.1 * np.arange(y.size).reshape(y.shape))
        for k, y in enumerate(results)
    ]


def _states(inputs):
    return {"initial_state": inputs} if inputs else {}


def _tensorflow(layer, variables, x, inputs, call):
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(s) for s in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        results = layer(x, **_states(inputs), **call)
        loss = _loss(results)
    found = tape.gradient(loss, [v.value for v in variables] + inputs)
    return results, [tf.convert_to_tensor(g) for g in found]


def _torch(layer, variables, x, inputs, call):
    import torch

    place = variables[0].value.device
    inputs = [torch.tensor(s, requires_grad=True, device=place) for s in inputs]
    layer.zero_grad()
    results = layer(x, **_states(inputs), **call)
    _loss(results).backward()
    found = [v.value.grad for v in variables] + [s.grad for s in inputs]
    return results, [ops.convert_to_numpy(g) for g in found]


def _jax(layer, variables, x, inputs, call):
    import jax

    def loss(trained, inputs):
        rest = [v.value for v in layer.non_trainable_variables]
        y, _ = layer.stateless_call(trained, rest, x, **_states(inputs), **call)
        return _loss(y), y

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    given = [v.value for v in variables], [jax.numpy.asarray(s) for s in inputs]
    (_, results), (gw, gi) = both(*given)
    return results, [*gw, *gi]


def in_numpy(case, layer, x, inputs=(), mask=None, training=False):
    """What `results_and_gradients` must give for a layer of ours, by the NumPy cell.

    Each sequence of the batch is computed alone: with a time mask it is the sequence of the steps
    that count, and with dropout the kernels' rows are dropped in the place of the inputs.

    Args:
        case: the layer's row of `tests.cells`.
        layer: not called before, so that its dropout masks are still to come.
    """
    B, T = x.shape[:2]
    H, S = layer.units, len(case.cell.states)
    options = case.step_options(layer)
    W, U, *bias = (w.astype(np.float64) for w in layer.get_weights())
    bias = bias[0] if bias else None
    drop_x, drop_h = _dropped(layer, x, training)
    kept = np.ones((B, T), bool) if mask is None else mask
    if layer.go_backwards:
        x, kept = x[:, ::-1], kept[:, ::-1]
    starts = np.float64(inputs) if len(inputs) else np.zeros((S, B, H))
    # the step whose h is shown at t; before the first, row 0 of `hs` below
    shown = np.cumsum(kept, axis=1)  # (B, T)
    lead = keras.backend.backend() == "jax" and not layer.unroll  # see `Recurrent._masked`
    hides = kept if layer.zero_output_for_mask else np.ones_like(kept)

    sequence, states, runs = np.zeros((B, T, H)), np.zeros((S, B, H)), []
    for b in range(B):
        weights = W * drop_x[b], U * drop_h[b], bias
        start = tuple(starts[:, b : b + 1])
        steps = x[b : b + 1, kept[b]]
        h, last, cache = through_time.forward(case.reference, steps, start, weights, **options)
        runs.append((weights, cache))
        hs = np.concatenate([start[0] * lead, h[0]])  # (1 + n, H)
        sequence[b] = hs[shown[b]] * hides[b][:, None]
        states[:, b] = np.concatenate(last)
    results = [sequence if layer.return_sequences else sequence[:, -1]]
    results += list(states) if layer.return_state else []

    d_results = loss_by(results)
    d_sequence = np.zeros_like(sequence)
    if layer.return_sequences:
        d_sequence[:] = d_results[0]
    else:
        d_sequence[:, -1] = d_results[0]
    d_states = d_results[1:] or np.zeros_like(states)
    d_kernel, d_recurrent, d_bias = np.zeros_like(W), np.zeros_like(U), 0
    d_starts = np.zeros_like(starts)
    for b, (weights, cache) in enumerate(runs):
        d_hs = np.zeros((1 + kept[b].sum(), H))
        np.add.at(d_hs, shown[b], d_sequence[b] * hides[b][:, None])
        d_last = tuple(d[b : b + 1] for d in d_states)
        _, d_start, (dW, dU, db), _ = through_time.backward(
            case.reference, d_hs[None, 1:], d_last, cache, weights, **options
        )
        d_kernel += dW * drop_x[b]
        d_recurrent += dU * drop_h[b]
        d_bias = d_bias if db is None else d_bias + db
        d_starts[:, b] = np.concatenate(d_start)
        d_starts[0, b] += d_hs[0] * lead
    gradients = [d_kernel, d_recurrent, *([] if bias is None else [d_bias])]
    return results, gradients + (list(d_starts) if len(inputs) else [])


def _dropped(layer, x, training):
    """What dropout multiplies the rows of both kernels by: (B, D, G*H), (B, H, G*H), or ones."""
    twin = type(layer).from_config(layer.get_config())
    twin.build(x.shape)
    B, (GH, H) = len(x), (layer.cell.kernel.shape[1], layer.units)
    masks = (
        twin.cell.input_masks(x[:, 0], training),
        twin.cell.recurrent_masks(ops.zeros((B, H)), training),
    )
    found = []
    for m in masks:
        if m is None:
            found.append(np.ones((B, 1, 1)))
            continue
        m = m if isinstance(m, list) else [m] * (GH // H)
        m = [ops.convert_to_numpy(k).astype(np.float64) for k in m]
        found.append(np.concatenate([np.repeat(k[:, :, None], H, axis=2) for k in m], axis=2))
    return found
