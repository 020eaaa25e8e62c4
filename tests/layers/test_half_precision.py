"""Law: in half precision products alone are halved; what adds up over time loses nothing."""

import keras
import numpy as np
import pytest
from keras import ops

from charlm.layers import numpy_op
from charlm.layers.gather import gather_rows
from tests.cells import CASES, FEW, normal, set_random
from tests.oracle import in_numpy, results_and_gradients

B, T, D, H, V = 2, 5, 3, 4, 7
BACKEND = keras.backend.backend()

SLOW = {"f": 6.0, "z": 6.0, "i": -6.0}  # biases of gates with which a state moves little in a step
HALF = {"mixed_bfloat16": 0.01, "mixed_float16": 0.0015}  # and tolerances, of the largest number
if BACKEND == "jax":
    del HALF["mixed_float16"]


@pytest.fixture(params=FEW if BACKEND == "jax" else CASES, ids=str)
def case(request):
    return request.param


def test_ids_that_recur_thousands_of_times_keep_their_gradient_in_half_precision(rng):
    many = 4000
    ids = np.where(rng.random((B, many // B)) < 0.9, 3, rng.integers(V, size=(B, many // B)))

    class Rows(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="bfloat16")
            self.kernel = self.add_weight(shape=(V, 4), name="kernel", initializer="zeros")

        def call(self, ids):
            rows = gather_rows(ops.copy(ops.convert_to_tensor(self.kernel)), ids)
            return ops.sum(ops.cast(rows, "float32"))[None]

    layer = Rows()
    layer.build(ids.shape)
    _, (gradient,) = results_and_gradients(layer, ids)
    counts = np.bincount(ids.ravel(), minlength=V)
    per_row = gradient[:, 0] / counts
    np.testing.assert_allclose(per_row, per_row[0], rtol=0.02)


@pytest.mark.product(4)
@pytest.mark.full
@pytest.mark.parametrize("policy", HALF)
@pytest.mark.parametrize("way", ["compiled", "hand-derived", "autodiff"])
def test_in_half_precision_states_and_gradients_add_up_over_long_sequences(
    rng, case, policy, way, monkeypatch
):
    """Kept in half they lose the small steps, and err by four to fifty times what is allowed."""
    if case.name != "lstm" and (BACKEND == "jax" or policy == "mixed_float16"):
        pytest.skip("the LSTM stands for all, on JAX, and in float16: it takes long")
    if way != "compiled":
        monkeypatch.setattr(numpy_op, "is_supported", lambda tensor=None: False)
    long = 300
    x = normal(rng, B, long, D) + 0.5
    options = {"return_sequences": True, "return_state": True, "dtype": policy}
    ours = case.make(H, **options)
    ours.build(x.shape)
    set_random(rng, ours, scale=0.3)
    W, U, bias = ours.get_weights()
    for k, gate in enumerate(ours.cell.GATES):
        bias[..., k * H : (k + 1) * H] += SLOW.get(gate, 0) / (1 if bias.ndim == 1 else 2)
    ours.set_weights([W, U, bias])
    if way == "compiled" and not (ours.cell.compiled() and numpy_op.is_supported()):
        pytest.skip("no machine code for it")
    assert ours.backward_pass(masked=way == "autodiff") == way
    call = {"training": True, "mask": np.ones((B, long), bool) if way == "autodiff" else None}
    initial = [normal(rng, B, H) for _ in case.cell.states]
    results, gradients = in_numpy(case, ours, x, initial, training=True)
    found, found_gradients = results_and_gradients(ours, x, initial, **call)
    assert [y.dtype for y in found[1:]] == ["float32"] * len(initial)
    for a, b in zip(found, results, strict=True):
        assert np.abs(np.float64(a) - b).max() < HALF[policy] * np.abs(b).max()
    for a, b in zip(found_gradients, gradients, strict=True):
        assert np.abs(a - b).max() < 3 * HALF[policy] * np.abs(b).max()


@pytest.mark.product(2)
@pytest.mark.usual(1)
@pytest.mark.skipif(BACKEND != "tensorflow", reason="its graphs alone sum in a loop's own type")
def test_autodiff_s_gradients_add_up_in_a_graph_too(rng, case):
    import tensorflow as tf

    x, mask = normal(rng, B, 300, D) + 0.5, np.ones((B, 300), bool)
    types = ("mixed_bfloat16", "float32")
    half, single = (case.make(H, return_sequences=True, dtype=t) for t in types)
    for layer in (half, single):
        layer.build(x.shape)
        layer.compiled_training = False
    set_random(rng, half, single, scale=0.3)

    def gradients(layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(x, training=True, mask=mask), "float32"))
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    found, expected = (tf.function(lambda x=x: gradients(x))() for x in (half, single))
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() < 0.03 * np.abs(b).max()


@pytest.mark.parametrize("policy", HALF)
def test_in_half_precision_symbols_tell_the_types_of_outputs(case, policy):
    layer = case.make(H, return_sequences=True, return_state=True, dtype=policy)
    x = keras.Input((T, D))
    for symbols in (layer(x), case.make(H, return_sequences=True, dtype=policy)(x)):
        model = keras.Model(x, symbols)
        made = keras.tree.flatten(model(np.zeros((B, T, D), "float32")))
        told = [s.dtype for s in keras.tree.flatten(symbols)]
        assert [keras.backend.standardize_dtype(y.dtype) for y in made] == told
        assert told == [policy.removeprefix("mixed_"), "float32", "float32"][: len(told)]


@pytest.mark.parametrize("policy", HALF)
@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"recurrent_dropout": 0.3}], ids=str)
def test_a_cell_with_dropout_serves_in_keras_rnn(rng, case, policy, options):
    cell = case.kind.CELL(H, seed=3, dtype=policy, **options)
    layer = keras.layers.RNN(cell, return_sequences=True, dtype=policy)
    y = layer(normal(rng, B, T, D), training=True)
    assert tuple(y.shape) == (B, T, H)


@pytest.mark.usual(2)
@pytest.mark.parametrize("policy", HALF)
@pytest.mark.parametrize("training", [True, False])
def test_within_a_wrapper_it_is_what_it_is_alone(rng, case, policy, training):
    keras.config.set_dtype_policy(policy)
    try:
        layer, x = case.make(H), normal(rng, B, 2, T, D)
        layer.build((B, T, D))
        set_random(rng, layer)
        found = keras.layers.TimeDistributed(layer)(x, training=training)
        expected = [layer(x[:, k], training=training) for k in range(2)]
    finally:
        keras.config.set_dtype_policy("float32")
    results = (
        ops.convert_to_numpy(ops.cast(y, "float32")) for y in (found, ops.stack(expected, 1))
    )
    np.testing.assert_array_equal(*results)
