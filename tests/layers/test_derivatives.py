"""Law: whatever is derived from a layer of ours is what is derived from Keras's namesake.

Second derivatives, forward mode and per-example gradients go beyond what the backward pass in
machine code computes: they must not be zero, or missing, without a word.
"""

import keras
import numpy as np
import pytest
from keras import ops

from charlm.layers import LSTM
from charlm.layers.dense import Dense
from charlm.training.loss import CrossEntropy
from tests.cells import KINDS, NAMESAKES, normal, set_random

B, T, D, H, V = 3, 6, 5, 4, 7
BACKEND = keras.backend.backend()
MASK = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1], [1] * 6], bool)
MODES = {
    "plain": {},
    "mask": {"mask": MASK},
    "dropout": {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 3},
    "no bias": {"use_bias": False},
}
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="transformations of JAX")


@pytest.fixture(params=NAMESAKES[:1] if BACKEND == "jax" else NAMESAKES, ids=str)
def case(request):
    return request.param


def pair(rng, case, **options):
    layers = [case.make(H, kind=kind, **options) for kind in (case.kind, case.keras_kind)]
    for layer in layers:
        layer.build((B, T, D))
    set_random(rng, *layers)
    return layers


def function_of(layer, **call):
    """(weights, x) -> a number, of tensors, for any layer."""
    fixed = [v.value for v in layer.non_trainable_variables]

    def function(weights, x):
        y, _ = layer.stateless_call(weights, fixed, x, **call)
        return ops.sum(ops.sin(y * (1 + ops.arange(y.shape[-1], dtype=y.dtype))))

    return function


def penalty(layer, x, graph=False, **call):
    """A gradient penalty, the mean of (d loss / d x)^2, and its gradient by all weights."""
    weights = [v.value for v in layer.trainable_variables]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def run(x):
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y = layer(x, **call)
                    loss = tf.reduce_sum(tf.sin(y * (1 + tf.range(y.shape[-1], dtype=y.dtype))))
                found = tf.reduce_mean(inner.gradient(loss, x) ** 2)
            return found, outer.gradient(found, weights)

        found = (tf.function(run) if graph else run)(tf.constant(x))
    elif BACKEND == "jax":
        import jax

        slope = jax.grad(function_of(layer, **call), argnums=1)
        found = jax.value_and_grad(lambda w: (slope(w, x) ** 2).mean())(weights)
    else:
        import torch

        x = torch.tensor(x, requires_grad=True)
        loss = function_of(layer, **call)(weights, x)
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        value = (slope**2).mean()
        found = value, torch.autograd.grad(value, weights, allow_unused=True)
    value, gradients = found
    zeros = [np.zeros(w.shape) for w in weights]
    return [ops.convert_to_numpy(value)] + [
        z if g is None else ops.convert_to_numpy(g) for g, z in zip(gradients, zeros, strict=True)
    ]


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


@pytest.mark.product(2)
@pytest.mark.usual(1)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_penalty_reaches_every_weight(rng, case, mode, compiled):
    options = {"return_sequences": True} | MODES[mode]
    mask = options.pop("mask", None)
    call = {"training": True, "mask": None if mask is None else ops.convert_to_tensor(mask)}
    ours, theirs = pair(rng, case, **options)
    ours.compiled_training = compiled
    x = normal(rng, B, T, D)
    expected = penalty(theirs, x, **call)
    assert all(np.abs(g).max() > 1e-3 for g in expected)
    if BACKEND == "tensorflow" or "seed" not in options:  # stateful seeds: a call, a mask
        close(penalty(ours, x, **call), expected)
    if BACKEND == "tensorflow" and "seed" not in options:
        close(penalty(ours, x, graph=True, **call), expected)


