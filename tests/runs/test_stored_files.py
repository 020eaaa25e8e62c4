"""Law: a file that an earlier charlm wrote is read today, by the sampler and by Keras alike.

Each file here was written by `charlm train` on words made at random ("ab", "abc", "cab"): two
layers of 6 units with dropout; that of format 4 has byte pairs. A new format adds a file and leaves
the old ones as they are.
"""

from pathlib import Path

import numpy as np
import pytest
from keras import ops

from charlm.config import ModelConfig
from charlm.generation import generate
from charlm.reference.network import Network, shapes
from charlm.runs import checkpoint, file_format
from charlm.training import network as model

FILES = sorted((Path(__file__).parent / "data").glob("format-*.weights.h5"))


def test_every_format_has_its_file():
    assert [p.name for p in FILES] == [
        f"format-{k}.weights.h5" for k in range(1, file_format.FORMAT + 1)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_stored_file_still_writes_its_text(path):
    saved = checkpoint.read(path)
    network = Network(saved.weights, len(saved.vocab), saved.config.model)
    text = "".join(t for (t,) in generate.texts(network, saved.vocab, "ab", 12, [0.0], seed=0))
    assert text == (" abc abc abc" if saved.vocab.texts else " ab ab ab ab")
    assert (saved.config.model.units, saved.config.model.layers) == (6, 2)
    assert saved.progress.epoch == 3


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_stored_weights_fit_the_network_of_today(path):
    saved = checkpoint.read(path)
    net = model.build(saved.config.model, len(saved.vocab))
    model.set_weights(net, saved.weights)
    reference = Network(saved.weights, len(saved.vocab), saved.config.model)
    ids = saved.vocab.encode("cab ab")
    logits, *_ = net([ids[None], *[np.zeros((1, 6), "float32")] * 4])
    states = reference.initial_states(1)
    for t, i in enumerate(ids):
        row, states = reference.step(np.array([i]), states)
        np.testing.assert_allclose(row, ops.convert_to_numpy(logits)[:, t], atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "layer", "gates"),
    [
        ("lstm", "lstm", 4),
        ("gru", "gru", 3),
        ("rnn", "simple_rnn", 1),
        ("coupled", "coupled_lstm", 3),
    ],
)
def test_paths_and_shapes_in_files_are_those_of_format_1(cell, layer, gates):
    V, H, n = 7, 4, gates * 4
    expected = {"layers/dense/vars/0": (H, V), "layers/dense/vars/1": (V,)}
    for name, width in ((layer, V), (f"{layer}_1", H)):
        bias = (2, n) if cell == "gru" else (n,)
        for k, shape in enumerate(((width, n), (H, n), bias)):
            expected[f"layers/{name}/cell/vars/{k}"] = shape
    config = ModelConfig(cell=cell, units=H, layers=2)
    assert shapes(config, V) == expected
    found = model.weights(model.build(config, V))
    arrays = {path: w.shape for path, w in found.items() if "seed_generator" not in path}
    assert arrays == expected
