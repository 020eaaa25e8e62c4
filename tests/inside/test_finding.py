"""Law: a cell that follows a property is found, and nothing is found where nothing is."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.inside import finding, properties, recording
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
    assert not listed & {*report.none, *report.rare}
    assert {*listed, *report.none, *report.rare} == set(properties.PROPERTIES)
    assert report.to_dict()["findings"][0]["cell"] == PLANTED


def test_with_shifted_labels_nothing_is_listed(case, rng, monkeypatch):
    net, vocab, documents = case
    right, states = properties.of_texts, finding.States(net, documents)
    monkeypatch.setattr(finding, "States", lambda *args: states)
    for _ in range(20):
        shift = int(rng.integers(2000, len(documents[0]) - 2000))
        monkeypatch.setattr(
            finding.properties,
            "of_texts",
            lambda *args, by=shift: {k: np.roll(x, by) for k, x in right(*args).items()},
        )
        assert not finding.find(net, vocab, documents, seed=shift).findings


def test_clamping_costs_what_the_losses_differ_by(case):
    net, vocab, (ids,) = case
    ids, clamp = ids[:500], Clamp(0, PLANTED, 0.4)

    def losses(*clamps):
        found = np.empty(len(ids))
        for r in recording.record(net, [ids], "", clamps=clamps):
            found[r.positions] = r.losses
        return found[1:] / np.log(2)

    more = losses(clamp) - losses()
    cost, costs = finding.clamping_costs(net, vocab, ids, [clamp])[clamp]
    assert cost == pytest.approx(more.mean(), abs=1e-5)
    assert abs(cost) > 1e-4
    read = vocab.decode(ids)[1:]
    for c, value in costs.items():
        assert value == pytest.approx(more[[x == c for x in read]].mean(), abs=1e-5)
    assert abs(costs[next(iter(costs))]) == max(map(abs, costs.values()))


def test_rare_properties_are_named(case):
    net, vocab, (ids,) = case
    report = finding.find(net, vocab, [ids[:3000]], patterns=["people"])
    assert "inside { }" in report.rare
    assert "/people/" not in report.rare
