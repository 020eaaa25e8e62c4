"""Law: a layer computes what its Keras namesake and its NumPy cell compute, forward and backward.

What goes through the product of cells is every row of `tests.cells`; where a cell has no namesake,
NumPy judges alone.
"""

import inspect
import sys

import keras
import numpy as np
import pytest
from keras import ops

from charlm import layers
from charlm.cells import CELLS
from charlm.kernels import bfloat16
from charlm.layers import dropout, numpy_op
from tests.cells import CASES, FEW, KINDS, NAMESAKES, normal, set_random
from tests.oracle import in_numpy, outputs, results_and_gradients

B, T, D, H, V = 2, 5, 3, 4, 7
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
TRAINS_OTHERWISE = {"plain", "dropout", "recurrent dropout", "no bias"}  # than it infers

# return_sequences, return_state, go_backwards, initial_state given: every two with every two
# values; and training
ROWS = [
    (False, False, False, False, False),
    (True, True, True, False, False),
    (True, True, False, True, True),
    (True, False, True, True, True),
    (False, True, True, True, True),
]
IDS = [{"dropout": 0.4, "seed": 3}, {"use_bias": False}]
POLICIES = {"mixed_bfloat16": 0.05, "mixed_float16": 0.005, "float64": 1e-12}  # and tolerances
if BACKEND == "jax":  # compiles each anew, and has no float64 unless told so at start
    ROWS = [(True, True, False, True, True), (False, False, True, False, True)]
    for name in ("dropout", "unroll", "no activations", "no bias"):
        del MODES[name]
    del POLICIES["mixed_float16"], POLICIES["float64"]
    IDS = IDS[:1]
    CASES = FEW
    NAMESAKES = [case for case in NAMESAKES if not case.options]
elif BACKEND == "torch":
    POLICIES["float64"] = 1e-6  # keras.ops.matmul multiplies float64 in float32 there


WAYS = [(mode, "compiled") for mode in MODES]  # where that serves
WAYS += [(mode, "hand-derived") for mode in MODES if mode in TRAINS_OTHERWISE]


def rows(mode, way):
    if way == "hand-derived":  # differs in training only
        return [row for row in rows(mode, "compiled") if row[-1]]
    if BACKEND == "jax":
        return ROWS if mode in ("plain", "mask") else ROWS[:1]
    return ROWS if mode in TRAINS_OTHERWISE else ROWS[-3:]


@pytest.fixture
def not_compiled(monkeypatch):
    monkeypatch.setattr(layers.RecurrentCell, "compiled", lambda self, dropped=False: None)
    monkeypatch.setattr(layers.GRUCell, "compiled", lambda self, dropped=False: None)


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture(params=NAMESAKES, ids=str)
def named(request):
    return request.param


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return request.param


def pair(rng, case, shape=(B, T, D), scale=0.4, **settings):
    """Ours and Keras's layer, if it has one, with the same random weights."""
    kinds = [case.kind] + ([case.keras_kind] if case.keras_kind else [])
    made = [case.make(H, kind=k, **settings) for k in kinds]
    for layer in made:
        layer.build(shape)
    set_random(rng, *made, scale=scale)
    return made if case.keras_kind else [*made, None]


def close(found, expected, what="", rtol=1e-4, atol=1e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=str(what))


def test_every_cell_has_its_row():
    assert {case.name for case in KINDS} == set(CELLS)


