"""Law: the gradient that reaches back is the derivative it is said to be, and is told as it is."""

import csv
import re
import shutil

import numpy as np
import pytest

from charlm import gradients, train
from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.reference import gradient_flow
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network, initial_weights

B, T, V, H = 3, 6, 7, 4


def network(rng, **options):
    config = ModelConfig(units=H, **options)
    weights = initial_weights(config, V, rng, np.float64)
    return Network({k: w + 0.4 * rng.normal(size=w.shape) for k, w in weights.items()}, V, config,
                   np.float64)  # fmt: skip


@pytest.mark.parametrize("skip", ["none", "add"])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_numeric_derivative_of_the_last_loss(rng, cell, skip):
    net = network(rng, cell=cell, layers=2, skip=skip)
    ids = rng.integers(V, size=(B, 2 * T + 1))
    flow = gradient_flow.measure(net, ids)
    _, states, _ = net.forward(ids[:, :T], net.initial_states(B))
    k = 3  # the states after step T - 1 - k, changed by hand
    _, at, _ = net.forward(ids[:, T : 2 * T - k], states)

    def losses(states):
        logits, _, _ = net.forward(ids[:, 2 * T - k : 2 * T], states)
        return -np.take_along_axis(log_softmax(logits[:, -1]), ids[:, -1:], axis=-1)[:, 0]

    def moved(s, e):
        changed = [list(layer) for layer in at]
        changed[1][s] = changed[1][s] + e  # of the upper layer, whose h there has one way out
        return losses(changed)

    for s, letter in enumerate(net.states):
        steps = 1e-6 * np.eye(H)
        numeric = np.stack([(moved(s, e) - moved(s, -e)) / 2e-6 for e in steps], axis=-1)
        norm = np.linalg.norm(numeric, axis=-1).mean()
        assert flow.states[1, letter][k] == pytest.approx(norm, rel=1e-5)


def test_an_identity_rnn_with_relu_keeps_its_gradient_and_a_small_gain_loses_it(rng):
    config = ModelConfig(cell="rnn", units=16, activation="relu", recurrent_initializer="identity")
    ids = rng.integers(V, size=(8, 41))

    def norms(gain):
        weights = initial_weights(config, V, np.random.default_rng(1), np.float64)
        weights["layers/simple_rnn/cell/vars/1"] *= gain
        return gradient_flow.measure(Network(weights, V, config, np.float64), ids).states[0, "h"]

    kept, lost = norms(1.0), norms(0.5)
    assert kept[19] > 0.3 * kept[0]
    assert lost[19] < 1e-4 * lost[0]


def test_clipping_by_norm_keeps_the_direction_and_by_value_does_not(rng):
    g = {"a": rng.normal(size=(3, 2)), "b": 10 * rng.normal(size=4)}
    scaled = gradient_flow.clip_by_norm(g, 2.0)
    assert gradient_flow.norm(scaled) == pytest.approx(2.0)
    assert gradient_flow.cosine(g, scaled) == pytest.approx(1.0)
    assert gradient_flow.clip_by_norm(g, 1e9) is g
    from charlm.reference.trainer import clipped

    cut = clipped(g, 0.5)
    assert max(np.abs(x).max() for x in cut.values()) == 0.5
    assert gradient_flow.cosine(g, cut) < 0.99


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ["--corpus", "small.txt", "--steps", "20", "--streams", "4", "--units", "6"]


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_the_command_tells_prints_and_draws_every_cell(here, capsys):
    assert gradients.main([*SMALL, "--layers", "2"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"measuring gradients over \d+ steps at \d+ places\n", err)
    assert {"rnn, layer 1 h", "lstm, layer 2 c"} <= {
        line.split("  ")[0] for line in out.split("\n")
    }
    table = rows(here / "saved_models/gradients.csv")
    series = {(r["network"], r["layer"], r["state"]) for r in table}
    assert len(series) == 2 * (1 + 1 + 2)
    assert len(table) == 20 * len(series)
    assert all(float(r["norm"]) >= 0 for r in table)
    assert (here / "saved_models/gradients.png").read_bytes().startswith(b"\x89PNG")


def test_a_remedy_is_shown_beside_the_cell_without_it_where_it_suits(here, capsys):
    argv = [*SMALL, "--forget-bias", "5", "--cells", "rnn", "lstm"]
    assert gradients.main(argv) == 0
    names = list(dict.fromkeys(r["network"] for r in rows(here / "saved_models/gradients.csv")))
    assert names == ["rnn", "lstm, forget_bias 5.0", "lstm"]
    table = rows(here / "saved_models/gradients.csv")
    last = {
        r["network"]: float(r["norm"])
        for r in table
        if r["steps_back"] == "19" and r["state"] == "c"
    }
    assert last["lstm, forget_bias 5.0"] > 10 * last["lstm"]


def test_a_run_is_shown_beside_an_untrained_one(here, capsys):
    argv = ["--corpus", "small.txt", "--units", "8", "--batch-size", "4", "--window", "16"]
    assert train.main([*argv, "--epochs", "1", "--sample-length", "0", "--name", "a"]) == 0
    shutil.copytree(here / "saved_models" / "a", here / "b")
    assert gradients.main(["a", "b", "--steps", "20", "--output", "flow"]) == 0
    names = list(dict.fromkeys(r["network"] for r in rows(here / "flow.csv")))
    assert names == [f"{x} (lstm), {when}" for x in "ab" for when in ("trained", "untrained")]


def test_what_leaves_the_range_of_numbers_is_said(here, capsys):
    argv = [*SMALL, "--cells", "rnn", "--activation", "linear", "--gain", "1e300"]
    assert gradients.main(argv) == 0
    out, err = capsys.readouterr()
    _, err = err.split("\n", 1)  # how much is measured
    assert re.fullmatch(r"NOTE: rnn, activation linear, gain 1e\+300: numbers too large.*\n", err)
    assert "rnn, h" in out


def test_norms_do_not_overflow_where_the_numbers_do_not():
    g = {"a": np.array([3e200, 0]), "b": np.array([4e200])}
    assert gradient_flow.norm(g) == pytest.approx(5e200)
    assert gradient_flow.norm(gradient_flow.clip_by_norm(g, 1.0)) == pytest.approx(1.0)
    assert gradient_flow.cosine(g, {"a": np.array([1e-200, 0]), "b": np.array([0.0])}) == (
        pytest.approx(0.6)
    )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--steps", "0"], r"--steps to be from 1 to 10000, found 0"),
        (["--steps", "9000"], r"at least 18,001 held-out characters .*, found 212"),
        (["--cells", "lsmt"], r"--cells to be of lstm, gru, rnn, coupled, found .*lsmt"),
        (["--cells", "rnn", "--forget-bias", "2"], r"suit a cell of --cells rnn.*forget_bias"),
        (["--gain", "-1"], r"--gain to be a finite number above 0, found -1"),
        (["--output", "no/where"], r"--output to be in a folder that exists, found no/where"),
        (["nothing"], r"expected a run folder or a .weights.h5 file, found nothing"),
        (["--output", "."], r"--output to be the name of files, without an ending, found \."),
        (["nothing", "--units", "9"], r"expected runs alone, found units with them"),
        (["nothing", "--gain", "2"], r"expected runs alone, found gain with them"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(here, capsys, argv, expected):
    before = sorted(here.iterdir())
    assert gradients.main(["--corpus", "small.txt", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(expected, err), err
    assert sorted(here.iterdir()) == before
