"""Law: the variants of examples/odyssey.py are those of the paper, and it reports its numbers."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import SMALL_TEXT
from tests.examples import EXAMPLES, module, said

odyssey = module("odyssey")
GATES = dict.fromkeys(odyssey.CELLS, "ifgo") | {"NIG": "fgo", "NFG": "igo", "NOG": "ifg"}
GATES["CIFG"] = "fgo"  # the blocks of weights that each variant has
B, T, V, H = 2, 4, 5, 3


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def expected(name, ids, states, W, U, b, *more):
    """States after reading ids (B, T), by formulas of the paper with switches, in NumPy."""
    h, c, *before = states
    for t in range(ids.shape[1]):
        a = dict.fromkeys("ifgo", 0)
        blocks = np.split(W[ids[:, t]] + h @ U + b, len(GATES[name]), axis=-1)
        a |= dict(zip(GATES[name], blocks, strict=True))
        if name == "PEEP":
            a["i"], a["f"] = a["i"] + more[0][0] * c, a["f"] + more[0][1] * c
        if name == "FGR":
            (R,) = more
            for k, gate in enumerate("ifo"):
                blocks = [R[j * H : (j + 1) * H, k * H : (k + 1) * H] for j in range(3)]
                a[gate] = a[gate] + sum(g @ r for g, r in zip(before, blocks, strict=True))
        f = 1 if name == "NFG" else sigmoid(a["f"])
        i = {"NIG": 1, "CIFG": 1 - f}.get(name, sigmoid(a["i"]))
        c = f * c + i * (a["g"] if name == "NIAF" else np.tanh(a["g"]))
        if name == "PEEP":
            a["o"] = a["o"] + more[0][2] * c
        o = 1 if name == "NOG" else sigmoid(a["o"])
        h = o * (c if name == "NOAF" else np.tanh(c))
        before = [i, f, o]
    return [h, c, *before] if name == "FGR" else [h, c]


@pytest.fixture(params=list(odyssey.CELLS))
def made(request, rng):
    """A variant's name and a network of it with random weights."""
    network = odyssey.network(odyssey.CELLS[request.param], V, H)
    network.set_weights([rng.normal(size=w.shape) for w in network.weights])
    return request.param, network


def test_a_variant_computes_its_formula(made, rng):
    name, network = made
    ids = rng.integers(V, size=(B, T))
    states = [rng.normal(size=(B, H)).astype("float32") for _ in network.inputs[1:]]
    *weights, K, d = network.get_weights()
    for array in weights[:3]:  # no weights of a gate that was taken away
        assert array.shape[-1] == len(GATES[name]) * H
    assert len(weights) == 3 + (name in ("PEEP", "FGR"))
    logits, *found = (np.array(x) for x in network([ids, *states]))
    after = expected(name, ids, states, *weights)
    assert len(found) == len(after)
    for x, y in zip(found, after, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(logits[:, -1], after[0] @ K + d, rtol=2e-5, atol=1e-5)


def test_every_weight_of_a_variant_gets_a_gradient(made, rng):
    _, network = made
    ids = np.stack([rng.permutation(V) for _ in range(B)])
    states = [rng.normal(size=(B, H)).astype("float32") for _ in network.inputs[1:]]
    before = network.get_weights()
    network.compile("sgd", ["mse", *[None] * len(states)])
    network.optimizer.learning_rate = 10.0  # so that no gradient is lost in rounding
    network.train_on_batch([ids, *states], [rng.normal(size=(B, V, V)), *states])
    for old, new in zip(before, network.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert (old != new).all()


def test_all_variants_train_by_autodiff_so_that_their_times_compare(made):
    _, network = made
    (layer,) = (x for x in network.layers if hasattr(x, "cell"))
    for training in (True, False):
        layer.compiled_training = layer.compiled_inference = True
        assert layer.backward_pass(training=training) == "autodiff"


def test_only_the_forget_gate_starts_with_a_bias():
    for name, gates in GATES.items():
        network = odyssey.network(odyssey.CELLS[name], V, H)
        (layer,) = (x for x in network.layers if hasattr(x, "cell"))
        assert np.array(layer.cell.bias).tolist() == [
            float(g == "f") for g in gates for _ in range(H)
        ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "holds for NFG and NOAF; "),
        ({"NOAF": [2.5, 1.9, 2.6]}, "holds for NFG and NOAF in the median, but not with every "),
        (
            {"NIG": [3.5, 3.5, 3.5]},
            "holds for NFG; the worst of 4 that lack a part are NIG and NFG.",
        ),
        (
            {"NOAF": [1.0, 1.0, 1.0]},
            "holds for NFG; the worst of 4 that lack a part are NFG and NOG.",
        ),
        (
            {"NOAF": [1.0] * 3, "NFG": [1.0] * 3},
            "holds for neither; the worst of 4 that lack a part are NOG and NIG.",
        ),
        ({"NFG": [float("inf")] * 3}, "the worst of 4 that lack a part are NFG and NOAF."),
    ],
)
def test_the_sentence_follows_from_the_numbers(changed, said):
    losses = {
        "LSTM": [2.0] * 3,
        "NIG": [2.1] * 3,
        "NOG": [2.2] * 3,
        "NFG": [3.0] * 3,
        "NOAF": [2.6, 2.5, 2.4],
    }
    assert said in odyssey.finding("after 9 updates", losses | changed)
    assert said in odyssey.finding("after 9 updates", losses | changed | {"FGR": [9.0] * 3})
    few = odyssey.finding("after 9 updates", {"NOAF": [2.0], "NFG": [3.0], "FGR": [1.0]})
    assert "needs NFG, NOAF" in few


def run(folder, *argv):
    command = [sys.executable, str(EXAMPLES / "odyssey.py"), *argv]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


SOME = ["NFG", "NOAF", "CIFG"]


@pytest.mark.full
def test_the_program_prints_a_table_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    flags = ["--updates", "4", "--seconds", "0.1", "--units", "8", "--seeds", "2", "-o", "a.png",
             "--learning-rates", "0.01", "0.03", "--variants", *SOME]  # fmt: skip
    assert odyssey.cli.run(odyssey.main, ["small.txt", *flags]) == 0
    out, err = capsys.readouterr()
    rows = re.findall(r"^(\w+) +[\d,]+ +0.0[13] +[\d.]+(?:  [\d.]+ \([\d.]+-[\d.]+\) *){2} +\d+$",
                      out, re.M)  # fmt: skip
    assert rows == SOME, out
    assert len(re.findall("^after .* the finding of Greff .* holds for ", out, re.M)) == 2
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    runs = re.findall(r"CIFG, learning rate 0.0[13], seed ([12]) of 2: ", err)
    assert runs == ["1", "1", "2", "1", "2"]  # each rate with one seed, then seeds with the best


@pytest.mark.parametrize(
    "flags",
    [
        "--updates 0",
        "--learning-rates 0.1 nan",
        "--seconds inf",
        "--variants LSTM FOO",
        "--variants",
        "-o a.jpg",
        "no.txt",
    ],
)
def test_a_wrong_option_is_one_line(flags, capsys):
    assert odyssey.cli.run(odyssey.main, flags.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not out


@pytest.mark.soak
def test_nothing_else_is_printed_about_a_wrong_option(tmp_path):
    done = run(tmp_path, "--units", "0")
    assert done.returncode == 2
    assert said(done.stderr) == ["error: expected --units to be 1 or more, found 0"]
