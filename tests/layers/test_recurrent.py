"""Law: charlm's LSTM computes what keras.layers.LSTM computes, forward and backward."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from charlm.layers import LSTM, LSTMCell, bptt
from charlm.reference import lstm as reference
from tests.oracle import loss_and_gradients, outputs

B, T, D, H = 2, 5, 3, 4
BACKEND = keras.backend.backend()
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], bool)

MODES = {
    "plain": {},
    "mask": {"mask": MASK},
    "mask to zeros": {"mask": MASK, "zero_output_for_mask": True},
    "dropout": {"dropout": 0.4, "seed": 3},
    "recurrent dropout": {"recurrent_dropout": 0.4, "dropout": 0.2, "seed": 3},
    "unroll": {"unroll": True},
    "unroll, mask": {"unroll": True, "mask": MASK},
    "other activations": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "no activations": {"activation": None, "recurrent_activation": None},
    "no bias": {"use_bias": False},
}


# return_sequences, return_state, go_backwards, initial_state given: all ways where that is cheap,
# a few on JAX, which compiles each anew
ROWS = list(itertools.product([False, True], repeat=4))
TRAINING = [True, False]
if BACKEND == "jax":
    ROWS = [(False, True, False, True), (True, True, True, False)]
    TRAINING = [True]


def pair(rng, shape=(B, T, D), **options):
    """Ours and Keras's layer with the same random weights."""
    layers = LSTM(H, **options), keras.layers.LSTM(H, **options)
    for layer in layers:
        layer.build(shape)
    values = [0.4 * rng.normal(size=w.shape).astype(w.dtype) for w in layers[1].get_weights()]
    for layer in layers:
        layer.set_weights(values)
    return layers


@pytest.mark.parametrize("training", TRAINING)
@pytest.mark.parametrize("mode", MODES)
def test_equals_keras_in_outputs_states_and_gradients(rng, mode, training):
    # small, for without activations the numbers grow like powers
    x = 0.5 * rng.normal(size=(B, T, D)).astype("float32")
    states = [0.5 * rng.normal(size=(B, H)).astype("float32") for _ in "hc"]
    settings = dict(MODES[mode])
    mask = settings.pop("mask", None)
    if mask is not None and BACKEND == "torch":
        pytest.skip("keras.layers.LSTM takes no mask on torch")
    for sequences, state, backwards, given in ROWS:
        options = {"return_sequences": sequences, "return_state": state, "go_backwards": backwards}
        ours, keras_own = pair(rng, **options, **settings)
        call = {"training": training} | ({} if mask is None else {"mask": mask})
        initial = states if given else []
        mine, my_gradients = loss_and_gradients(ours, x, initial, **call)
        theirs, their_gradients = loss_and_gradients(keras_own, x, initial, **call)
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-5), options
        for a, b in zip(my_gradients, their_gradients, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=str(options))


def test_the_passes_are_the_ones_named(rng):
    ours, _ = pair(rng)
    assert ours.backward_pass() == "hand-derived"
    assert ours.backward_pass(training=False) == ours.backward_pass(masked=True) == "autodiff"
    for mode in ("recurrent dropout", "unroll", "other activations"):
        assert pair(rng, **MODES[mode])[0].backward_pass() == "autodiff"


def test_masked_torch_equals_the_numpy_loop(rng):
    """Where Keras's own layer fails, and so can be no judge."""
    ours, _ = pair(rng, return_sequences=True, return_state=True)
    x = rng.normal(size=(B, T, D)).astype("float32")
    W, U, b = ours.get_weights()
    h = c = np.zeros((B, H), "float32")
    shown, expected = np.zeros((B, H), "float32"), []
    for t in range(T):
        new = reference.step(x[:, t] @ W + b, (h, c), U)
        keep = MASK[:, t : t + 1]
        shown = np.where(keep, new[0], shown)
        h, c = np.where(keep, new[0], h), np.where(keep, new[1], c)
        expected.append(shown)
    y, h_last, c_last = outputs(ours, x, mask=MASK)
    np.testing.assert_allclose(y, np.stack(expected, 1), atol=1e-6)
    np.testing.assert_allclose(h_last, h, atol=1e-6)
    np.testing.assert_allclose(c_last, c, atol=1e-6)


def test_equals_the_numpy_loop(rng):
    ours, _ = pair(rng, return_sequences=True, return_state=True)
    x = rng.normal(size=(B, T, D)).astype("float32")
    states = tuple(rng.normal(size=(B, H)).astype("float32") for _ in "hc")
    expected, (h, c) = reference.forward(x, states, *ours.get_weights())
    for training in (True, False):
        found = outputs(ours, x, initial_state=list(states), training=training)
        for a, b in zip(found, (expected, h, c), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"use_bias": False}, {"dropout": 0.4, "seed": 3}])
