"""Ordinary Keras models with `keras.layers` or with `charlm.layers`.

Each job calls the compiled function that `fit` or `predict` calls for a batch, with data in memory.
"""

import itertools

import keras
import numpy as np

from charlm import layers
from charlm.benchmarks.case import SEED
from charlm.benchmarks.keras_step import require_device
from charlm.benchmarks.layer_case import LayerCase
from charlm.cells import CELLS

LEARNING_RATE = 1e-4  # so small that a peer with more steps has nearly the same weights


def make(case: LayerCase, gpu: bool, own: bool, jit: bool) -> dict:
    """Returns the jobs of `LayerCase.sequences`; "training" returns the loss, others the logits.

    All models start with the same weights. Training and inference have separate models, so
    inference uses these weights. Each job has run once, because compiling takes long and all peers
    do it at the same time.

    Args:
        case: the model and its sizes.
        gpu: whether a GPU is required.
        own: whether to use `charlm.layers` instead of `keras.layers`.
        jit: `jit_compile`, which is XLA on TensorFlow.
    """
    require_device(gpu)
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    weights = build(case, own=False).get_weights()
    training, inference = (_compiled(case, own, jit, weights) for _ in range(2))
    tensorflow = keras.backend.backend() == "tensorflow"
    train, predict = (_train_tf, _predict_tf) if tensorflow else (_train_jax, _predict_jax)
    x, y = case.data()
    jobs = {
        job: train(training, x, y) if job == "training" else predict(inference, x[:size])
        for job, size in case.sequences.items()
    }
    for run in jobs.values():
        run(1)
    return jobs


def build(case: LayerCase, own: bool) -> keras.Model:
    """Builds the model of a case, not compiled."""
    T, H, kind = case.window, case.units, case.model
    name = CELLS[case.cell].layer
    recurrent = getattr(layers if own else keras.layers, name)
    x = inputs = keras.Input((T,), dtype="int32") if kind.ids else keras.Input((T, H))
    if kind.ids:
        x = keras.layers.Embedding(case.classes, H)(x)
    if kind.padding:
        x = keras.layers.Masking()(x)
    for k in range(kind.layers):
        sequences = kind.every_step or k < kind.layers - 1
        layer = recurrent(H, return_sequences=sequences, **kind.options)
        x = (keras.layers.Bidirectional(layer) if kind.bidirectional else layer)(x)
    return keras.Model(inputs, keras.layers.Dense(case.classes)(x))


def _compiled(case, own, jit, weights):
    model = build(case, own)
    model.set_weights(weights)
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    model.make_predict_function()
    return model


def _train_tf(model, x, y):
    """Trains as `fit` does with arrays, with an unknown batch size in the graph."""
    import tensorflow as tf

    def without_batch_size(*batch):
        return tuple(tf.compat.v1.placeholder_with_default(a, (None, *a.shape[1:])) for a in batch)

    data = tf.data.Dataset.from_tensors((tf.constant(x), tf.constant(y))).repeat()
    batches = iter(data.map(without_batch_size))

    def run(n):
        model.reset_metrics()  # else the loss would be a mean over all steps so far
        for _ in range(n):
            logs = model.train_function(batches)
        return float(logs["loss"])

    return run


def _predict_tf(model, x):
    import tensorflow as tf

    batch = [(tf.constant(x),)]

    def run(n):
        for _ in range(n):
            logits = model.predict_function(batch)
        return logits.numpy()

    return run


def _train_jax(model, x, y):
    """Trains as Keras's `fit`, passing the state on, and waits for each call."""
    import jax

    batches = itertools.repeat((jax.device_put(x), jax.device_put(y)))
    state = _values(
        model.trainable_variables, model.non_trainable_variables, model.optimizer.variables,
        model.metrics_variables,
    )  # fmt: skip

    def run(n):
        nonlocal state
        model.reset_metrics()
        state = (*state[:-1], *_values(model.metrics_variables))
        for _ in range(n):
            logs, state = jax.block_until_ready(model.train_function(state, batches))
        return float(logs["loss"])

    return run


def _predict_jax(model, x):
    import jax

    batches = itertools.repeat((jax.device_put(x),))
    state = _values(model.trainable_variables, model.non_trainable_variables)

    def run(n):
        nonlocal state
        for _ in range(n):
            logits, state = jax.block_until_ready(model.predict_function(state, batches))
        return np.asarray(logits)

    return run


def _values(*groups):
    """Copies variables' values, because Keras's functions donate the memory of their state."""
    return tuple([v.value + 0 for v in group] for group in groups)
