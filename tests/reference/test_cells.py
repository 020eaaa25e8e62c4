"""Law: gradients by hand are the numeric ones, and the layers compute what the NumPy cells do."""

import keras
import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.reference import lstm, through_time
from charlm.reference.activations import ACTIVATIONS
from charlm.reference.coupled import as_lstm
from charlm.reference.gradient_check import numeric, worst
from charlm.reference.loss import softmax_cross_entropy
from charlm.reference.network import Network, initial_weights
from charlm.training import network as model
from tests.cells import CASES, KINDS, Case, normal, set_random
from tests.oracle import in_numpy, loss_by, results_and_gradients

B, T, D, H, V = 2, 5, 3, 4, 7
SMALL = 1e-6  # relative error of a gradient, far above that of differences in float64


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


def loss(results):
    """The one whose gradients are `loss_by`."""
    return sum(
        np.sin(y * (k + 1.3) + 0.1 * np.arange(y.size).reshape(y.shape)).sum()
        for k, y in enumerate(results)
    )


def layer_weights(rng, case, width=D, bias=True):
    """Random kernel, recurrent kernel and bias of one layer, float64."""
    layer = case.make(H)
    layer.build((B, T, width))
    W, U, b = (0.5 * rng.normal(size=w.shape) for w in layer.weights)
    return W, U, b if bias else None


def options(case):
    return case.step_options(case.make(H))


def network(rng, case, layers=1, **settings):
    """A random float64 network, its random states and ids."""
    settings = {n: v for n, v in settings.items() if n == "skip" or n in case.known(settings)}
    config = case.config(units=H, layers=layers, **settings)
    weights = {
        path: 0.5 * rng.normal(size=w.shape) for path, w in initial_weights(config, V, rng).items()
    }
    net = Network(weights, V, config, np.float64)
    S = len(case.cell.states)
    states = [tuple(0.5 * rng.normal(size=(B, H)) for _ in range(S)) for _ in range(layers)]
    return net, states, rng.integers(V, size=(B, T))


NETWORKS = [
    {},
    {"layers": 2},
    {"layers": 2, "skip": "add"},
    {"activation": "relu"},
    {"recurrent_activation": "hard_sigmoid"},
    {"activation": "linear"},
]


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_network_gradients_by_hand_are_the_numeric_ones(rng, case, settings):
    net, states, ids = network(rng, case, **settings)
    if "recurrent_activation" in settings:
        net.weights["layers/" + case.cell.saved_as + "/cell/vars/1"][:] *= 0.3
        for b in (w for path, w in net.weights.items() if path.endswith("cell/vars/2")):
            b.reshape(-1, H)[:, 0] += 5  # one unit beyond the bend, where the slope is 0
    targets = rng.integers(V, size=(B, T))
    logits, _, cache = net.forward(ids, states)
    gradients, _ = net.backward(softmax_cross_entropy(logits, targets)[1], cache)
    assert set(gradients) == set(net.weights)

    def value():
        return softmax_cross_entropy(net.forward(ids, states)[0], targets)[0]

    name, error = worst(value, net.weights, gradients)
    assert error < SMALL, name


@pytest.mark.parametrize("reads", ["vectors", "ids", "vectors, no bias"])
def test_layer_gradients_by_hand_are_the_numeric_ones(rng, case, reads):
    """By the inputs and the states before too, and with a loss by the states after."""
    W, U, b = layer_weights(rng, case, bias="no" not in reads)
    chosen = options(case)
    x = rng.integers(D, size=(B, T)) if reads == "ids" else 0.5 * rng.normal(size=(B, T, D))
    states = [0.5 * rng.normal(size=(B, H)) for _ in case.cell.states]
    values = {"W": W, "U": U} | ({} if b is None else {"b": b})
    values |= dict(zip(case.cell.states, states, strict=True))
    values |= {} if reads == "ids" else {"x": x}

    def run():
        h, last, cache = through_time.forward(case.reference, x, tuple(states), (W, U, b), **chosen)
        return (h, *last), cache

    results, cache = run()
    dh, *d_last = loss_by(results)
    dx, d_states, (dW, dU, db), _ = through_time.backward(
        case.reference, dh, tuple(d_last), cache, (W, U, b), **chosen
    )
    gradients = {"W": dW, "U": dU, "b": db, "x": dx}
    gradients |= dict(zip(case.cell.states, d_states, strict=True))
    assert (db is None, dx is None) == (b is None, reads == "ids")
    name, error = worst(lambda: loss(run()[0]), values, gradients)
    assert error < SMALL, name