def test_ids_equal_one_hot_vectors(rng, settings):
    V = 7
    ids = rng.integers(V, size=(B, T))
    one_hot = np.eye(V, dtype="float32")[ids]
    reads_ids = LSTM(H, vocab_size=V, return_sequences=True, **settings)
    reads_ids.build((B, T))
    reads_vectors, _ = pair(rng, (B, T, V), return_sequences=True, **settings)
    reads_ids.set_weights(reads_vectors.get_weights())
    loss, gradients = loss_and_gradients(reads_ids, ids, training=True)
    expected, expected_gradients = loss_and_gradients(reads_vectors, one_hot, training=True)
    assert loss == pytest.approx(expected, abs=2e-5)
    for a, b in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_ids_that_recur_thousands_of_times_keep_their_gradient_in_half_precision(rng):
    V, many = 7, 4000
    ids = np.where(rng.random((B, many // B)) < 0.9, 3, rng.integers(V, size=(B, many // B)))

    class Rows(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="bfloat16")
            self.kernel = self.add_weight(shape=(V, 4), name="kernel", initializer="ones")

        def call(self, ids):
            rows = bptt.gather_rows(ops.copy(ops.convert_to_tensor(self.kernel)), ids)
            return ops.sum(ops.cast(rows, "float32"))[None]

    layer = Rows()
    layer.build(ids.shape)
    _, (gradient,) = loss_and_gradients(layer, ids)
    counts = np.bincount(ids.ravel(), minlength=V)
    per_row = gradient[:, 0] / counts
    np.testing.assert_allclose(per_row, per_row[0], rtol=0.02)


def test_ids_serve_in_bidirectional_and_keras_files(rng, tmp_path):
    x = keras.Input((None,), dtype="int32")
    layer = keras.layers.Bidirectional(LSTM(H, vocab_size=7, return_sequences=True))
    model = keras.Model(x, keras.layers.Dense(2)(layer(x)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ids = rng.integers(7, size=(B, T))
    np.testing.assert_allclose(outputs(again, ids)[0], outputs(model, ids)[0], atol=1e-6)


def test_whole_sequence_equals_pieces_with_the_state_passed_on(rng):
    ours, _ = pair(rng, return_sequences=True, return_state=True)
    x = rng.normal(size=(B, T, D)).astype("float32")
    whole, *_ = outputs(ours, x)
    first, *states = ours(x[:, :2])
    second, *_ = ours(x[:, 2:], initial_state=states)
    pieces = ops.concatenate([first, second], axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(pieces), whole, atol=1e-6)


def test_stateful_goes_on_and_resets(rng):
    ours, keras_own = pair(rng, stateful=True)
    x = rng.normal(size=(B, T, D)).astype("float32")
    calls = [outputs(ours, x)[0], outputs(ours, x)[0]]
    expected = [outputs(keras_own, x)[0], outputs(keras_own, x)[0]]
    np.testing.assert_allclose(calls, expected, atol=1e-6)
    assert np.abs(calls[0] - calls[1]).max() > 1e-3
    ours.reset_state()
    np.testing.assert_allclose(outputs(ours, x)[0], calls[0], atol=1e-6)
    if BACKEND != "jax":  # there, gradients are taken of stateless calls
        loss_and_gradients(ours, x, training=True)
        loss_and_gradients(ours, x, training=True)  # torch: what the first call assigned is intact


def test_constructor_is_keras_own_and_one_option_more():
    import inspect

    ours = inspect.signature(LSTM).parameters
    theirs = inspect.signature(keras.layers.LSTM).parameters
    assert [n for n in ours if n != "vocab_size"] == list(theirs)
    assert all(ours[n].default == p.default for n, p in theirs.items())


def test_config_rebuilds_the_layer_with_every_option(rng):
    options = {
        "activation": "relu", "recurrent_activation": "hard_sigmoid", "use_bias": True,
        "kernel_initializer": "ones", "recurrent_initializer": "zeros", "bias_initializer": "ones",
        "unit_forget_bias": False, "kernel_regularizer": keras.regularizers.L2(0.1),
        "recurrent_regularizer": "l1", "bias_regularizer": "l2", "activity_regularizer": "l1",
        "kernel_constraint": "non_neg", "recurrent_constraint": "max_norm",
        "bias_constraint": "unit_norm", "dropout": 0.1, "recurrent_dropout": 0.2, "seed": 5,
        "return_sequences": True, "return_state": True, "go_backwards": True, "stateful": False,
        "unroll": True, "zero_output_for_mask": True, "name": "mine", "vocab_size": 7,
    }  # fmt: skip
    config = LSTM(H, **options).get_config()
    again = LSTM.from_config(config).get_config()
    assert again == config
    theirs = keras.layers.LSTM(
        H, **{k: v for k, v in options.items() if k != "vocab_size"}
    ).get_config()
    for key in theirs:
        assert config[key] == theirs[key], key


def test_registered_under_a_name_that_saved_files_hold():
    assert keras.saving.get_registered_name(LSTM) == "charlm>LSTM"
    assert keras.saving.get_registered_name(LSTMCell) == "charlm>LSTMCell"


def test_weights_start_as_keras_own():
    ours, keras_own = LSTM(H), keras.layers.LSTM(H)
    for layer in (ours, keras_own):
        layer.build((B, T, D))
    names = [(w.name, w.shape) for w in keras_own.weights]
    assert [(w.name, w.shape) for w in ours.weights] == names
    np.testing.assert_array_equal(ours.get_weights()[2], keras_own.get_weights()[2])
    assert ours.get_weights()[2][H : 2 * H].tolist() == [1] * H  # the forget gate's, once


def test_regularizers_add_losses_and_constraints_reach_the_weights(rng):
    settings = {"kernel_regularizer": "l2", "recurrent_regularizer": "l1", "bias_regularizer": "l2"}
    settings |= {"activity_regularizer": "l2", "kernel_constraint": "non_neg"}
    ours, keras_own = pair(rng, **settings)
    x = rng.normal(size=(B, T, D)).astype("float32")
    for layer in (ours, keras_own):
        layer(x)
    found, expected = (
        [float(ops.convert_to_numpy(v)) for v in x.losses] for x in (ours, keras_own)
    )
    assert found == pytest.approx(expected)
    assert ours.cell.kernel.constraint is not None


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_saved_and_loaded_without_custom_objects(rng, tmp_path, suffix):
    def functional(kind):
        x = keras.Input((T, D))
        return keras.Model(x, keras.layers.Dense(2)(kind(H, return_sequences=True)(x)))

    x = rng.normal(size=(B, T, D)).astype("float32")
    model = functional(LSTM)
    expected = outputs(model, x)[0]
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        again = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        again = functional(keras.layers.LSTM)  # Keras's own layer reads the file too
        again.load_weights(path)
    np.testing.assert_allclose(outputs(again, x)[0], expected, atol=1e-6)


@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_bidirectional_as_keras_own(rng, merge_mode):
    x = rng.normal(size=(B, T, D)).astype("float32")
    layers = [
        keras.layers.Bidirectional(kind(H, return_sequences=True), merge_mode=merge_mode)
        for kind in (LSTM, keras.layers.LSTM)
    ]
    for layer in layers:
        layer.build((B, T, D))
    layers[0].set_weights(layers[1].get_weights())
    np.testing.assert_allclose(*[outputs(layer, x)[0] for layer in layers], atol=1e-6)


def test_mask_flows_in_from_an_embedding(rng):
    if BACKEND == "torch":
        pytest.skip("keras.layers.LSTM takes no mask on torch")
    ids = np.array([[3, 1, 0, 2, 0], [1, 2, 3, 0, 0]])
    embedding = keras.layers.Embedding(4, D, mask_zero=True)
    ours, keras_own = pair(rng)
    found, expected = (outputs(layer, embedding(ids))[0] for layer in (ours, keras_own))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_dtype_policies_as_keras_own(rng, policy):
    if policy == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless told so at start")
    ours, keras_own = pair(rng, dtype=policy, return_sequences=True)
    x = rng.normal(size=(B, T, D)).astype("float64" if policy == "float64" else "float32")
    found, expected = ours(x, training=True), keras_own(x, training=True)
    assert found.dtype == expected.dtype
    assert ours.cell.kernel.dtype == keras_own.cell.kernel.dtype
    coarse = {"mixed_bfloat16": 0.05, "mixed_float16": 0.005, "float64": 1e-12}[policy]
    if (policy, BACKEND) == ("float64", "torch"):
        coarse = 1e-6  # keras.ops.matmul multiplies float64 in float32 there
    found, expected = (ops.convert_to_numpy(y).astype("float64") for y in (found, expected))
    np.testing.assert_allclose(found, expected, atol=coarse)


def test_the_cell_serves_in_keras_rnn(rng):
    ours, _ = pair(rng)
    x = rng.normal(size=(B, T, D)).astype("float32")
    hosted = keras.layers.RNN(LSTMCell(H))
    hosted.build((B, T, D))
    hosted.set_weights(ours.get_weights())
    np.testing.assert_allclose(outputs(hosted, x)[0], outputs(ours, x)[0], atol=1e-6)


def test_trains_in_fit_with_unknown_batch_and_time(rng):
    x, y = rng.normal(size=(8, T, D)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, keras.layers.Dense(1)(LSTM(H)(inputs)))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(x, y, epochs=20, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"units": 0}, "units"),
        ({"units": 2.5}, "units"),
        ({"units": 4, "dropout": 1.5}, "dropout"),
        ({"units": 4, "recurrent_dropout": -0.1}, "recurrent_dropout"),
        ({"units": 4, "vocab_size": 0}, "vocab_size"),
        ({"units": 4, "use_cudnn": True}, "use_cudnn"),
    ],
)
def test_refuses_options_out_of_range_when_made(options, named):
    with pytest.raises(ValueError, match=rf"Expected .*{named}.*Received: {named}="):
        LSTM(**options)