class Started(keras.layers.Layer):
    """A layer all of whose states before the first step are one tensor, computed from its input."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x, training=None):
        state = ops.sin(x[:, 0, :H])
        states = [state] * len(keras.tree.flatten(self.layer.cell.state_size))
        return self.layer(x, initial_state=states, training=training)


@pytest.mark.full
@pytest.mark.parametrize("compiled", [True, False])
def test_a_penalty_where_one_input_is_computed_from_another(rng, case, compiled):
    ours, theirs = map(Started, pair(rng, case))
    ours.layer.compiled_training = compiled
    x = normal(rng, B, T, D)
    for layer in (ours, theirs):
        layer(x)
    close(penalty(ours, x, training=True), penalty(theirs, x, training=True))


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.vectorized_map")
def test_a_vectorized_map_loses_no_gradient_without_a_word(rng, case):
    import tensorflow as tf

    @tf.function
    def gradients(layer):
        with tf.GradientTape() as tape:
            tf.vectorized_map(tf.identity, x)  # the next one's graph has another name
            y = tf.vectorized_map(lambda x: layer(x, training=True), x)
            loss = tf.reduce_sum(tf.sin(y))
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    x = tf.constant(normal(rng, 2, B, T, D))
    ours, theirs = pair(rng, case)
    theirs.unroll = True  # TensorFlow 2.21 cannot differentiate a loop of Keras's there
    found, expected = map(gradients, (ours, theirs))
    assert all(np.abs(g).max() > 1e-3 for g in expected)
    close(found, expected)


@pytest.mark.skipif(BACKEND == "jax", reason="there the way back is JAX's own")
def test_a_penalty_through_the_output_layer(rng):
    ours, theirs = Dense(V), keras.layers.Dense(V)
    x = normal(rng, B, T, H)
    for layer in (ours, theirs):
        layer.build(x.shape)
    set_random(rng, ours, theirs)
    close(penalty(ours, x, training=True), penalty(theirs, x))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere the loss is Keras's")
def test_the_loss_has_second_derivatives(rng):
    import tensorflow as tf

    logits, ids = tf.constant(normal(rng, B, T, V)), rng.integers(V, size=(B, T))
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def second(loss):
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                value = loss(ids, logits)
            slope = tf.reduce_sum(inner.gradient(value, logits) ** 2)
        return outer.gradient(slope, logits).numpy()

    close([second(CrossEntropy())], [second(theirs)])


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's forward mode")
def test_forward_mode(rng, case):
    import tensorflow as tf

    x, tangent = (tf.constant(normal(rng, B, T, D)) for _ in range(2))

    def push(layer):
        with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
            y = layer(x, training=True)
        return accumulator.jvp(y).numpy()

    ours, theirs = pair(rng, case)
    expected = push(theirs)
    assert np.abs(expected).max() > 1e-2
    close([push(ours)], [expected])


@only_jax
@pytest.mark.usual(2)
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("mode", ["plain", "mask"])
def test_every_transformation_of_jax(rng, case, mode, jit):
    import jax

    call = {"training": True, "mask": MODES[mode].get("mask")}
    x, tangent = normal(rng, B, T, D), normal(rng, B, T, D)
    found = []
    for layer in pair(rng, case, return_sequences=True):
        f = function_of(layer, **call)
        weights = [v.value for v in layer.trainable_variables]
        f = jax.jit(f) if jit else f
        one = function_of(layer, training=True)
        per_example = jax.vmap(lambda x, f=one, w=weights: jax.grad(f)(w, x[None]))
        whole = jax.grad(lambda w, f=one: jax.vmap(lambda x: f(w, x[None]))(x).sum())
        hessian = jax.jvp(lambda x, f=f, w=weights: jax.grad(f, 1)(w, x), (x,), (tangent,))[1]
        found.append(
            [
                *jax.jvp(lambda x, f=f, w=weights: f(w, x), (x,), (tangent,)),
                *(jax.jit(per_example) if jit else per_example)(x),
                *whole(weights),
                hessian,
                jax.jacfwd(f, 1)(weights, x),
                *jax.tree.leaves(jax.grad(jax.checkpoint(f))(weights, x)),
            ]
        )
    close(*found)


@only_jax
@pytest.mark.parametrize("compiled", [True, False])
def test_forward_mode_of_ids(rng, compiled):
    import jax

    layer, plain = LSTM(H, vocab_size=V), LSTM(H, vocab_size=V, unroll=True)
    ids = rng.integers(V, size=(B, T))
    for each in (layer, plain):
        each.build(ids.shape)
    set_random(rng, layer, plain)
    layer.compiled_training = compiled
    found = []
    for each in (layer, plain):
        weights = [v.value for v in each.trainable_variables]
        f = function_of(each, training=True)
        tangents = [jax.numpy.cos(w) for w in weights]
        pushed = jax.jvp(jax.grad(lambda w, f=f: f(w, ids)), (weights,), (tangents,))
        found.append(jax.tree.leaves(pushed))
    close(*found)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_sequences_at_all(rng, kind):
    layer = kind.make(H, return_sequences=True, return_state=True)
    layer.build((None, T, D))
    for training in (True, False):
        for mask in (None, np.zeros((0, T), bool)):
            y, *states = layer(np.zeros((0, T, D), "float32"), training=training, mask=mask)
            assert tuple(y.shape) == (0, T, H)
            assert [tuple(s.shape) for s in states] == [(0, H)] * len(states)
