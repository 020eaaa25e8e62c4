"""Law: the one-file network has the equations of `charlm.reference`, and learns."""

import re
import subprocess
import sys

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.reference.loss import softmax_cross_entropy
from charlm.reference.network import Network
from tests.examples import EXAMPLES, module

PROGRAM = EXAMPLES / "min_char_rnn.py"
V, H = 9, 6
cells = pytest.mark.parametrize("cell", ["rnn", "lstm"])
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("OPENBLAS_NUM_THREADS", "1")  # it is set only if it is not, and here undone
    one = module("min_char_rnn")


def run(*argv, program=PROGRAM):
    return subprocess.run([sys.executable, program, *argv], capture_output=True, text=True)


def test_it_is_short_and_needs_only_numpy():
    text = PROGRAM.read_text()
    assert len(text.splitlines()) <= 120
    assert {*re.findall(r"^(?:import|from) (\w+)", text, re.M)} == {
        "argparse", "os", "time", "pathlib", "numpy",
    }  # fmt: skip


@cells
def test_gradients_by_hand_are_those_of_finite_differences(cell, rng):
    errors = dict(one.check(cell, rng))
    assert errors.keys() == {"W", "U", "b", "W_y", "b_y"}
    assert max(errors.values()) < 1e-6


@cells
def test_loss_and_gradients_equal_those_of_the_reference(cell, rng):
    w = one.initial_weights(cell, V, H, rng)
    path = f"layers/{'simple_rnn' if cell == 'rnn' else 'lstm'}/cell/vars"
    names = {"W": f"{path}/0", "U": f"{path}/1", "b": f"{path}/2",
             "W_y": "layers/dense/vars/0", "b_y": "layers/dense/vars/1"}  # fmt: skip
    config = ModelConfig(cell=cell, units=H)
    network = Network({names[k]: x for k, x in w.items()}, V, config, np.float64)
    ids, start = rng.integers(V, size=(3, 12)), np.zeros((3, H))
    loss, gradients, h, _ = one.loss_and_gradients(w, cell, ids, start, start)
    logits, states, cache = network.forward(ids[:, :-1], network.initial_states(3))
    expected, d_logits = softmax_cross_entropy(logits, ids[:, 1:])
    assert abs(loss - expected) < 1e-9
    np.testing.assert_allclose(h, states[0][0], atol=1e-12)
    found, _ = network.backward(d_logits, cache)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, found[names[name]], atol=1e-12, err_msg=name)


@pytest.mark.full
def test_it_learns_a_text_and_samples(tmp_path):
    (tmp_path / "a.txt").write_text("one, two, three, four, five, six, seven. " * 100)
    program = PROGRAM.read_text().replace(", 2000\n", ", 200\n")
    (tmp_path / "short.py").write_text(program)
    done = run(str(tmp_path / "a.txt"), program=tmp_path / "short.py")
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert float(re.search(r"loss ([\d.]+) nats", last)[1]) < 0.1
    assert ", three, four, " in last


def test_bad_input_is_refused_in_one_line(tmp_path):
    (tmp_path / "short.txt").write_text("few")
    (tmp_path / "latin.txt").write_bytes(b"\xe9" * 999)
    for name, found in (("none.txt", "No such file"), ("short.txt", "found 3"), ("latin.txt", "")):
        done = run(str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: expected .*{found}.*\n", done.stderr)