def test_flow_is_the_whole_gradient_by_the_states_after_each_step(rng, case):
    chosen = options(case)
    weights, x = layer_weights(rng, case), 0.5 * rng.normal(size=(B, T, D))
    zeros = tuple(np.zeros((B, H)) for _ in case.cell.states)
    h, last, cache = through_time.forward(case.reference, x, zeros, weights, **chosen)
    dh, *d_last = loss_by([h, *last])
    flow = through_time.backward(case.reference, dh, tuple(d_last), cache, weights, **chosen)[3]
    assert len(flow) == T
    for t in range(T - 1):
        past, states, _ = through_time.forward(
            case.reference, x[:, : t + 1], zeros, weights, **chosen
        )
        states = [s.copy() for s in states]

        def value(past=past, states=states, t=t):
            shown = np.concatenate([past[:, :t], states[0][:, None]], axis=1)
            rest, last, _ = through_time.forward(
                case.reference, x[:, t + 1 :], tuple(states), weights, **chosen
            )
            return loss([np.concatenate([shown, rest], axis=1), *last])

        for s, found in zip(states, flow[t], strict=True):
            np.testing.assert_allclose(found, numeric(value, s), atol=1e-8)


def test_worst_names_the_tensor_that_is_wrong_and_leaves_the_values_alone(rng):
    values = {name: rng.normal(size=shape) for name, shape in (("a", (2, 3)), ("b", 4), ("c", ()))}
    before = {name: v.copy() for name, v in values.items()}
    right = {name: np.cos(v) for name, v in values.items()}

    def value():
        return sum(np.sin(v).sum() for v in values.values())

    assert worst(value, values, right)[1] < 1e-9
    for name in values:
        found, error = worst(value, values, right | {name: 1.001 * right[name]})
        assert (found, error) == (name, pytest.approx(0.0005, rel=0.01))
    np.testing.assert_equal(values, before)
    with pytest.raises(TypeError, match="a, float32"):
        worst(value, {"a": np.zeros(2, np.float32)}, right)


def test_a_damaged_gradient_of_a_network_is_named(rng):
    net, states, ids = network(rng, Case("lstm"))
    targets = rng.integers(V, size=(B, T))
    logits, _, cache = net.forward(ids, states)
    gradients, _ = net.backward(softmax_cross_entropy(logits, targets)[1], cache)
    path = "layers/lstm/cell/vars/1"
    gradients[path] = 1.001 * gradients[path]
    name, error = worst(
        lambda: softmax_cross_entropy(net.forward(ids, states)[0], targets)[0],
        net.weights,
        gradients,
    )
    assert name == path
    assert error > 100 * SMALL


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_keras_own_and_slopes_the_numeric_ones(rng, name):
    a = 2 * rng.normal(size=(3, 5))
    a = np.concatenate([a, [[-7.3, -2.9, 0.2, 2.9, 7.3]]])
    y = ACTIVATIONS[name](a)
    expected = keras.ops.convert_to_numpy(getattr(keras.activations, name)(a.astype("float32")))
    np.testing.assert_allclose(y, expected, atol=1e-6)
    found = numeric(lambda: ACTIVATIONS[name](a).sum(), a)
    np.testing.assert_allclose(ACTIVATIONS[name].slope(y), found, atol=1e-8)


def test_softmax_cross_entropy_against_its_definition(rng):
    logits, targets = rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T))
    found, d_logits = softmax_cross_entropy(logits, targets)
    nats, expected = [], np.zeros_like(logits)
    for b, t in np.ndindex(B, T):
        p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
        nats.append(-np.log(p[targets[b, t]]))
        expected[b, t] = (p - np.eye(V)[targets[b, t]]) / (B * T)
    assert found == pytest.approx(np.mean(nats), rel=1e-12)
    np.testing.assert_allclose(d_logits, expected, atol=1e-15)
    values = {"logits": logits}
    gradients = {"logits": d_logits}
    error = worst(lambda: softmax_cross_entropy(logits, targets)[0], values, gradients)[1]
    assert error < SMALL


def test_softmax_cross_entropy_of_huge_logits_does_not_overflow(rng):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], np.float32)
    found, d_logits = softmax_cross_entropy(logits, np.array([1, 0]))
    assert found == pytest.approx((2e4 + np.log(3)) / 2)
    np.testing.assert_allclose(d_logits, [[0.5, -0.5, 0], [1 / 6 - 0.5, 1 / 6, 1 / 6]], atol=1e-6)


