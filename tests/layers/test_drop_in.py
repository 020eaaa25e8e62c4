"""Law: in a model built for keras.layers, our layer takes the other's place and nothing changes."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as k

from tests.cells import KINDS, NAMESAKES, Case, normal, set_random
from tests.oracle import outputs, results_and_gradients

B, T, D, H, V = 2, 5, 3, 4, 7
BACKEND = keras.backend.backend()
LENGTHS = [5, 3, 1, 4, 2, 5]


if BACKEND == "jax":  # compiles all anew
    NAMESAKES = KINDS = NAMESAKES[:1]


@pytest.fixture(params=NAMESAKES, ids=str)
def case(request):
    return request.param


@pytest.fixture(params=[case for case in KINDS if case.keras_kind], ids=str)
def kind(request):
    return request.param


@pytest.fixture
def padded(rng):
    """Ids of sequences of unequal lengths, 0 where one has ended."""
    ids = rng.integers(1, V, size=(len(LENGTHS), T))
    return np.where(np.arange(T) < np.array(LENGTHS)[:, None], ids, 0)


def pair(rng, case, build):
    """Two models of the same weights: `build(layer)` with ours, and with Keras's own."""
    models = []
    for kind in (case.kind, case.keras_kind):
        keras.utils.set_random_seed(3)  # the same dropout masks
        models.append(build(lambda *a, _k=kind, **o: case.make(*a, kind=_k, **o)))
    set_random(rng, *models)
    return models


def same(models, x, atol=1e-6):
    found, expected = (outputs(model, x) for model in models)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def fit_alike(models, x, y, loss, epochs=3):
    histories = []
    for model in models:
        model.compile(keras.optimizers.Adam(0.02), loss)
        history = model.fit(x, y, batch_size=3, epochs=epochs, shuffle=False, verbose=0)
        histories.append(history.history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)
    assert histories[0][-1] < histories[0][0]


