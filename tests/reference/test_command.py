"""Law: the NumPy trainer learns, and its weights and Keras's are one another's."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from charlm import sample, train
from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.reference import gradient_check, trainer
from charlm.reference.__main__ import main
from charlm.reference.network import Network, initial_weights
from charlm.runs import checkpoint
from charlm.text.encode import read
from charlm.text.windows import HeldOutWindows, TrainingWindows
from charlm.training import network as model
from charlm.training.dataset import batches
from charlm.training.streams import Streams
from corpora import load

ARGV = ["--corpus", "small.txt", "--units", "12", "--batch-size", "4", "--window", "16",
        "--sample-length", "20", "--learning-rate", "0.01"]  # fmt: skip
LAST = Path("saved_models") / "a" / "last.weights.h5"


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rmsprop_is_its_two_equations(rng):
    w, g1, g2 = rng.normal(size=(3, 5))
    weights, optimizer = {"w": w.copy()}, trainer.RMSprop(rate=0.1, decay=0.8, epsilon=1e-8)
    optimizer.update(weights, {"w": g1})
    optimizer.update(weights, {"w": g2})
    r1 = 0.2 * g1**2
    r2 = 0.8 * r1 + 0.2 * g2**2
    expected = w - 0.1 * g1 / np.sqrt(r1) - 0.1 * g2 / np.sqrt(r2)
    np.testing.assert_allclose(weights["w"], expected, rtol=1e-6)


def test_clipping_cuts_every_element_and_a_limit_of_0_none(rng):
    g = {"w": rng.normal(size=(4, 3))}
    np.testing.assert_array_equal(trainer.clipped(g, 0.3)["w"], np.clip(g["w"], -0.3, 0.3))
    assert trainer.clipped(g, 0) is g


def test_states_go_on_from_window_to_window_and_begin_anew_where_fresh(rng):
    """One update with a rate of 0: the losses are those of a pass over the text."""
    V, B, T = 7, 2, 5
    ids = rng.integers(V, size=B * 4 * T + 1)
    config = ModelConfig(cell="gru", units=4)
    network = Network(initial_weights(config, V, rng), V, config)
    windows = TrainingWindows(ids, B, T, seed=1)
    losses = list(trainer.train_epoch(network, windows, trainer.RMSprop(rate=0.0), 0))
    read = np.concatenate([windows[k][0][0] for k in range(len(windows))], axis=1)
    targets = np.concatenate([windows[k][1] for k in range(len(windows))], axis=1)
    logits, _, _ = network.forward(read, network.initial_states(B))
    log_p = trainer.log_softmax(logits)
    nats = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(losses, nats.reshape(B, -1, T).mean(axis=(0, 2)), rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_held_out_loss_is_keras_own(rng, cell):
    V, config = 7, ModelConfig(cell=cell, units=4, layers=2)
    network = Network(initial_weights(config, V, rng), V, config)
    held_out = HeldOutWindows([rng.integers(V, size=n) for n in (23, 9, 14)], window=5)
    net = model.build(config, V)
    model.set_weights(net, network.weights)
    streams = Streams(net, 2, 3)
    streams.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = streams.evaluate(batches(held_out), verbose=0)
    assert trainer.evaluate(network, held_out) == pytest.approx(expected, rel=1e-5)


@pytest.mark.product(2)
@pytest.mark.usual(1)
@pytest.mark.parametrize("cell", CELLS)
def test_trains_and_keras_goes_on_with_it(here, capsys, cell):
    assert main([*ARGV, "--cell", cell, "--name", "a", "--epochs", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    bits = [float(x) for x in re.findall(r"held-out ([\d.]+) bits/char", out)]
    assert len(bits) == 3
    assert bits[-1] < bits[0] - 0.5
    assert out.count("--- temperature") == 6
    assert sample.main(["a", "--length", "5", "--seed", "1"]) == 0
    saved = checkpoint.read(LAST)
    assert train.main(["--resume", "a", "--epochs", "1", "--learning-rate", "1e-9"]) == 0
    out, _ = capsys.readouterr()
    assert "optimizer state reset (the weights came without one)" in out
    after = float(re.search(r"held-out ([\d.]+) bits/char", out)[1])
    assert after == pytest.approx(bits[-1], abs=2e-3)  # Keras measures what NumPy measured
    again = checkpoint.read(LAST)
    for path, w in saved.weights.items():
        np.testing.assert_allclose(again.weights[path], w, atol=1e-4)


def test_output_bias_begins_at_the_log_of_shares(here):
    argv = [*ARGV, "--epochs", "1", "--learning-rate", "1e-9"]
    assert main([*argv, "--name", "a", "--output-bias", "unigram"]) == 0
    saved = checkpoint.read(LAST)
    text = read(load("small.txt"))
    bias = saved.weights["layers/dense/vars/1"]
    np.testing.assert_allclose(bias, text.log_shares(saved.vocab), atol=1e-5)


@pytest.mark.full
def test_goes_on_with_what_keras_trained(here, capsys):
    argv = ["--corpus", "small.txt", "--units", "8", "--batch-size", "4", "--window", "16"]
    argv += ["--epochs", "2", "--sample-length", "0", "--learning-rate", "0.02", "--cell", "gru"]
    assert train.main([*argv, "--layers", "2", "--dropout", "0.1", "--name", "k"]) == 0
    out, _ = capsys.readouterr()
    keras_bits = float(re.findall(r"held-out ([\d.]+) bits/char", out)[-1])
    tiny = ["--learning-rate", "1e-9", "--epochs", "1", "--sample-length", "0"]
    assert main(["--corpus", "small.txt", "--init", "k", "--name", "a", *tiny]) == 0
    out, _ = capsys.readouterr()
    assert "gru 2 x 8" in out
    bits = float(re.search(r"held-out ([\d.]+) bits/char", out)[1])
    assert bits == pytest.approx(keras_bits, abs=2e-3)


def test_the_network_in_keras_has_its_logits(here, rng):
    assert main([*ARGV, "--name", "a", "--epochs", "1", "--layers", "2", "--skip", "add"]) == 0
    saved = checkpoint.read(LAST)
    V = len(saved.vocab)
    net = model.build(saved.config.model, V)
    model.set_weights(net, saved.weights)
    network = Network(saved.weights, V, saved.config.model)
    ids = rng.integers(V, size=(3, 9))
    expected, _, _ = network.forward(ids, network.initial_states(3))
    found, *_ = net([ids, *[np.zeros((3, 12), "float32")] * 4])
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


def test_a_run_is_the_same_for_a_seed_and_another_for_another(here):
    texts = []
    for seed in ("3", "3", "4"):
        argv = [*ARGV, "--epochs", "1", "--seed", seed, "--name", "a", "--overwrite"]
        assert main([*argv, "--text-file", "t.txt", "--text-length", "50"]) == 0
        texts.append(Path("t.txt").read_text())
    assert [len(t) for t in texts] == [50] * 3
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("cell", CELLS)
def test_check_names_the_worst_tensor(here, capsys, cell):
    assert main(["--check", "--cell", cell, "--layers", "2"]) == 0
    out, _ = capsys.readouterr()
    assert re.match(rf"{cell}: 8 tensors, .*; worst layers/\S+, relative error \S+e-\d\d\n", out)
    assert list(here.iterdir()) == [here / "small.txt"]


def test_check_fails_where_a_derivative_is_wrong(here, capsys, monkeypatch):
    from charlm.reference import gru

    right = gru.step_backward

    def wrong(*args, **kwargs):
        d_states, da, (dU, dd) = right(*args, **kwargs)
        return d_states, da, (dU * 1.001, dd)

    monkeypatch.setattr(gru, "step_backward", wrong)
    assert main(["--check", "--cell", "gru"]) == 1
    assert "worst layers/gru/cell/vars/1, relative error 5.0e-04" in capsys.readouterr().out


def test_differences_want_float64():
    with pytest.raises(TypeError, match=r"Expected float64.*Received: w, float32"):
        gradient_check.worst(lambda: 0.0, {"w": np.zeros(2, "float32")}, {"w": np.zeros(2)})


def test_a_loss_that_is_no_number_stops_it_and_saves_nothing(here, capsys):
    argv = [*ARGV, "--name", "a", "--cell", "rnn", "--activation", "linear", "--clip-value", "0"]
    assert main([*argv, "--learning-rate", "1e30"]) == 1
    assert re.search(
        r"stopped: the loss became NaN or infinite in window \d+", capsys.readouterr().err
    )
    assert not LAST.exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--cell", "keras-lstm"], r"expected a cell of .*found --cell keras-lstm"),
        (["--dropout", "0.5"], r"no dropout, found .*--dropout 0.5 --weight-drop 0.0; charlm tr"),
        (["--epochs", "0"], r"--epochs to be 1 or more, found 0"),
        (["--decay", "1"], r"--decay to be from 0 to below 1, found 1"),
        (["--cell", "lstm", "--recurrent-initializer", "identity"],
         r"orthogonal or glorot_uniform for a cell with gates, found identity with --cell lstm"),
        (["--cell", "gru", "--forget-bias", "2"], r"--forget-bias .*found 2.0 with --cell gru"),
        (["--text-file", "no/t.txt"], r"--text-file to be in a folder that exists"),
        (["--text-file", "small.txt"], r"cannot write small.txt: it already exists; --overwrite"),
        (["--init", "none"], r"expected a run folder or a .weights.h5 file, found none"),
        (["--batch-size", "500"], r"at least 8,001 characters to train on"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_made(here, capsys, argv, expected):
    assert main([*ARGV, *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    err = re.sub(r"NOTE: --\S+ is given more than once.*\n", "", err)  # by this test
    assert err.count("\n") == 1
    assert re.search(expected, err), err
    assert list(here.iterdir()) == [here / "small.txt"]


def test_init_reads_the_run_s_own_text_and_its_flags_are_still_there(here, capsys):
    assert main([*ARGV, "--name", "a", "--epochs", "1"]) == 0
    assert main(["--init", "a", "--check", "--debug"]) == 0
    more = ["--epochs", "1", "--sample-length", "0", "--name", "a", "--overwrite"]
    assert main(["--init", "a", *more]) == 0
    assert "1,908 characters to train on" in capsys.readouterr().out


def test_init_keeps_the_model_it_begins_with(here, capsys):
    assert main([*ARGV, "--name", "a", "--epochs", "1"]) == 0
    assert main([*ARGV[:2], "--init", "a", "--units", "9", "--name", "b"]) == 2
    assert "expected --units 12, as saved_models/a has, found --units 9" in capsys.readouterr().err
    assert not Path("saved_models", "b").exists()
