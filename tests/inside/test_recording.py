"""Law: a recording holds what the network computes, once for each character."""

import itertools

import numpy as np
import pytest

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.evaluation import losses
from charlm.inside import recording
from charlm.inside.recording import Clamp, record
from charlm.reference.activations import ACTIVATIONS
from charlm.reference.network import Network, initial_weights

H, V = 4, 7


def network(rng, name="lstm", layers=1, skip="none"):
    config = ModelConfig(cell=name, units=H, layers=layers, skip=skip)
    weights = initial_weights(config, V, rng)
    return Network(
        {k: 1.5 * w + 0.2 * rng.normal(size=w.shape) for k, w in weights.items()}, V, config
    )


def joined(recordings, n):
    """The recordings in the order of the text."""
    found = list(recordings)
    positions = np.concatenate([r.positions for r in found])
    assert np.array_equal(np.sort(positions), np.arange(n))
    order = np.argsort(positions)
    names = found[0].values
    values = {k: np.concatenate([r.values[k] for r in found])[order] for k in names}
    return np.concatenate([r.losses for r in found])[order], values


CASES = [
    (name, layers, skip)
    for name, layers, skip in itertools.product(CELLS, (1, 3), ("none", "add"))
    if layers > 1 or skip == "none"
]


@pytest.mark.parametrize(("name", "layers", "skip"), CASES)
def test_it_is_what_the_network_computes_step_by_step(rng, name, layers, skip):
    net = network(rng, name, layers, skip)
    texts = [rng.integers(V, size=n) for n in (11, 2, 30, 1)]
    read, values = joined(record(net, texts), 44)
    assert [*values] == [*recording.letters(net.config)]
    at = 0
    for ids, expected in zip(texts, losses.stateful_losses(net, texts), strict=True):
        assert np.isnan(read[at])
        np.testing.assert_allclose(read[at + 1 : at + len(ids)], expected, rtol=1e-5)
        states = net.initial_states(1)
        for k in ids:
            _, states = net.step(np.array([k]), states)
            for s, letter in enumerate(net.states):
                found = np.stack([layer[s][0] for layer in states])
                np.testing.assert_allclose(values[letter][at], found, rtol=1e-5, atol=1e-6)
            at += 1


@pytest.mark.parametrize("name", CELLS)
def test_states_follow_from_the_gates_of_their_names(rng, name):
    _, x = joined(record(network(rng, name, 2), [rng.integers(V, size=20)]), 20)
    before = {k: np.concatenate([np.zeros_like(s[:1]), s[:-1]]) for k, s in x.items()}
    if name == "lstm":
        expected = {"c": x["f"] * before["c"] + x["i"] * x["g"], "h": x["o"] * np.tanh(x["c"])}
    elif name == "coupled":
        c = x["f"] * before["c"] + (1 - x["f"]) * x["g"]
        expected = {"c": c, "h": x["o"] * np.tanh(x["c"])}
    elif name == "gru":
        expected = {"h": x["z"] * before["h"] + (1 - x["z"]) * x["g"]}
    else:
        assert [*x] == ["h"]  # its only gate is its output
        return
    for letter, value in expected.items():
        np.testing.assert_allclose(x[letter], value, atol=1e-6)


def test_long_texts_are_read_in_stretches_each_warmed_up(rng, monkeypatch):
    net, texts = network(rng), [rng.integers(V, size=n) for n in (100, 7, 61)]
    whole = joined(record(net, texts, whole=True), 168)
    monkeypatch.setattr(recording, "STRETCH", 9)
    monkeypatch.setattr(recording, "STREAMS", 3)
    monkeypatch.setattr(recording, "BLOCK", 1000)  # of a few steps
    warmed = []
    for warm_up in (100, 12, 0):
        monkeypatch.setattr(recording, "WARM_UP", warm_up)
        found = joined(record(net, texts, "hf"), 168)
        warmed.append(np.abs(found[1]["h"] - whole[1]["h"]).max())
        if warm_up == 100:  # all that comes before
            np.testing.assert_allclose(found[0], whole[0], rtol=1e-5)
    assert warmed[0] < 1e-6 < warmed[1] < warmed[2]


@pytest.mark.full
def test_constant_memory(rng, monkeypatch):
    monkeypatch.setattr(recording, "STRETCH", 100)
    monkeypatch.setattr(recording, "BLOCK", 2**12)
    sizes = [
        sum(x.nbytes for x in r.values.values())
        for r in record(network(rng), [rng.integers(V, size=3000)])
    ]
    assert len(sizes) > 10
    assert max(sizes) <= 2**12


@pytest.mark.parametrize("name", CELLS)
def test_a_clamped_state_keeps_its_value_and_only_its_text_changes(rng, name):
    net, ids = network(rng, name, 2), rng.integers(V, size=25)
    plain, _ = joined(record(net, [ids]), 25)
    clamps = [None, Clamp(1, 2, 0.3), Clamp(0, 3, -0.4)]
    read, found = joined(record(net, [ids] * 3, clamps=clamps), 75)
    np.testing.assert_allclose(read[1:25], plain[1:], rtol=1e-6)
    for k, clamp in enumerate(clamps):
        if clamp:
            part = {letter: values[25 * k : 25 * (k + 1)] for letter, values in found.items()}
            letter = net.states[-1]
            np.testing.assert_allclose(
                part[letter][:, clamp.layer, clamp.cell], clamp.value, rtol=1e-6
            )
            if "o" in part:
                o, c = (part[n][:, clamp.layer, clamp.cell] for n in "oc")
                shown = o * ACTIVATIONS["tanh"](c)
                np.testing.assert_allclose(part["h"][:, clamp.layer, clamp.cell], shown, rtol=1e-6)
            assert not np.allclose(read[25 * k + 1 : 25 * (k + 1)], plain[1:], rtol=1e-4)


def test_a_reader_that_stops_early_leaves_nothing_running(rng, monkeypatch):
    monkeypatch.setattr(recording, "BLOCK", 2**8)
    blocks = record(network(rng), [rng.integers(V, size=5000)] * 3)
    assert len(next(blocks).positions)
    blocks.close()
