"""Law: a cell that follows a property is found, and nothing is found where nothing is."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.inside import clamping, finding, properties, recording
from charlm.inside.recording import Clamp
from charlm.reference.network import Network, initial_weights, layer_path
from charlm.text.vocab import Vocab

H, PLANTED = 9, 5
WORDS = ["of", "the", "people", "Nation", "12", "and,", "so.", "great"]


def quoted_text(rng, words):
    """Random words, now and then several of them in quotation marks."""
    parts = []
    while len(parts) < words:
        some = list(rng.choice(WORDS, size=rng.integers(1, 12)))
        parts += ["“" + " ".join(some) + "”"] if rng.random() < 0.4 else some
    return " ".join(parts)


def planted(rng, name, vocab):
    """A random network in which a cell is 1 within quotation marks, otherwise 0 or less."""
    config = ModelConfig(cell=name, units=H)
    weights = {
        k: w + 0.3 * rng.normal(size=w.shape)
        for k, w in initial_weights(config, len(vocab), rng).items()
    }
    W, U, b = (weights[f"{layer_path(config, 0)}/{k}"] for k in range(3))
    bias = b[0] if b.ndim == 2 else b
    first, last = vocab.encode("“”")
    gates = {
        letter: k * H + PLANTED for k, letter in enumerate({"lstm": "ifgo", "gru": "zrg"}[name])
    }
    for column in gates.values():
        W[:, column] = U[:, column] = 0
        b[..., column] = 0
    keep = "f" if name == "lstm" else "z"
    bias[gates[keep]] = 9
    W[[first, last], gates[keep]] = -18
    W[first, gates["g"]], W[last, gates["g"]] = 5, -5 if name == "gru" else 0
    if name == "lstm":
        bias[gates["i"]], W[first, gates["i"]] = -9, 18
    return Network(weights, len(vocab), config)


@pytest.fixture(params=["lstm", "gru"])
def case(rng, request):
    text = quoted_text(rng, 2500)
    vocab = Vocab("".join(sorted(set(text))))
    return planted(rng, request.param, vocab), vocab, [vocab.encode(text)]


@pytest.mark.product(1)
@pytest.mark.usual(1)
def test_a_planted_cell_is_found_first(case):
    net, vocab, documents = case
    report = finding.find(net, vocab, documents)
    first = report.findings[0]
    assert (first.property, first.layer, first.cell) == ("inside quotation marks", 0, PLANTED)
    assert first.sign == 1
    assert min(first.auc, first.f1, first.away) >= 0.99
    assert first.characters < 0.8
    assert report.half_lives[0, PLANTED] == report.half_lives.max()
    listed = {f.property for f in report.findings}
    assert not listed & {*report.none, *report.untested}
    assert {*listed, *report.none, *report.untested} == set(properties.PROPERTIES)
    assert report.to_dict()["findings"][0]["cell"] == PLANTED


@pytest.mark.product(1)
@pytest.mark.full
def test_with_shifted_labels_nothing_is_listed(case, rng, monkeypatch):
    net, vocab, documents = case
    right, states = properties.of_texts, finding.States(net, documents)
    monkeypatch.setattr(finding, "States", lambda *args: states)
    for _ in range(8):
        shift = int(rng.integers(2000, len(documents[0]) - 2000))
        monkeypatch.setattr(
            finding.properties,
            "of_texts",
            lambda *args, by=shift: {k: np.roll(x, by) for k, x in right(*args).items()},
        )
        assert not finding.find(net, vocab, documents, seed=shift).findings


@pytest.mark.usual(1)
def test_clamping_costs_what_the_losses_differ_by(case):
    net, vocab, (ids,) = case
    ids, clamp = ids[:500], Clamp(0, PLANTED, 0.4)

    def losses(*clamps):
        found = np.empty(len(ids))
        for r in recording.record(net, [ids], "", clamps=clamps):
            found[r.positions] = r.losses
        return found[1:] / np.log(2)

    more = losses(clamp) - losses()
    cost, costs = clamping.costs(net, vocab, [ids], [clamp])[clamp]
    assert cost == pytest.approx(more.mean(), abs=1e-5)
    assert abs(cost) > 1e-4
    read = vocab.decode(ids)[1:]
    for c, value in costs.items():
        assert value == pytest.approx(more[[x == c for x in read]].mean(), abs=1e-5)
    assert abs(costs[next(iter(costs))]) == max(map(abs, costs.values()))


@pytest.mark.usual(1)
def test_rare_properties_are_named(case):
    net, vocab, (ids,) = case
    report = finding.find(net, vocab, [ids[:3000]], patterns=["people"])
    assert "inside { }" in report.untested
    assert "/people/" not in report.untested


def test_a_text_without_any_property_is_looked_at(rng):
    vocab = Vocab("bcd")
    net = Network(initial_weights(ModelConfig(units=3), 3, rng), 3, ModelConfig(units=3))
    report = finding.find(net, vocab, [vocab.encode("bcd" * 500)])
    assert not report.findings + report.none
    assert {*report.untested} == set(properties.PROPERTIES)


def test_a_regular_property_is_not_compared_with_itself(rng):
    labels = np.tile(np.repeat([True, False], 100), 40)
    levels = rng.integers(2**16, size=(8000, 3)).astype(np.uint16)
    levels[:, 1] = np.where(labels, 40_000, 20_000) + rng.integers(-15_000, 15_000, 8000)
    assert finding._choice("x", labels, levels, 4000, rng) is None
    moved = np.roll(labels, 1)
    moved[rng.integers(8000, size=400)] ^= True  # still regular
    assert finding._choice("x", moved, levels, 4000, rng) is None
    irregular = np.repeat(rng.random(160) < 0.5, 50)
    levels[:, 1] = np.where(irregular, 40_000, 20_000) + rng.integers(-15_000, 15_000, 8000)
    choice = finding._choice("x", irregular, levels, 4000, rng)
    assert choice.cell == 1
    assert choice.null < 0.8


def test_clamping_crosses_no_border(rng, case):
    net, vocab, (ids,) = case
    parts, clamp = [ids[:300], ids[300:420], ids[420:1000]], Clamp(0, PLANTED, 0.4)
    costs = clamping.costs(net, vocab, parts, [clamp])[clamp][0]
    alone = [clamping.costs(net, vocab, [p], [clamp])[clamp][0] for p in parts]
    assert costs == pytest.approx(np.average(alone, weights=[len(p) - 1 for p in parts]), abs=1e-6)
    assert [len(p) for p in finding._from(parts, 250, 500)] == [50, 120, 330]