@pytest.mark.product(5)
@pytest.mark.usual(4)
@pytest.mark.parametrize(("mode", "way"), WAYS)
def test_equals_keras_and_numpy_in_outputs_states_and_gradients(rng, case, mode, way, request):
    if way == "hand-derived":
        request.getfixturevalue("not_compiled")
    x = normal(rng, B, T, D)
    states = [normal(rng, B, H) for _ in case.cell.states]
    settings = dict(MODES[mode])
    mask = settings.pop("mask", None)
    scale = 0.15 if mode == "no activations" else 0.4  # there, numbers grow like powers
    for row in rows(mode, way):
        sequences, state, backwards, given, training = row
        options = {"return_sequences": sequences, "return_state": state, "go_backwards": backwards}
        ours, theirs = pair(rng, case, scale=scale, **options, **settings)
        call = {"training": training, "mask": mask}
        initial = states if given else []
        expected = in_numpy(case, ours, x, initial, **call)
        mine, my_gradients = results_and_gradients(ours, x, initial, **call)
        close(mine, expected[0], ("NumPy", row))
        close(my_gradients, expected[1], ("NumPy, gradients", row))
        if BACKEND == "torch" and mode == "unroll, mask" and backwards:
            continue  # there, keras.layers takes a tuple for a tensor and fails
        if theirs and (BACKEND != "jax" or row == ROWS[0]):
            expected = results_and_gradients(theirs, x, initial, **call)
            close(mine, expected[0], ("Keras", row))
            close(my_gradients, expected[1], ("Keras, gradients", row))


def test_the_passes_are_the_ones_named(rng, case, monkeypatch):
    ours, _ = pair(rng, case)
    resets_before = case.options.get("reset_after") is False
    by_hand = resets_before or not numpy_op.is_supported()  # that is on a GPU
    assert ours.backward_pass() == ("hand-derived" if by_hand else "compiled")
    in_half = pair(rng, case, dtype="mixed_bfloat16")[0].backward_pass()
    assert in_half == (ours.backward_pass() if bfloat16.AVAILABLE else "hand-derived")
    assert pair(rng, case, dtype="mixed_float16")[0].backward_pass() == "hand-derived"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "charlm.kernels.jit", None)  # as without Numba
        assert ours.backward_pass() == "hand-derived"
        assert ours.backward_pass(masked=True) == "autodiff"
    with monkeypatch.context() as patch:
        patch.setattr(numpy_op, "is_supported", lambda tensor=None: False)  # as on a GPU
        assert ours.backward_pass() == "hand-derived"
    with monkeypatch.context() as patch:
        patch.setattr(ours, "compiled_training", False)
        assert ours.backward_pass() == "hand-derived"
    assert ours.backward_pass(training=False) == "autodiff"
    for mode in ({"unroll": True}, {"activation": "elu"}, {"activation": lambda x: x}):
        assert pair(rng, case, **mode)[0].backward_pass() == "autodiff"
    compiled = "autodiff" if by_hand else "compiled"
    assert ours.backward_pass(masked=True) == compiled
    served = [{"recurrent_dropout": 0.4}, {"activation": "relu"}]
    if "recurrent_activation" in ours.cell.OPTIONS:
        served.append({"recurrent_activation": "hard_sigmoid"})
    for mode in served:
        assert pair(rng, case, **mode)[0].backward_pass() == compiled


@pytest.mark.parametrize("settings", IDS, ids=str)
def test_ids_equal_one_hot_vectors(rng, case, settings):
    ids = rng.integers(V, size=(B, T))
    one_hot = np.eye(V, dtype="float32")[ids]
    reads_ids = case.make(H, vocab_size=V, return_sequences=True, **settings)
    reads_ids.build((B, T))
    reads_vectors, _ = pair(rng, case, (B, T, V), return_sequences=True, **settings)
    reads_ids.set_weights(reads_vectors.get_weights())
    found, gradients = results_and_gradients(reads_ids, ids, training=True)
    expected = results_and_gradients(reads_vectors, one_hot, training=True)
    close(found, expected[0])
    close(gradients, expected[1])


