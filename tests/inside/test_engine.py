"""Law: the page's engine computes what the NumPy network computes, and draws what it draws."""

import itertools
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import charlm.inside
from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.generation import sampler
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.generate import stepper
from charlm.inside import recording, weights
from charlm.inside.recording import Clamp
from charlm.reference.network import Network, initial_weights, layer_path

HERE, PAGE = Path(__file__).parent, Path(charlm.inside.__file__).parent / "page"
H, V = 35, 41  # more than a panel of 32, and no whole number of panels

needs_node = pytest.mark.skipif(
    shutil.which("node") is None and not os.environ.get("CHARLM_REQUIRE_BROWSERS"),
    reason="needs node",
)


def network(rng, name="lstm", layers=1, units=H, vocab=V, **options):
    config = ModelConfig(cell=name, units=units, layers=layers, **options)
    found = initial_weights(config, vocab, rng)
    # so large that texts differ; a larger plain RNN is chaotic, and every rounding changes its text
    scale, noise = (0.7, 0.02) if name == "rnn" else (8 / np.sqrt(units), 0.1)
    found = {k: scale * w + noise * rng.normal(size=w.shape) for k, w in found.items()}
    return Network(found, vocab, config)


def engine(tmp_path, net=None, kind="fp32", **job):
    data = b""
    if net is not None:
        arrays, data = weights.packed(net.weights, net.config, kind)
        job["page"] = {"config": asdict(net.config), "arrays": arrays}
    (tmp_path / "job.json").write_text(json.dumps(job))
    run = ["node", str(HERE / "engine.mjs"), str(PAGE), str(tmp_path / "job.json")]
    done = subprocess.run(run, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_bytes_are_those_of_the_text():
    wasmtime = pytest.importorskip("wasmtime")
    built = wasmtime.wat2wasm((PAGE / "product.wat").read_text())
    assert bytes(built) == (PAGE / "product.wasm").read_bytes()


@needs_node
def test_random_numbers_are_numpys(tmp_path, rng):
    seeds = [(0, 0), (1, 0), (1, 7), (2**32 - 1, 3), (2**32, 1), (2**130 + 12345, 9)]
    seeds += [(int(rng.integers(2**40)), int(rng.integers(10_000))) for _ in range(20)]
    found = engine(tmp_path, random=[(str(seed), n, 50) for seed, n in seeds])["random"]
    for (seed, n), numbers in zip(seeds, found, strict=True):
        assert numbers == np.random.default_rng([seed, n]).random(50).tolist()


CASES = [
    *itertools.product(CELLS, (1, 3), [{}]),
    *((name, 3, {"skip": "add"}) for name in CELLS),
    ("gru", 2, {"reset": "before"}),
    ("rnn", 1, {"activation": "relu"}),
    ("lstm", 2, {"activation": "linear", "recurrent_activation": "hard_sigmoid"}),
]


@pytest.mark.product(15)
@needs_node
@pytest.mark.usual(4)
@pytest.mark.parametrize(("name", "layers", "options"), CASES, ids=str)
@pytest.mark.parametrize("machine", [True, False])
def test_a_step_is_that_of_the_numpy_network(tmp_path, rng, name, layers, options, machine):
    net, ids = network(rng, name, layers, **options), rng.integers(V, size=12)
    if options.get("activation") in ("relu", "linear"):
        net = Network({k: w / 4 for k, w in net.weights.items()}, V, net.config)
    steps = engine(tmp_path, net, read=ids.tolist(), machine=machine)["steps"]
    states = net.initial_states(1)
    for k, step in zip(ids, steps, strict=True):
        logits, states, gates = net.recorded_step(np.array([k]), states)
        close(step["logits"], logits[0])
        for layer, found, opened, expected in zip(
            states, step["states"], step["gates"], gates, strict=True
        ):
            for letter, s in zip(net.states, layer, strict=True):
                close(found[letter], s[0])
            close(opened, np.concatenate([g[0] for g in expected]))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@needs_node
@pytest.mark.usual(2)
@pytest.mark.parametrize("name", CELLS)
def test_a_clamped_step_is_that_of_the_recording(tmp_path, rng, name):
    net, ids = network(rng, name, 2), rng.integers(V, size=12)
    clamp = {"layer": 1, "cell": 33, "value": 0.4}
    steps = engine(tmp_path, net, read=ids.tolist(), clamp=clamp, machine=True)["steps"]
    for r in recording.record(net, [ids], "h", clamps=[Clamp(**clamp)]):
        for t, h in zip(r.positions, r.values["h"], strict=True):
            close([layer["h"] for layer in steps[t]["states"]], h)


@needs_node
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_fewer_bits_are_rounded_as_in_python(tmp_path, rng, kind):
    net, ids = network(rng, "gru", 2), rng.integers(V, size=9)
    rounded = Network(weights.rounded(net.weights, net.config, kind), V, net.config)
    steps = engine(tmp_path, net, kind, read=ids.tolist(), machine=True)["steps"]
    states, plain = rounded.initial_states(1), net.initial_states(1)
    for k, step in zip(ids, steps, strict=True):
        logits, states = rounded.step(np.array([k]), states)
        close(step["logits"], logits[0])
        other, plain = net.step(np.array([k]), plain)
    assert np.abs(other - logits).max() > 1e-4  # it was rounded


def test_rounding_keeps_what_can_be_kept(rng):
    net = network(rng)
    for kind, most in (("fp32", 0), ("fp16", 2**-11), ("int8", 1 / 254)):
        for path, w in weights.rounded(net.weights, net.config, kind).items():
            first = path.startswith("layers/lstm/") and path.endswith("/0")
            largest = np.abs(net.weights[path]).max(axis=1 if first else 0, keepdims=True)
            assert (np.abs(w - net.weights[path]) <= 1.001 * most * largest).all(), (kind, path)


@pytest.mark.product(2)
@needs_node
@pytest.mark.usual(1)
@pytest.mark.parametrize("name", ["lstm", "gru", "coupled", "rnn"])
@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8"])
def test_it_draws_the_texts_that_python_draws(tmp_path, rng, name, kind):
    """2,000 characters each, drawn in Python by the code that `charlm sample` uses."""
    net = network(rng, name, 1)
    rounded = Network(weights.rounded(net.weights, net.config, kind), V, net.config)
    rules = [{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 9, "top_p": 0.9}]
    asked, expected = [], []
    step, block = stepper(rounded)
    for k, temperature in enumerate([0, 0.5, 0.8, 1]):
        prompt, rule = rng.integers(V, size=k + 1), rules[k] if temperature else {}
        seed, rule = 7 + k, SamplingConstraints(**rule)
        options = {"temperature": temperature, "topK": rule.top_k, "topP": rule.top_p}
        asked.append({"prompt": prompt.tolist(), "length": 2000, "seed": seed} | options)
        states = rounded.initial_states(1)
        pieces = sampler.generate(step, states, prompt, 2000, [temperature], seed, rule, block)
        expected.append(np.concatenate([p[:, 0] for p in pieces]).tolist())
    assert engine(tmp_path, net, kind, texts=asked, machine=True)["texts"] == expected
    assert len({*expected[1]}) > 10


@pytest.mark.product(2)
@needs_node
@pytest.mark.usual(2)
@pytest.mark.parametrize("name", CELLS)
def test_a_text_is_read_as_it_is_recorded(tmp_path, rng, name):
    net, ids = network(rng, name, 2), rng.integers(V, size=300)
    whole, one = (next(iter(recording.record(net, [ids], whole=True, clamps=c)))
                  for c in ((), [Clamp(1, 3, 0.3)]))  # fmt: skip
    letters = recording.letters(net.config)
    cells = [[letter, layer, 3] for letter in letters for layer in (0, 1)]
    clamp, other = {"layer": 1, "cell": 3, "value": 0.3}, [280, (int(ids[280]) + 1) % V]
    asked = {"ids": ids.tolist(), "piece": 70, "cells": cells, "clamps": [clamp], "others": [other]}
    read = engine(tmp_path, net, machine=True, reader=asked)["reader"]
    state = "c" if "c" in letters else "h"
    assert read["mean"] == pytest.approx(whole.values[state][:, 1, 3].mean(), abs=1e-4)
    close(floats(read["bits"]), whole.losses / np.log(2))
    close(floats(read["clamped"][0]), one.losses / np.log(2))
    changed = ids.copy()
    changed[280] = other[1]
    what_if = next(iter(recording.record(net, [changed], "", whole=True)))
    close(floats(read["others"][0]), what_if.losses / np.log(2))
    for (letter, layer, cell), found in zip(cells, read["bytes"], strict=True):
        x = whole.values[letter][:, layer, cell]
        expected = 127 * (np.tanh(x) if letter == "c" else x)
        assert np.abs(found - expected).max() <= 0.51
    for t, found in enumerate(read["exact"]):
        expected = {letter: whole.values[letter][t, 1, 3] for letter in letters}
        close([found["values"][letter] for letter in letters], [*expected.values()])
        if t:
            assert found["here"] == pytest.approx(read["exact"][t - 1]["next"])
        if t + 1 < len(ids):
            assert -np.log2(found["next"][ids[t + 1]]) == pytest.approx(
                read["bits"][t + 1], abs=1e-4
            )


@needs_node
@pytest.mark.usual(3)
@pytest.mark.parametrize(("name", "layers", "options"), CASES, ids=str)
def test_influence_is_the_norm_of_the_gradient_by_what_was_read(
    tmp_path, rng, name, layers, options
):
    """The gradient by the first kernel's rows, of characters that are all different."""
    net, ids = network(rng, name, layers, **options), rng.permutation(V)[:30]
    if options.get("activation") in ("relu", "linear"):
        net = Network({k: w / 4 for k, w in net.weights.items()}, V, net.config)
    with_gap = np.insert(ids, 12, -1)
    (found, at_gap) = engine(
        tmp_path, net, ids=with_gap.tolist(), influence=[25, 12], machine=True
    )["influence"]
    exact = Network(net.weights, V, net.config, np.float64)
    logits, _, cache = exact.forward(ids[None, :24], exact.initial_states(1))
    d_logits = np.zeros_like(logits)
    d_logits[0, -1] = np.exp(logits[0, -1]) / np.exp(logits[0, -1]).sum() - np.eye(V)[ids[24]]
    gradients, _ = exact.backward(d_logits, cache)
    W = f"{layer_path(net.config, 0)}/0"
    expected = np.linalg.norm(exact.weights[W] @ gradients[W][ids[:24]].T, axis=0)
    assert expected.min() > 0 or options.get("activation") == "relu"
    np.testing.assert_allclose(np.delete(found, 12)[:24], expected, rtol=1e-3, atol=1e-6)
    assert not np.any(found[25:])
    assert found[12] == 0
    assert not np.any(at_gap)


@needs_node
def test_unknown_characters_keep_their_place(tmp_path, rng):
    net, ids = network(rng, "lstm", 2), rng.integers(V, size=20)
    with_gaps = np.insert(ids, [0, 7, 7, 20], -1)
    asked = {"piece": 6, "cells": [["c", 1, 3]], "clamps": [], "others": []}
    known = engine(tmp_path, net, machine=True, reader={"ids": ids.tolist()} | asked)["reader"]
    found = engine(tmp_path, net, machine=True, reader={"ids": with_gaps.tolist()} | asked)[
        "reader"
    ]
    at = np.flatnonzero(with_gaps >= 0)
    assert len(found["bits"]) == len(with_gaps)
    np.testing.assert_array_equal(floats(found["bits"])[at], floats(known["bits"]))
    assert np.isnan(np.delete(floats(found["bits"]), at)).all()
    bytes_ = np.array(found["bytes"][0])
    np.testing.assert_array_equal(bytes_[at], known["bytes"][0])
    np.testing.assert_array_equal(bytes_[[8, 9, 23]], bytes_[[7, 7, 22]])


def floats(numbers):
    """JSON has no NaN; JavaScript writes null."""
    return np.array([np.nan if x is None else x for x in numbers])
