"""Law: the output layer and the loss of training are Keras's, in values and in gradients."""

import keras
import numpy as np
import pytest

from charlm.layers import numpy_op
from charlm.layers.dense import Dense
from charlm.layers.mixed_precision import tensor
from charlm.training.loss import CrossEntropy
from tests.cells import normal, set_random
from tests.oracle import results_and_gradients

B, T, H, V = 2, 5, 4, 7
TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture
def operations(monkeypatch):
    """The number of operations in machine code so far."""
    found, operation = [], numpy_op.numpy_op
    monkeypatch.setattr(numpy_op, "numpy_op", lambda *given: found.append(1) or operation(*given))
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_bias": False}, {"activation": "tanh"}, {"dtype": "mixed_bfloat16"}],
    ids=str,
)
def test_output_layer(rng, options, training, operations):
    ours, theirs = Dense(V, **options), keras.layers.Dense(V, **options)
    x = normal(rng, B, T, H)
    for layer in (ours, theirs):
        layer.build(x.shape)
    set_random(rng, ours, theirs)
    results, gradients = results_and_gradients(ours, x, training=training)
    expected, slopes = results_and_gradients(theirs, x, training=training)
    for found, wanted in zip([*results, *gradients], [*expected, *slopes], strict=True):
        np.testing.assert_allclose(np.float32(found), np.float32(wanted), rtol=1e-4, atol=1e-5)
    assert bool(operations) == (TENSORFLOW and training and not options)
    assert ours.name.startswith("dense")  # its place in weights files


@pytest.mark.parametrize("weighted", [False, True])
def test_loss(rng, weighted, operations):
    logits, targets = 3 * normal(rng, B, T, V), rng.integers(V, size=(B, T))
    weights = rng.random((B, T)).astype(np.float32) if weighted else None

    class Scores(keras.layers.Layer):
        """The logits as a weight, the loss as an output."""

        def __init__(self, loss):
            super().__init__()
            self.loss, self.logits = loss, self.add_weight(shape=(B, T, V))
            self.logits.assign(logits)
            self.built = True

        def call(self, x):
            return self.loss(x, tensor(self.logits), weights)

    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    (found,), (slope,) = results_and_gradients(Scores(CrossEntropy()), targets)
    assert bool(operations) == TENSORFLOW
    (expected,), (expected_slope,) = results_and_gradients(Scores(keras_loss), targets)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="elsewhere there is no machine code for these")
def test_without_numba_keras_computes(rng, monkeypatch, operations):
    monkeypatch.setattr(numpy_op, "load_kernel", lambda name: None)
    dense = Dense(V)
    x = normal(rng, B, T, H)
    CrossEntropy()(rng.integers(V, size=(B, T)), dense(x, training=True))
    assert not operations
