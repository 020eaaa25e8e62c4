"""Law: additive attention by hand has the values and gradients of its definition."""

import keras
import numpy as np
import pytest
from keras import ops

from charlm.reference.gradient_check import worst
from tests.examples import module

attention = module("attention")
B, T, S, Q, K, U = 3, 4, 5, 6, 2, 7
NAMES = "q", "k", "W_q", "W_k", "v"


@pytest.fixture
def given(rng):
    mask = np.ones((B, S))
    mask[1, 3:] = 0
    shapes = (B, T, Q), (B, S, K), (Q, U), (K, U), (U,)
    return mask, [rng.normal(size=shape) for shape in shapes]


def test_gradients_are_those_of_finite_differences(given, rng):
    mask, arrays = given
    into_c, into_a = rng.normal(size=(B, T, K)), rng.normal(size=(B, T, S))

    def loss():
        c, a, _ = attention.forward(mask, *arrays)
        return float((c * into_c).sum() + (a * into_a).sum())

    found = attention.backward(mask, *arrays, *attention.forward(mask, *arrays), into_c, into_a)
    values, gradients = dict(zip(NAMES, arrays, strict=True)), dict(zip(NAMES, found, strict=True))
    name, error = worst(loss, values, gradients)
    assert error < 1e-7, name


def test_weights_are_a_distribution_over_the_keys_that_count(given):
    mask, arrays = given
    c, a, _ = attention.forward(mask, *arrays)
    np.testing.assert_allclose(a.sum(axis=-1), 1)
    assert (a[1, :, 3:] == 0).all()
    assert (a[0] > 0).all()
    np.testing.assert_allclose(c, np.einsum("bts,bsk->btk", a, arrays[1]))


def test_the_layer_is_the_same_by_hand_and_by_the_backend(given):
    mask, (queries, keys, *_) = given
    queries, keys, mask = (x.astype(np.float32) for x in (queries, keys, mask))
    q, k, m = keras.Input((T, Q)), keras.Input((S, K)), keras.Input((S,))
    layers = [attention.AdditiveAttention(U, by_hand=x) for x in (True, False)]
    models = [keras.Model([q, k, m], [*layer(q, k, m)]) for layer in layers]
    models[1].set_weights(models[0].get_weights())
    before = [model.predict([queries, keys, mask], verbose=0) for model in models]
    for x, y in zip(*before, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    for model in models:
        model.compile(keras.optimizers.SGD(1.0), loss=["mse", "mse"])
        model.fit([queries, keys, mask], [before[0][0] + 1, before[0][1] - 1], verbose=0)
    for x, y, w in zip(*(m.get_weights() for m in models), NAMES[2:], strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5, err_msg=w)
        assert np.abs(x).max() > 0
    assert ops.shape(layers[0](queries, keys)[1]) == (B, T, S)