def test_the_snippet_of_the_guide_runs_when_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs/guide/layers.md").read_text()
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.S)
        if "charlm.layers" in block
    ]
    names = {}
    exec(code, names)
    assert names["states"].shape == (40, 20, 32)
    found, expected = (outputs(names[m], names["vectors"]) for m in ("again", "model"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.product(1)
@pytest.mark.full
def test_many_to_one_classifier_of_padded_sequences(rng, kind, padded):
    def build(layer):
        rows = [k.Embedding(V, D, mask_zero=True), layer(H, dropout=0.2, seed=5)]
        model = keras.Sequential([keras.Input((None,)), *rows, k.Dense(3, activation="softmax")])
        return model

    models = pair(rng, kind, build)
    same(models, padded)
    if kind.name != "gru":  # that is fitted below
        y = padded[:, 0] % 3
        fit_alike(models, padded, y, "sparse_categorical_crossentropy")


def test_masked_vectors_through_two_layers(rng, case, padded):
    x = normal(rng, *padded.shape, D) * (padded != 0)[..., None]

    def build(layer):
        rows = [k.Masking(), layer(H, return_sequences=True), layer(3, go_backwards=True)]
        return keras.Sequential([keras.Input((T, D)), *rows])

    same(pair(rng, case, build), x)


@pytest.mark.product(1)
@pytest.mark.usual(1)
def test_encoder_hands_its_state_to_a_decoder(rng, case):
    def build(layer):
        source, target = keras.Input((None, D)), keras.Input((None, 2))
        _, *states = layer(H, return_state=True)(source)
        options = {"return_sequences": True, "return_state": True}
        y, *_ = layer(H, **options)(target, initial_state=states)
        head = k.TimeDistributed(k.Dense(2))(y)
        return keras.Model([source, target], head)

    models = pair(rng, case, build)
    source, target = normal(rng, 6, T, D), normal(rng, 6, 4, 2)
    same(models, [source, target])
    found, expected = (results_and_gradients(m, [source, target]) for m in models)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    if case == Case("gru"):  # a fit compiles: one for each cell in this file
        fit_alike(models, [source, target], np.roll(target, -1, axis=1), "mse")


@pytest.mark.usual(1)
@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_bidirectional(rng, kind, tmp_path, merge_mode, padded):
    def build(layer):
        back = layer(H, return_sequences=True, go_backwards=True, use_bias=False)
        both = k.Bidirectional(
            layer(H, return_sequences=True), merge_mode=merge_mode, backward_layer=back
        )
        rows = [k.Embedding(V, D, mask_zero=True), both, k.TimeDistributed(k.Dense(2))]
        return keras.Sequential([keras.Input((T,)), *rows])

    models = pair(rng, kind, build)
    same(models, padded)
    models[0].save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    same([again, models[1]], padded)
    back = again.layers[1].backward_layer
    assert isinstance(back, kind.kind)
    assert (back.use_bias, back.go_backwards) == (False, True)


@pytest.mark.usual(1)
def test_stateful_stream_is_one_long_sequence(rng, case):
    x = normal(rng, B, T, D)

    def build(layer, stateful=True):
        rows = [layer(H, stateful=stateful, return_sequences=True), layer(3, stateful=stateful)]
        return keras.Sequential([keras.Input(batch_shape=(B, None, D)), *rows])

    models = pair(rng, case, build)
    whole = build(lambda *a, **o: case.make(*a, kind=case.keras_kind, **o), stateful=False)
    whole.set_weights(models[1].get_weights())
    expected = outputs(whole, x)[0]
    for reset in ("reset_state", "reset_states"):
        pieces = [[outputs(m, part)[0] for part in (x[:, :2], x[:, 2:])] for m in models]
        np.testing.assert_allclose(pieces[0], pieces[1], atol=1e-6)
        np.testing.assert_allclose(pieces[0][-1], expected, atol=1e-6)
        assert np.abs(outputs(models[0], x)[0] - expected).max() > 1e-4  # it went on
        for model in models:
            for layer in model.layers:
                getattr(layer, reset)()


def test_saved_cloned_and_moved_with_their_weights(rng, case, tmp_path):
    def build(layer):
        x = keras.Input((None, D))
        return keras.Model(x, k.Dense(2)(layer(H, activation="relu")(x)))

    models = pair(rng, case, build)
    ours, theirs = models
    x = normal(rng, B, T, D)
    expected = outputs(theirs, x)[0]

    ours.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.layers[1], case.kind)
    np.testing.assert_allclose(outputs(again, x)[0], expected, atol=1e-6)

    ours.save_weights(tmp_path / "x.weights.h5")
    fresh = build(lambda *a, **o: case.make(*a, kind=case.keras_kind, **o))
    fresh.load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_allclose(outputs(fresh, x)[0], expected, atol=1e-6)
    theirs.save_weights(tmp_path / "y.weights.h5")
    again = keras.models.clone_model(ours)
    assert isinstance(again.layers[1], case.kind)
    assert np.abs(outputs(again, x)[0] - expected).max() > 1e-4  # first weights of its own
    again.load_weights(tmp_path / "y.weights.h5")
    np.testing.assert_allclose(outputs(again, x)[0], expected, atol=1e-6)

    fresh.set_weights([2 * w for w in fresh.get_weights()])
    ours.set_weights(fresh.get_weights())
    same([ours, fresh], x)
    theirs.set_weights(ours.get_weights())
    same([ours, theirs], x)


def stacks(*pairs):
    """keras.layers.RNN over our cells, and over Keras's own."""
    found = []
    for cells in pairs:
        cell = cells[0] if len(cells) == 1 else k.StackedRNNCells(cells)
        found.append(k.RNN(cell, return_sequences=True, return_state=True))
    for layer in found:
        layer.build((B, T, D))
    return found


def alike_with_gradients(layers, x, **call):
    found, expected = (results_and_gradients(layer, x, **call) for layer in layers)
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_cell_in_keras_rnn(rng, case):
    made = stacks(*([c(H, **case.options)] for c in (case.kind.CELL, case.keras_cell)))
    set_random(rng, *made)
    alike_with_gradients(made, normal(rng, B, T, D))


def test_cells_of_every_kind_in_one_stack(rng):
    named = [Case(name) for name in ("lstm", "gru", "rnn")]
    units = (H, 3, 2)
    ours = [c.kind.CELL(n) for c, n in zip(named, units, strict=True)]
    theirs = [c.keras_cell(n) for c, n in zip(named, units, strict=True)]
    made = stacks(ours, theirs)
    set_random(rng, *made)
    x = normal(rng, B, T, D)
    alike_with_gradients(made, x, training=True)
    if BACKEND == "jax":
        return
    mixed = stacks([ours[0].__class__(H), k.GRUCell(3), ours[2].__class__(2)])
    mixed[0].set_weights(made[0].get_weights())
    for a, b in zip(outputs(mixed[0], x), outputs(made[1], x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    again = k.RNN.from_config(made[0].get_config())
    again.build((B, T, D))
    again.set_weights(made[0].get_weights())
    for a, b in zip(outputs(again, x), outputs(made[1], x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
