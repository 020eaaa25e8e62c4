"""Law: middles are chosen with the probability that they have between two texts."""

import collections
import itertools

import numpy as np
import pytest

from charlm import sample
from charlm.config import Config
from charlm.errors import InputError
from charlm.generation import infill
from charlm.generation.infill import fill
from charlm.inside import recording
from charlm.reference.loss import log_softmax
from charlm.runs import run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from tests.inside.test_engine import network

VOCAB = Vocab("abc")


@pytest.fixture
def net(rng):
    return network(rng, "gru", units=5, vocab=3)


def log_probability(net, left, right, temperature=1.0):
    """Natural logarithm of p(right | left)."""
    states, total = net.initial_states(1), 0.0
    text = left + right
    for k, ids in enumerate(VOCAB.encode(text[:-1])):
        logits, states = net.step(np.array([ids]), states)
        if k + 1 >= len(left):
            total += log_softmax(logits[0] / temperature)[VOCAB.encode(text[k + 1])[0]]
    return total


@pytest.mark.parametrize(
    ("read_on", "draws", "runs", "most"), [(3000, 3000, 4, 0.03), (16, 300, 60, 0.09)]
)
@pytest.mark.parametrize(("temperature", "least"), [(1.0, 1), (0.7, 2)])
def test_frequencies_are_those_of_all_middles(
    net, monkeypatch, temperature, least, read_on, draws, runs, most
):
    monkeypatch.setattr(infill, "READ_ON", read_on)
    left, right = "ab", "cabca"
    exact = {}
    for n in range(least, 4):
        for letters in itertools.product("abc", repeat=n):
            m = "".join(letters)
            drawn = log_probability(net, left, m, temperature)
            exact[m] = np.exp(drawn + log_probability(net, left + m, right))
    total = sum(exact.values())
    counts = collections.Counter()
    for seed in range(runs):
        found = fill(net, VOCAB, left, right, 3, draws, temperature, seed, draws, min_length=least)
        counts.update(x.text for x in found.chosen)
        assert found.effective > 20
    assert set(counts) <= set(exact)
    shares = {m: counts[m] / (draws * runs) for m in exact}
    distance = sum(abs(shares[m] - p / total) for m, p in exact.items()) / 2
    assert distance < most


def test_bits_are_those_of_the_right_text(net):
    found = fill(net, VOCAB, "ab", "cab", 6, 8, seed=2, draws=40)
    for middle in found.chosen:
        assert 1 <= len(middle.text) <= 6
        text = VOCAB.encode(f"ab{middle.text}cab")
        (r,) = recording.record(net, [text], "", whole=True)
        assert middle.bits == pytest.approx(r.losses[-3:].mean() / np.log(2), rel=1e-4)


def test_the_same_seed_chooses_the_same(net):
    first, again, other = (fill(net, VOCAB, "", "abcab", 9, 5, seed=s) for s in (1, 1, 2))
    assert first == again != other


def test_weights_stay_as_they_are_in_the_mean(rng):
    w = rng.exponential(size=50) ** 3
    sums = np.zeros(50)
    for _ in range(4000):
        kept, extra = infill._thinned(np.log(w), 10, rng)
        sums[kept] += w[kept] * np.exp(extra)
        assert set(np.argsort(w)[-3:]) <= set(kept)  # the large ones are always kept
        assert len(kept) < 25
    np.testing.assert_allclose(sums / 4000, w, rtol=0.5, atol=0.05 * w.mean())
    assert sums.sum() / 4000 == pytest.approx(w.sum(), rel=0.02)


def test_no_text_to_lead_to_is_refused(net):
    with pytest.raises(InputError, match="right"):
        fill(net, VOCAB, "a", "", 5)


def test_the_command_prints_both_texts_and_what_is_between(tmp_path, monkeypatch, capsys, net):
    monkeypatch.chdir(tmp_path)
    saved = Checkpoint(Config(net.config), VOCAB, "0" * 64, Progress(), net.weights, [], [], {})
    run_folder.save_new(tmp_path / "saved_models/a", saved, False)
    argv = ["a", "--seed", "3", "--between", "ab", "cab", "--draws", "50", "--temperature", "1"]
    assert sample.main([*argv, "--length", "5", "--min-length", "2"]) == 0
    (expected,) = fill(net, VOCAB, "ab", "cab", 5, seed=3, draws=50, min_length=2).chosen
    assert capsys.readouterr()[0] == f"ab{expected.text}cab\n"
    assert sample.main([*argv, "-n", "2"]) == 0
    chosen = fill(net, VOCAB, "ab", "cab", 100, 2, seed=3, draws=50).chosen
    lines = capsys.readouterr()[0].splitlines()
    assert lines[0] == f"--- 1, {chosen[0].bits:.3f} bits/char of what follows ---"
    assert lines[1::2] == [f"ab{x.text}cab" for x in chosen]
    assert sample.main([*argv[:-4], "--draws", "1", "--length", "1"]) == 0
    assert "--draws 4 finds better ones" in capsys.readouterr()[1]