@pytest.mark.parametrize("reads", ["vectors", "ids"])
def test_layer_computes_what_the_numpy_cell_computes(rng, case, reads):
    """In outputs, states and gradients; for all the layer's options: `test_recurrent`."""
    given = {"return_sequences": True, "return_state": True}
    if reads == "ids":
        given |= {"vocab_size": V}
    layer = case.make(H, **given)
    x = rng.integers(V, size=(B, T)) if reads == "ids" else normal(rng, B, T, D)
    layer.build(x.shape)
    set_random(rng, layer)
    states = [normal(rng, B, H) for _ in case.cell.states]
    expected = in_numpy(case, layer, x, states, training=True)
    found = results_and_gradients(layer, x, states, training=True)
    for mine, numpys in zip(found, expected, strict=True):
        for a, b in zip(mine, numpys, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_model_computes_what_the_numpy_network_computes(rng, case):
    config = case.config(units=H, layers=3, skip="add")
    net = model.build(config, V)
    set_random(rng, net)
    ids, S = rng.integers(V, size=(B, T)), len(case.cell.states)
    states = [normal(rng, B, H) for _ in range(3 * S)]
    logits = keras.Model(net.inputs, net.outputs[0])
    (found,), gradients = results_and_gradients(logits, [ids, *states], training=True)

    weights = model.weights(net)
    reference = Network(weights, V, config, np.float64)
    groups = [tuple(np.float64(states[k * S : (k + 1) * S])) for k in range(3)]
    expected, after, cache = reference.forward(ids, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for t in range(T):
        row, groups = reference.step(ids[:, t], groups)
        np.testing.assert_allclose(row, expected[:, t], atol=1e-12)
    np.testing.assert_allclose(groups, after, atol=1e-12)
    by_hand, _ = reference.backward(loss_by([expected])[0], cache)
    paths = [path for path in weights if "seed_generator" not in path]
    for path, gradient in zip(paths, gradients, strict=True):
        np.testing.assert_allclose(gradient, by_hand[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_first_weights_have_the_paths_and_shapes_of_the_model(rng, case):
    config = case.config(units=H, layers=2)
    found = initial_weights(config, V, rng)
    expected = model.weights(model.build(config, V))
    expected = {path: w for path, w in expected.items() if "seed_generator" not in path}
    assert {p: (w.shape, w.dtype) for p, w in found.items()} == {
        p: (w.shape, w.dtype) for p, w in expected.items()
    }
    model.set_weights(model.build(config, V), found)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_first_weights_are_drawn_as_keras_draws_them(rng, case):
    gates = case.cell.gates
    settings = {"forget_bias": 2.5} if "f" in gates else {}
    found = initial_weights(case.config(units=H, layers=2, **settings), V, rng, np.float64)
    for path, w in found.items():
        if path.endswith("cell/vars/1"):
            np.testing.assert_allclose(w @ w.T, np.eye(H), atol=1e-12)
        elif path.endswith("cell/vars/2"):
            for gate, block in zip(gates, np.split(w, len(gates), axis=-1), strict=True):
                np.testing.assert_array_equal(block, np.full_like(block, 2.5 * (gate == "f")))
        elif w.ndim == 1:
            np.testing.assert_array_equal(w, np.zeros(V))
        else:
            limit = np.sqrt(6 / sum(w.shape))
            assert 0.8 * limit < np.abs(w).max() < limit
            assert abs(w.mean()) < 0.3 * limit
    kernels = [w for path, w in found.items() if path.endswith("cell/vars/1")]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1  # each is drawn anew


@pytest.mark.parametrize("how", ["zeros", "unigram"])
def test_first_bias_of_the_logits(rng, how):
    config, shares = ModelConfig(units=H, output_bias=how), rng.normal(size=V)
    bias = initial_weights(config, V, rng, np.float64, shares)["layers/dense/vars/1"]
    np.testing.assert_array_equal(bias, shares if how == "unigram" else np.zeros(V))


def test_identity_and_glorot_recurrent_weights(rng):
    for name in ("identity", "glorot_uniform"):
        config = Case("rnn").config(units=H, recurrent_initializer=name)
        w = initial_weights(config, V, rng)["layers/simple_rnn/cell/vars/1"]
        if name == "identity":
            np.testing.assert_array_equal(w, np.eye(H))
        else:
            assert 0.3 < np.abs(w).max() < np.sqrt(6 / (2 * H))


def test_a_coupled_lstm_is_an_lstm(rng):
    case = Case("coupled")
    weights, x = layer_weights(rng, case), rng.normal(size=(B, T, D))
    states = tuple(rng.normal(size=(B, H)) for _ in "hc")
    h, last, _ = through_time.forward(case.reference, x, states, weights)
    found, found_last, _ = through_time.forward(lstm, x, states, as_lstm(weights))
    np.testing.assert_allclose(found, h, atol=1e-12)
    np.testing.assert_allclose(found_last, last, atol=1e-12)
