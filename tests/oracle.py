"""Loss and gradients of any Keras layer on whichever backend runs."""

import keras
import numpy as np
from keras import ops


def outputs(layer, x, **call):
    """The layer's outputs, a flat list of arrays."""
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(layer(x, **call))]


def loss_and_gradients(layer, x, inputs=(), **call):
    """A loss that tells every output and position apart, and its gradient by every weight.

    Args:
        inputs: arrays given as `initial_state`, if any; their gradients are appended.
    """
    variables = layer.trainable_variables
    compute = {
        "tensorflow": _tensorflow,
        "jax": _jax,
        "torch": _torch,
    }[keras.backend.backend()]
    loss, gradients = compute(layer, variables, x, list(inputs), call)
    return float(loss), [np.asarray(g, np.float64) for g in gradients]


def _loss(results):
    total = 0.0
    for k, y in enumerate(keras.tree.flatten(results)):
        y = ops.cast(y, "float32")
        places = ops.reshape(ops.arange(int(np.prod(y.shape)), dtype="float32"), y.shape)
        total = total + ops.sum(ops.sin(y * (k + 1.3) + 0.1 * places))
    return total


def _states(inputs):
    return {"initial_state": inputs} if inputs else {}


def _tensorflow(layer, variables, x, inputs, call):
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(s) for s in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = _loss(layer(x, **_states(inputs), **call))
    found = tape.gradient(loss, [v.value for v in variables] + inputs)
    return loss, [tf.convert_to_tensor(g) for g in found]


def _torch(layer, variables, x, inputs, call):
    import torch

    inputs = [torch.tensor(s, requires_grad=True) for s in inputs]
    layer.zero_grad()
    loss = _loss(layer(x, **_states(inputs), **call))
    loss.backward()
    return loss.detach(), [v.value.grad.float().numpy() for v in variables] + [
        s.grad.numpy() for s in inputs
    ]


def _jax(layer, variables, x, inputs, call):
    import jax

    def loss(trained, inputs):
        rest = [v.value for v in layer.non_trainable_variables]
        y, _ = layer.stateless_call(trained, rest, x, **_states(inputs), **call)
        return _loss(y)

    value, (gw, gi) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        [v.value for v in variables], [jax.numpy.asarray(s) for s in inputs]
    )
    return value, [*gw, *gi]
