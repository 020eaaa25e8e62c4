"""Law: what a file of weights does not say is asked for, or assumed in plain words."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from charlm import import_weights
from charlm.runs import checkpoint
from tests.interop import state_dicts
from tests.interop.state_dicts import save, state_dict
from tests.interop.test_keras_files import arrays, described, write_legacy

V, D, H = 7, 3, 4
LAST = Path("saved_models/a/last.weights.h5")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("v.json").write_text(json.dumps([*"gfedcba"]))


def bring_in(file, *more):
    """Imports a model of seven characters; returns the exit code."""
    return import_weights.main([file, "--vocab", "v.json", "--name", "a", "--overwrite", *more])


# The defaults of Keras 2.2.4-tf are those of TensorFlow 1, or of TensorFlow 2


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_that_either_tensorflow_may_have_had_are_asked_for(rng, capsys, cell):
    write_legacy("x.h5", arrays(rng, cell), version=b"2.2.4-tf")
    assert bring_in("x.h5") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "expected --recurrent-activation, because x.h5 does not say it and Keras 2.2.4-tf" in err
    assert "TensorFlow 1 (hard_sigmoid by default) and with TensorFlow 2.0 and 2.1 (sigmoid)" in err
    assert not Path("saved_models").exists()
    for gates in ("hard_sigmoid", "sigmoid"):
        assert bring_in("x.h5", "--recurrent-activation", gates) == 0
        assert checkpoint.read(LAST).config.model.recurrent_activation == gates


@pytest.mark.parametrize(
    ("cell", "after", "whole", "gates", "said"),
    [
        ("gru", True, False, "sigmoid", "tanh and sigmoid, the defaults of TensorFlow 2, to which"),
        ("gru", True, True, "hard_sigmoid", "multiplied by 1.2"),
        ("lstm", False, True, "hard_sigmoid", "multiplied by 1.2"),
        ("simple_rnn", False, False, "sigmoid", "assumed: tanh, the default of Keras 2.2"),
    ],
)
def test_gates_that_the_file_gives_away_are_not(rng, capsys, cell, after, whole, gates, said):
    model = arrays(rng, cell, after=after)
    config = described(model, reset_after=after) if whole else None
    write_legacy("x.h5", model, version=b"2.2.4-tf", config=config)
    assert bring_in("x.h5") == 0
    assert said in capsys.readouterr().out
    assert checkpoint.read(LAST).config.model.recurrent_activation == gates


# How layers are connected


CHAIN = "the file does not say how its layers are connected, assumed: a chain of "


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 8])
def test_the_chain_that_weights_of_keras_are_taken_for_is_said(rng, capsys, layers, ids):
    table = [("embedding_1", {"embeddings": rng.normal(size=(V, D)).astype("float32")})] * ids
    model = [*table, *arrays(rng, layers=layers, first=D if ids else V)]
    write_legacy("x.h5", model)
    assert bring_in("x.h5") == 0
    reads = "an Embedding" if ids else "one-hot characters"
    order = {1: "recurrent layers", 2: "'lstm_13', 'lstm_14'", 8: "'lstm_13', .*'lstm_18', ..."}
    said = f"; {CHAIN}{reads}, {order[layers]} and a Dense, in this order; "
    assert re.search(said, capsys.readouterr().out)
    if not ids:
        write_legacy("x.h5", model, config=described(model))
        assert bring_in("x.h5") == 0
        assert CHAIN not in capsys.readouterr().out


def test_the_order_of_the_modules_of_torch_is_said(rng, capsys):
    state = state_dict(rng, "gru", V, H, D, layers=2)
    names = {"rnn.{}_l0": "upper.{}_l0", "rnn.{}_l1": "lower.{}_l0"}  # known by its width
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        for old, new in names.items():
            state[new.format(part)] = state.pop(old.format(part))
    save(state)
    assert bring_in("x.safetensors") == 0
    said = f"{CHAIN}an nn.Embedding, 'upper', 'lower' and an nn.Linear, in this order"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("units", [V, H])
def test_a_single_matrix_that_may_be_shared_is_said(rng, capsys, units):
    """Where D, H and V are equal, nothing tells one-hot vectors from shared weights."""
    state = state_dict(rng, "lstm", V, units)
    save(state)
    assert bring_in("x.safetensors") == 0
    said = "'linear.weight' is only the nn.Linear; if it is the embedding, too (tied weights)"
    out, _ = capsys.readouterr()
    assert (said in out) == (units == V)
    assert ("save it as embedding.weight as well" in out) == (units == V)
    if units == V:
        state["embedding.weight"] = state["linear.weight"]
        save(state)
        assert bring_in("x.safetensors") == 0
        assert said not in capsys.readouterr().out
        ids = rng.integers(V, size=(2, 9))
        expected = state_dicts.by_equations(state, "lstm", V - 1 - ids)[..., ::-1]
        network = checkpoint.read(LAST).to_network()
        logits, _, _ = network.forward(ids, network.initial_states(2))
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
