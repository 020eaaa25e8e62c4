"""Law: the network is a function of ids and states; `Streams` adds nothing but where they go on."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from charlm.config import FitConfig, ModelConfig
from charlm.errors import InputError
from charlm.reference.network import Network
from charlm.text.windows import HeldOutWindows
from charlm.training import network as model
from charlm.training.dataset import batches
from charlm.training.streams import Streams, compile_for

B, T, H, V, L = 2, 6, 4, 7, 2


def network(dropout=0.0):
    keras.utils.set_random_seed(3)
    return model.build(ModelConfig(units=H, layers=L, dropout=dropout), V, seed=3)


def zeros(batch=B):
    return [np.zeros((batch, H), "float32")] * (2 * L)


def logits(net, ids, states=None, **call):
    found, *after = net([ids, *(states or zeros(len(ids)))], **call)
    return ops.convert_to_numpy(found), [ops.convert_to_numpy(s) for s in after]


def streams(net, training=B, validation=3):
    made = Streams(net, training, validation)
    compile_for(made, FitConfig(), steps_per_epoch=100)
    return made


def test_whole_text_equals_pieces_with_the_states_passed_on(rng):
    net, ids = network(), rng.integers(V, size=(B, T))
    whole, end = logits(net, ids)
    first, states = logits(net, ids[:, :2])
    second, states = logits(net, ids[:, 2:], states)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    for a, b in zip(states, end, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_step_by_step_in_numpy_equals_the_network(rng):
    net, ids = network(), rng.integers(V, size=(B, T))
    expected, _ = logits(net, ids)
    reference = Network(model.weights(net), V, ModelConfig(units=H, layers=L))
    states = reference.initial_states(B)
    for t in range(T):
        found, states = reference.step(ids[:, t], states)
        np.testing.assert_allclose(found, expected[:, t], atol=1e-5)


def test_streams_go_on_from_window_to_window_and_begin_anew_where_fresh(rng):
    net, ids = network(), rng.integers(V, size=(B, T))
    whole, _ = logits(net, ids)
    wrapped = streams(net)
    old, new = np.zeros(B, "float32"), np.ones(B, "float32")
    first, second = (
        ops.convert_to_numpy(wrapped((part, f), training=True))
        for part, f in ((ids[:, :3], new), (ids[:, 3:], old))
    )
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    again = wrapped((ids[:, :3], np.array([1, 0], "float32")), training=True)
    again = ops.convert_to_numpy(again)
    np.testing.assert_allclose(again[0], first[0], atol=1e-6)  # fresh
    assert np.abs(again[1] - first[1]).max() > 1e-4  # went on


def test_validation_does_not_disturb_the_training_streams(rng):
    wrapped = streams(network())
    wrapped((rng.integers(V, size=(B, T)), np.ones(B, "float32")), training=True)
    before = [ops.convert_to_numpy(v).copy() for v in wrapped.carried["training"]]
    wrapped((rng.integers(V, size=(3, T)), np.ones(3, "float32")), training=False)
    for a, b in zip(before, wrapped.carried["training"], strict=True):
        np.testing.assert_array_equal(a, ops.convert_to_numpy(b))


def test_evaluate_is_the_mean_over_all_held_out_targets(rng):
    documents = [rng.integers(V, size=n) for n in (23, 9, 14)]
    net = network()
    held_out = HeldOutWindows(documents, window=5)
    found = streams(net, B, len(held_out.ids)).evaluate(batches(held_out), verbose=0)
    reference, nats = Network(model.weights(net), V, ModelConfig(units=H, layers=L)), []
    for d in documents:
        states = reference.initial_states(1)
        for now, following in itertools.pairwise(d):
            row, states = reference.step(np.array([now]), states)
            p = np.exp(row[0].astype(np.float64))
            nats.append(-np.log(p[following] / p.sum()))
    assert found == pytest.approx(np.mean(nats), rel=1e-5)


def test_weights_fit_stock_keras(rng, tmp_path):
    import h5py

    net = network(dropout=0.2)
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        for name, value in model.weights(net).items():
            file[name] = value
        file["charlm/meta"] = 0
    stock = [
        keras.Input((None, V)),
        keras.layers.LSTM(H, return_sequences=True),
        keras.layers.Dropout(0.2),
        keras.layers.LSTM(H, return_sequences=True),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(V),
    ]
    stock = keras.Sequential(stock)
    stock.load_weights(path)
    ids = rng.integers(V, size=(B, T))
    found = ops.convert_to_numpy(stock(np.eye(V, dtype="float32")[ids]))
    np.testing.assert_allclose(found, logits(net, ids)[0], atol=1e-6)


def test_set_weights_undoes_weights_and_changes_nothing_when_it_refuses():
    net, other = network(), model.build(ModelConfig(units=H, layers=L, dropout=0.0), V)
    model.set_weights(other, model.weights(net))
    for a, b in zip(model.weights(net).values(), model.weights(other).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    wrong = {k: v + 1 for k, v in model.weights(net).items()}
    wrong["layers/dense/vars/1"] = np.zeros(V + 1, "float32")
    with pytest.raises(InputError, match=r"dense/vars/1 of shape \(7,\), found \(8,\)"):
        model.set_weights(other, wrong)
    np.testing.assert_array_equal(other.get_weights()[0], net.get_weights()[0])
    del wrong["layers/dense/vars/1"]
    with pytest.raises(InputError, match="dense/vars/1"):
        model.set_weights(other, wrong)


def test_weights_are_set_in_the_order_of_the_network(rng, monkeypatch):
    """All processes of a run set the same variable at the same time, whatever the order given."""
    net, assign, orders = network(dropout=0.2), keras.Variable.assign, []

    def noted(self, value):
        orders[-1].append(self.path)
        return assign(self, value)

    monkeypatch.setattr(keras.Variable, "assign", noted)
    values = model.weights(net)
    for _ in range(3):
        orders.append([])
        model.set_weights(net, {path: values[path] for path in rng.permutation([*values])})
    assert len(orders[0]) == len(values)
    assert orders[0] == orders[1] == orders[2]


def test_dropout_acts_in_training_only(rng):
    net, ids = network(dropout=0.5), rng.integers(V, size=(B, T))
    quiet = logits(net, ids, training=False)[0]
    np.testing.assert_array_equal(logits(net, ids, training=False)[0], quiet)
    assert np.abs(logits(net, ids, training=True)[0] - quiet).max() > 1e-3


def test_dropout_leaves_out_the_same_units_at_every_step_of_a_stream():
    layer = network(dropout=0.5).get_layer("dropout")
    kept = ops.convert_to_numpy(layer(np.ones((B, T, H), "float32"), training=True)) > 0
    np.testing.assert_array_equal(kept, np.repeat(kept[:, :1], T, axis=1))
    assert len({row.tobytes() for row in kept[:, 0]}) > 1


def test_schedule_rises_falls_and_stays_low():
    made = Streams(network(), B, 1)
    settings = FitConfig(epochs=9, decay_epochs=4, learning_rate=0.01, warmup_steps=20)
    compile_for(made, settings, steps_per_epoch=100)
    rate = made.optimizer._learning_rate
    values = [float(rate(k)) for k in (0, 10, 20, 210, 400, 800)]
    assert values == pytest.approx([0, 0.005, 0.01, 0.00505, 0.0001, 0.0001], rel=1e-3)