@pytest.mark.parametrize("kind", KINDS[:1] if BACKEND == "jax" else KINDS, ids=str)
def test_ids_serve_in_bidirectional_and_keras_files(rng, kind, tmp_path):
    x = keras.Input((None,), dtype="int32")
    layer = keras.layers.Bidirectional(kind.make(H, vocab_size=V, return_sequences=True))
    model = keras.Model(x, keras.layers.Dense(2)(layer(x)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ids = rng.integers(V, size=(B, T))
    close(outputs(again, ids), outputs(model, ids), atol=1e-6)


def test_whole_sequence_equals_pieces_with_the_state_passed_on(rng, case):
    ours, _ = pair(rng, case, return_sequences=True, return_state=True)
    x = normal(rng, B, T, D)
    whole, *last = outputs(ours, x)
    first, *states = ours(x[:, :2])
    second, *states = outputs(ours, x[:, 2:], initial_state=states)
    close([np.concatenate([ops.convert_to_numpy(first), second], 1)], [whole], atol=1e-6)
    close(states, last, atol=1e-6)


def test_stateful_goes_on_and_resets(rng, case):
    ours, theirs = pair(rng, case, stateful=True)
    x = normal(rng, B, T, D)
    calls = [outputs(ours, x)[0], outputs(ours, x)[0]]
    assert np.abs(calls[0] - calls[1]).max() > 1e-3
    if theirs:
        close(calls, [outputs(theirs, x)[0], outputs(theirs, x)[0]], atol=1e-6)
    ours.reset_state()
    close(outputs(ours, x), calls[:1], atol=1e-6)
    if BACKEND != "jax":  # there, gradients are taken of stateless calls
        results_and_gradients(ours, x, training=True)
        # torch: what the first call assigned is intact
        results_and_gradients(ours, x, training=True)


OWN = "vocab_size", "weight_drop", "context_size", "context_scale"


@pytest.mark.parametrize("part", ["keras_kind", "keras_cell"])
def test_constructor_is_keras_own_and_options_more(named, part):
    theirs = inspect.signature(getattr(named, part)).parameters
    ours = named.kind if part == "keras_kind" else named.kind.CELL
    ours = inspect.signature(ours).parameters
    assert [n for n in ours if n not in OWN] == list(theirs)
    assert all(ours[n].default == p.default for n, p in theirs.items())


def test_options_may_be_given_by_their_places(case):
    cell, layer = case.kind.CELL(4, "relu"), case.kind(4, "relu")
    assert cell.units == layer.units == 4
    assert cell.activation is layer.activation is keras.activations.relu
    third = list(inspect.signature(case.kind.CELL).parameters)[2]
    value = False if third == "use_bias" else keras.activations.hard_sigmoid
    assert getattr(case.kind.CELL(4, "relu", value), third) is value


OPTIONS = {
    "activation": "relu", "recurrent_activation": "hard_sigmoid", "use_bias": False,
    "kernel_initializer": "ones", "recurrent_initializer": "zeros", "bias_initializer": "ones",
    "unit_forget_bias": False, "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": "l1", "bias_regularizer": "l2", "activity_regularizer": "l1",
    "kernel_constraint": "non_neg", "recurrent_constraint": "max_norm",
    "bias_constraint": "unit_norm", "dropout": 0.1, "recurrent_dropout": 0.2, "seed": 5,
    "return_sequences": True, "return_state": True, "go_backwards": True, "stateful": False,
    "unroll": True, "use_cudnn": False, "zero_output_for_mask": True, "name": "mine",
    "vocab_size": 7, "weight_drop": 0.3,
}  # fmt: skip


def test_config_rebuilds_layer_and_cell_with_every_option(case):
    known = inspect.signature(case.kind).parameters
    assert set(known) - set(OPTIONS) <= {"units", "reset_after", "kwargs", *OWN[2:]}
    layer = case.make(H, **OPTIONS)
    config = layer.get_config()
    assert config["name"] == "mine"
    assert config["use_bias"] is False  # and not its default, and so on
    assert case.kind.from_config(config).get_config() == config
    cell = layer.cell.get_config()
    assert case.kind.CELL.from_config(cell).get_config() == cell
    given = {**case.options, **case.known(OPTIONS)}
    assert {n: cell[n] for n in case.options} == case.options
    if case.keras_kind:
        given = {k: v for k, v in given.items() if k not in OWN}
        theirs = case.keras_kind(H, **given)
        expected = theirs.get_config()
        if case.name == "rnn":  # keras.layers.SimpleRNN takes it and forgets it
            expected["activity_regularizer"] = config["activity_regularizer"]
        assert {k: config[k] for k in expected} == expected
        theirs = theirs.cell.get_config()
        assert {k: cell[k] for k in theirs if k != "name"} == {
            k: v for k, v in theirs.items() if k != "name"
        }


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "CoupledLSTM"])
def test_registered_under_names_that_saved_files_hold(name):
    for full in (name, f"{name}Cell"):
        assert keras.saving.get_registered_name(getattr(layers, full)) == f"charlm>{full}"


