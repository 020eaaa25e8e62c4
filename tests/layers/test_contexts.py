"""Law: a context is a row more of the kernel, added to each step; one that is unknown, their mean.

Judged by the same layer reading vectors: an id's one-hot vector and beside it a context's, or 1/C
in all of its places, times the factor of contexts.
"""

import keras
import numpy as np
import pytest

from charlm import layers
from charlm.cells import CONTEXT_SCALE
from tests.cells import CASES, FEW, KINDS, set_random
from tests.layers.test_recurrent import MASK, close, not_compiled  # noqa: F401 - a fixture
from tests.oracle import outputs, results_and_gradients

B, T, H, V, C = 2, 5, 4, 7, 3
WAYS = {
    "compiled": ({}, {"training": True}),
    "compiled, masked": ({}, {"training": True, "mask": MASK}),
    "hand-derived": ({}, {"training": True}),
    "autodiff": ({"unroll": True}, {"training": True}),
    "inference": ({}, {"training": False}),
    "compiled inference": ({"compiled_inference": True}, {"training": False}),
    "without a bias": ({"use_bias": False}, {"training": True}),
}


@pytest.fixture(params=FEW if keras.backend.backend() == "jax" else CASES, ids=str)
def case(request):
    return request.param


def vectors(inputs, scale=CONTEXT_SCALE):
    """(B, T, V + C) of ids and contexts (B, T, 2)."""
    added = np.concatenate([np.full((1, C), 1 / C), np.eye(C)])
    parts = np.eye(V)[inputs[..., 0]], scale * added[inputs[..., 1]]
    return np.concatenate(parts, axis=-1).astype("float32")


def inputs(rng, *shape):
    found = np.stack([rng.integers(V, size=shape), rng.integers(C + 1, size=shape)], -1)
    found.reshape(-1, 2)[:2, 1] = 0, C  # one that is unknown, and one that is not
    return found.astype("int32")


@pytest.mark.parametrize("way", WAYS)
def test_a_context_is_a_row_more(rng, case, way, request):
    if way == "hand-derived":
        request.getfixturevalue("not_compiled")
    options, call = WAYS[way]
    options = {"return_sequences": True, **options}
    reads_ids = case.make(H, vocab_size=V, context_size=C, **options)
    reads_vectors = case.make(H, **options)
    x = inputs(rng, B, T)
    reads_ids.build(x.shape)
    reads_vectors.build((B, T, V + C))
    set_random(rng, reads_ids, scale=1)
    reads_vectors.set_weights(reads_ids.get_weights())
    if not call["training"]:
        close(outputs(reads_ids, x, **call), outputs(reads_vectors, vectors(x), **call))
        return
    found, gradients = results_and_gradients(reads_ids, x, **call)
    expected = results_and_gradients(reads_vectors, vectors(x), **call)
    close(found, expected[0])
    close(gradients, expected[1])


def test_the_scale_of_contexts_can_be_chosen(rng):
    scale = 3.0
    options = {"return_sequences": True, "context_scale": scale}
    layer = layers.LSTM(H, vocab_size=V, context_size=C, **options)
    plain = layers.LSTM(H, return_sequences=True)
    x = inputs(rng, B, T)
    layer.build(x.shape)
    plain.build((B, T, V + C))
    set_random(rng, layer, scale=1)
    plain.set_weights(layer.get_weights())
    close(outputs(layer, x), outputs(plain, vectors(x, scale)))
    assert layer.get_config()["context_scale"] == scale
    again = layers.LSTM.from_config(layer.get_config())
    assert again.cell.context_scale == scale
    assert "context_scale" not in layers.LSTM(H, vocab_size=V).get_config()
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Expected context_scale to be a finite number above"):
            layers.LSTM(H, vocab_size=V, context_size=C, context_scale=wrong)


@pytest.mark.parametrize("kind", KINDS[:1], ids=str)
def test_cells_wrappers_and_files_take_contexts(rng, kind, tmp_path):
    x = inputs(rng, B, T)
    layer = kind.make(H, vocab_size=V, context_size=C, return_sequences=True)
    stepped = keras.layers.RNN(layer.cell, return_sequences=True)
    close(outputs(stepped, x), outputs(layer, x), atol=1e-6)
    given = keras.Input((None, 2), dtype="int32")
    model = keras.Model(given, keras.layers.Bidirectional(layer)(given))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    close(outputs(again, x), outputs(model, x), atol=1e-6)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_an_id_is_no_context_and_a_context_no_id(rng, place, training):
    layer = layers.LSTM(H, vocab_size=V, context_size=C)
    x = inputs(rng, B, T)
    x[1, 2, place] = (V, C + 1)[place]
    with pytest.raises(Exception, match=f"whole numbers from 0 to {(V, C + 1)[place] - 1}"):
        layer(x, training=training)


@pytest.mark.parametrize(
    "options",
    [
        {"context_size": 0, "vocab_size": V},
        {"context_size": C},
        {"context_size": C, "vocab_size": V, "dropout": 0.1},
    ],
)
def test_contexts_need_ids(options):
    with pytest.raises(ValueError, match="Expected context_size to be None, or a positive integer"):
        layers.LSTM(H, **options)


def test_the_mean_is_as_good_as_its_rows(rng):
    """With one context, the one that is unknown is that one."""
    layer = layers.GRU(H, vocab_size=V, context_size=1)
    ids = rng.integers(V, size=(B, T))
    known, unknown = (np.stack([ids, np.full_like(ids, c)], -1) for c in (0, 1))
    close(outputs(layer, known), outputs(layer, unknown))
