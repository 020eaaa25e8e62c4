"""Measures a training step, and its recurrent layers alone, in Keras on any backend."""

from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from charlm.benchmarks.case import CLIP_NORM, EPSILON, LEARNING_RATE, Case
from charlm.errors import InputError
from charlm.layers.recurrent import Recurrent
from charlm.training import device
from charlm.training import network as model
from charlm.training.loss import CrossEntropy
from charlm.training.optimizer import Adam


def make(case: Case, gpu: bool, own: bool, xla: bool = False, precision: str = "fp32") -> dict:
    """Returns the jobs "layer" and "step" of the network of `charlm.training.network.build`.

    Args:
        own: whether to measure charlm's layer, which reads ids, or Keras's layer, for which the
            step turns ids into vectors.
        xla: `jit_compile` (TensorFlow).
        precision: see `charlm.training.network.build`.
    """
    require_device(gpu)
    keras.backend.clear_session()
    sizes = replace(case.model, cell=case.cell if own else f"keras-{case.cell}")
    network = model.build(sizes, case.vocab, states=False, precision=precision)
    network.set_weights(list(case.weights().values()))
    backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return backend(case, network, xla)


def size(array: Any) -> float:
    """Returns the norm of an array of any library, after waiting for the device.

    Peers must agree in it.
    """
    return float(np.linalg.norm(ops.convert_to_numpy(ops.cast(array, "float32"))))


def require_device(gpu: bool) -> None:
    """Raises InputError if a GPU is wanted and Keras's backend has none."""
    if gpu and "cpu" in device.describe():
        raise InputError(f"expected a GPU, found {device.describe()}; leave --device out")


def _compiled(network, xla):
    own = any(isinstance(layer, Recurrent) for layer in network.layers)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = Adam if own else keras.optimizers.Adam
    network.compile(
        adam(LEARNING_RATE, epsilon=EPSILON, global_clipnorm=CLIP_NORM),
        CrossEntropy() if own else keras_loss,
        jit_compile=xla,
    )
    return network


def _recurrent(case, network):
    """Returns the recurrent layers as a model, and its input: ids, or one-hot vectors."""
    layers = [x for x in network.layers if hasattr(x, "cell")]
    x = case.data()[0] if getattr(layers[0], "vocab_size", None) else case.one_hot()
    return keras.Model(layers[0].input, layers[-1].output), x


def _tensorflow(case, network, xla):
    """Returns the jobs in TensorFlow: GradientTape in one graph, and `fit`'s `train_function`.

    The overhead of `fit` is left out: the data set repeats one batch in memory.
    """
    import tensorflow as tf

    ids, following, upstream = case.data()
    recurrent, x = _recurrent(case, network)
    x, upstream = tf.constant(x), tf.constant(upstream)
    variables = [v.value for v in recurrent.trainable_variables]

    @tf.function(jit_compile=xla)
    def gradients(x, upstream):
        with tf.GradientTape() as tape:
            h = recurrent(x, training=True)
        return tape.gradient(h, variables, output_gradients=ops.cast(upstream, h.dtype))

    def layer(n):
        for _ in range(n):
            found = gradients(x, upstream)
        return size(found[1])

    _compiled(network, xla).make_train_function()
    data = tf.data.Dataset.from_tensors((tf.constant(ids), tf.constant(following))).repeat()
    batches = iter(data)

    def step(n):
        network.reset_metrics()  # or the loss would be a mean over all steps so far
        for _ in range(n):
            logs = network.train_function(batches)
        return float(logs["loss"])

    return {"layer": layer, "step": step}


def _jax(case, network, xla):
    """Returns the jobs in JAX: jitted stateless calls with donated state, as in Keras's guide.

    Waits for each call, because JAX runs independent calls at the same time.
    """
    import jax

    ids, following, upstream = (jax.device_put(x) for x in case.data())
    recurrent, x = _recurrent(case, network)
    layer = _jax_layer(recurrent, jax.device_put(x), upstream)
    return {"layer": layer, "step": _jax_step(_compiled(network, False), ids, following)}


def _jax_layer(recurrent, x, upstream):
    import jax

    fixed = [v.value for v in recurrent.non_trainable_variables]
    weights = [v.value + 0 for v in recurrent.trainable_variables]  # copies: the step's are donated

    @jax.jit
    def gradients(weights, x, upstream):
        def forward(weights):
            return recurrent.stateless_call(weights, fixed, x, training=True)[0]

        h, backward = jax.vjp(forward, weights)
        return backward(ops.cast(upstream, h.dtype))[0]

    def layer(n):
        for _ in range(n):
            found = jax.block_until_ready(gradients(weights, x, upstream))
        return size(found[1])

    return layer


def _jax_step(network, ids, following):
    import jax

    optimizer = network.optimizer
    optimizer.build(network.trainable_variables)

    def loss(weights, other, ids, following):
        logits, other = network.stateless_call(weights, other, ids, training=True)
        return network.loss(following, logits), other

    @partial(jax.jit, donate_argnums=0)
    def update(state, ids, following):
        weights, other, moments = state
        found, slope = jax.value_and_grad(loss, has_aux=True)(weights, other, ids, following)
        weights, moments = optimizer.stateless_apply(moments, slope, weights)
        return found[0], (weights, found[1], moments)

    groups = network.trainable_variables, network.non_trainable_variables, optimizer.variables
    state = tuple([v.value for v in group] for group in groups)

    def step(n):
        nonlocal state
        for _ in range(n):
            found, state = jax.block_until_ready(update(state, ids, following))
        return float(found)

    return step


def _torch(case, network, xla):
    """Returns the jobs in torch: autograd through the layers, and Keras's `train_on_batch`."""
    import torch

    ids, following, upstream = case.data()
    recurrent, x = _recurrent(case, network)
    x, upstream = (ops.convert_to_tensor(a) for a in (x, upstream))
    weights = [v.value for v in recurrent.trainable_variables]

    def layer(n):
        for _ in range(n):
            h = recurrent(x, training=True)
            found = torch.autograd.grad(h, weights, upstream.to(h.dtype))
        return size(found[1])

    _compiled(network, False)
    ids, following = (ops.convert_to_tensor(a) for a in (ids, following))

    def step(n):
        network.reset_metrics()
        for _ in range(n):
            found = network.train_on_batch(ids, following)
        return float(found)

    return {"layer": layer, "step": step}