def test_the_same_seed_draws_the_same_weights_as_keras(named):
    found = []
    for kind in (named.kind, named.keras_kind):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((T, D)), named.make(H, kind=kind)])
        found.append(model.get_weights())
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_start_as_keras_own(named):
    made = [named.make(H, kind=k) for k in (named.kind, named.keras_kind)]
    for layer in made:
        layer.build((B, T, D))
    ours, theirs = ([(w.name, w.path.split("/")[-2:], w.shape) for w in x.weights] for x in made)
    assert ours == theirs
    np.testing.assert_array_equal(made[0].get_weights()[2], made[1].get_weights()[2])
    for layer in made:
        recurrent = layer.get_weights()[1]
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(H), atol=1e-5)


def test_bias_starts_at_one_in_the_forget_gate_alone(kind):
    layer = kind.make(H)
    layer.build((B, T, D))
    blocks = np.split(layer.get_weights()[2], len(kind.cell.gates), axis=-1)
    for gate, block in zip(kind.cell.gates, blocks, strict=True):
        np.testing.assert_array_equal(block, np.full_like(block, gate == "f"))


def test_regularizers_add_losses_and_constraints_reach_the_weights(rng, named):
    settings = {"kernel_regularizer": "l2", "recurrent_regularizer": "l1", "bias_regularizer": "l2"}
    settings |= {"activity_regularizer": "l2", "kernel_constraint": "non_neg"}
    settings |= {"recurrent_constraint": "max_norm", "bias_constraint": "unit_norm"}
    made = pair(rng, named, **settings)
    x = normal(rng, B, T, D)
    for layer in made:
        layer(x)
    found, expected = ([float(ops.convert_to_numpy(v)) for v in x.losses] for x in made)
    assert len(found) == 4
    if named.name == "rnn":  # keras.layers.SimpleRNN takes activity_regularizer and forgets it
        y = outputs(made[1], x)[0]
        expected.append(0.01 * np.sum(y * y) / B)
    assert sorted(found) == pytest.approx(sorted(expected))
    found, expected = ([type(w.constraint) for w in x.weights] for x in made)
    assert found == expected


@pytest.mark.usual(1)
@pytest.mark.parametrize("policy", POLICIES)
def test_dtype_policies_as_keras_own(rng, named, policy):
    ours, theirs = pair(rng, named, dtype=policy, return_sequences=True)
    x = rng.normal(size=(B, T, D)).astype("float64" if policy == "float64" else "float32")
    found, expected = ours(x, training=True), theirs(x, training=True)
    assert found.dtype == expected.dtype
    assert ours.cell.kernel.dtype == theirs.cell.kernel.dtype
    found, expected = (ops.convert_to_numpy(y).astype("float64") for y in (found, expected))
    np.testing.assert_allclose(found, expected, atol=POLICIES[policy])


def test_the_cell_serves_in_keras_rnn(rng, case):
    ours, _ = pair(rng, case, return_sequences=True, return_state=True)
    x = normal(rng, B, T, D)
    cell = case.kind.CELL(H, **case.options)
    hosted = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    hosted.build((B, T, D))
    hosted.set_weights(ours.get_weights())
    close(outputs(hosted, x), outputs(ours, x), atol=1e-6)


@pytest.mark.parametrize("kind", [c for c in KINDS if not c.keras_kind], ids=str)
def test_trains_in_fit_with_unknown_batch_and_time(rng, kind):
    """A cell with no namesake; the others: `test_drop_in`."""
    x, y = rng.normal(size=(8, T, D)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, keras.layers.Dense(1)(kind.make(H)(inputs)))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(x, y, epochs=20, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"units": 0}, "units"),
        ({"units": 2.5}, "units"),
        ({"units": 4, "dropout": 1.5}, "dropout"),
        ({"units": 4, "recurrent_dropout": -0.1}, "recurrent_dropout"),
        ({"units": 4, "vocab_size": 0}, "vocab_size"),
        ({"units": 4, "weight_drop": 1}, "weight_drop"),
        ({"units": 4, "use_cudnn": "yes"}, "use_cudnn"),
    ],
)
def test_refuses_options_out_of_range_when_made(kind, options, about):
    known = inspect.signature(kind.kind).parameters
    expected = rf"Expected .*{about}.*Received: {about}=" if about in known else about
    with pytest.raises(ValueError, match=expected):
        kind.kind(**options)


def test_cudnn_may_be_asked_for_where_there_is_no_gpu(rng, named, monkeypatch):
    if named.name == "rnn":
        pytest.skip("it has no such option")
    x, options = normal(rng, B, T, D), {"use_cudnn": True}
    monkeypatch.setattr(numpy_op, "on_gpu", lambda: False)
    ours, _ = pair(rng, named)
    asked = named.make(H, **options)
    asked.build(x.shape)
    asked.set_weights(ours.get_weights())
    close(outputs(asked, x), outputs(ours, x))
    assert asked.get_config()["use_cudnn"] is True
    monkeypatch.setattr(numpy_op, "on_gpu", lambda: True)
    with pytest.raises(ValueError, match=r"'auto' or False on a GPU.*never runs cuDNN"):
        named.make(H, **options).build(x.shape)


def test_refuses_to_be_made_without_units_or_with_an_unknown_option(kind):
    with pytest.raises(TypeError, match=rf"{kind.kind.__name__}: .*units"):
        kind.kind()
    with pytest.raises(ValueError, match="no_such_option"):
        kind.kind(4, no_such_option=1)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="there alone XLA is one of two ways")
def test_under_xla_the_loops_are_tensorflow_s(rng, case):
    import tensorflow as tf

    ours, _ = pair(rng, case, return_sequences=True)
    x = normal(rng, B, T, D)
    compiled_by_xla = tf.function(lambda x: ours(x, training=True), jit_compile=True)
    close([compiled_by_xla(x)], [ours(x, training=True)])


@pytest.mark.parametrize("way", ["compiled", "hand-derived", "autodiff"])
def test_weight_drop_is_of_the_recurrent_kernel_and_anew_in_each_call(rng, case, way, request):
    if BACKEND == "jax" and case.name != "lstm":
        pytest.skip("compiles each anew")
    if way == "hand-derived":
        request.getfixturevalue("not_compiled")
    options = {"return_sequences": True, "unroll": way == "autodiff"}
    x = normal(rng, B, T, D)
    dropped, plain = case.make(H, weight_drop=0.5, seed=5, **options), case.make(H, **options)
    for layer in (dropped, plain):
        layer.build((B, T, D))
    set_random(rng, dropped)
    weights = dropped.get_weights()[:3]
    kept = dropout.dropped(ops.ones(weights[1].shape), 0.5, keras.random.SeedGenerator(5))
    kept = ops.convert_to_numpy(kept)  # 0 or 2
    assert 0.2 < (kept == 0).mean() < 0.8
    plain.set_weights([weights[0], weights[1] * kept, weights[2], *plain.get_weights()[3:]])
    expected, gradients = results_and_gradients(plain, x, training=True)
    found, mine = results_and_gradients(dropped, x, training=True)
    close(found, expected)
    gradients[1] = gradients[1] * kept
    close(mine, gradients)
    if BACKEND != "jax":  # there the oracle leaves the random state as it was
        again, _ = results_and_gradients(dropped, x, training=True)
        assert np.abs(again[0] - found[0]).max() > 1e-3
    plain.set_weights([*weights, *plain.get_weights()[3:]])
    close(outputs(dropped, x), outputs(plain, x))
