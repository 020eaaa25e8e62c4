"""Law: a text's losses are the network's, and simpler models' what their definitions say."""

import contextlib
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from charlm import evaluate, train
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.evaluation import losses as scoring
from charlm.evaluation import report
from charlm.evaluation.documents import held_out, measurable
from charlm.evaluation.ngram import NGram
from charlm.reference import trainer
from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.network import Network, initial_weights
from charlm.text import encode
from charlm.text.windows import HeldOutWindows
from corpora import Corpus, Document
from tests.cli.test_commands import TRAIN, here, one_line_and_nothing_made, snapshot  # noqa: F401
from tests.conftest import SMALL_TEXT

V = 5


def network(rng, **settings):
    config = ModelConfig(**{"units": 4} | settings)
    weights = {k: 3 * w for k, w in initial_weights(config, V, rng).items()}
    return Network(weights, V, config)


def alone(net, ids):
    """The losses of one document, a character at a time."""
    states, found = net.initial_states(1), []
    for before, after in itertools.pairwise(ids):
        logits, states = net.step(np.array([before]), states)
        found.append(-log_softmax(logits)[0, after])
    return np.array(found)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_state_is_carried_through_each_document(rng, cell, monkeypatch):
    monkeypatch.setattr(scoring, "MAX_SIDE_BY_SIDE", 3)
    net = network(rng, cell=cell, layers=2)
    documents = [rng.integers(V, size=n) for n in (7, 2, 30, 7, 1, 12, 30)]
    found = scoring.stateful_losses(net, documents)
    assert [len(x) for x in found] == [6, 1, 29, 6, 0, 11, 29]
    for losses, ids in zip(found, documents, strict=True):
        np.testing.assert_allclose(losses, alone(net, ids), rtol=1e-4, atol=1e-5)
    held_out = HeldOutWindows([d for d in documents if len(d) > 1])
    assert scoring.bits(found) == pytest.approx(trainer.evaluate(net, held_out) / np.log(2))


def test_cold_windows_begin_with_nothing_read(rng):
    net = network(rng)
    documents = [rng.integers(V, size=n) for n in (23, 4, 10)]
    found = scoring.zero_state_losses(net, documents, 5, 100)
    windows = [documents[0][k : k + 6] for k in (0, 5, 10, 15)] + [documents[2][:6]]
    np.testing.assert_allclose(found, [alone(net, w) for w in windows], rtol=1e-4, atol=1e-5)
    assert scoring.zero_state_losses(net, documents, 5, 3).shape == (3, 5)
    assert scoring.zero_state_losses(net, documents, 40, 3).shape == (0, 40)


def test_bits_by_position():
    losses = [np.log(2.0) * np.arange(1.0, 8), np.log(2.0) * np.array([3.0])]
    rows = scoring.by_position(losses)
    assert [(row["from"], row["to"]) for row in rows] == [(1, 1), (2, 3), (4, 7)]
    assert [row["bits"] for row in rows] == pytest.approx([2.0, 2.5, 5.5])


def test_the_hardest_passages_do_not_overlap(monkeypatch):
    monkeypatch.setattr(scoring, "PASSAGE", 2)
    losses = [np.log(2.0) * np.array([0, 5, 5, 4, 0, 9.0]), np.array([9.0]), np.zeros(3)]
    found = scoring.hardest(losses, 3)
    assert [(k, at) for k, at, _ in found] == [(0, 2), (0, 5), (2, 1)]
    assert [bits for *_, bits in found] == pytest.approx([5.0, 4.5, 0.0])


def by_definition(text, context, x, order):
    """p(x | context) of Witten and Bell, from counts."""
    p = 1 / V
    for k in range(order):
        if k > len(context):
            break
        h = context[len(context) - k :]
        after = [text[i + k] for i in range(len(text) - k) if text[i : i + k] == h]
        if after:
            kinds = len(set(after))
            p = (after.count(x) + kinds * p) / (len(after) + kinds)
    return p


@pytest.mark.parametrize("order", [1, 2, 4])
def test_an_n_gram_is_what_its_definition_says(rng, order):
    text, other = rng.integers(V - 1, size=60).tolist(), rng.integers(V, size=25).tolist()
    found = NGram(np.array(text), V, order).losses(np.array(other))
    expected = [
        -np.log(by_definition(text, other[max(0, t - order + 1) : t], other[t], order))
        for t in range(1, len(other))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_n_gram_s_odds_sum_to_one(rng):
    text = rng.integers(V, size=200)
    gram = NGram(text, V, 3)
    odds = [np.exp(-gram.losses(np.array([1, 2, x]))[-1]) for x in range(V)]
    assert sum(odds) == pytest.approx(1)


def test_an_order_that_would_not_fit_is_lowered():
    assert NGram(np.arange(100), 100_000, 12).order == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run named a, made once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.txt").write_text(SMALL_TEXT)
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "4", "--learning-rate", "0.02"]
    with contextlib.chdir(folder):
        assert train.main([*argv, *TRAIN]) == 0
    return folder / "saved_models"


@pytest.fixture
def run(here, trained, capsys):  # noqa: F811
    """A copy of it."""
    shutil.copytree(trained, here / "saved_models")
    capsys.readouterr()
    return here / "saved_models" / "a"


def test_the_command_measures_tells_and_draws(run, capsys):
    assert evaluate.main(["a", "--window", "20", "--order", "3", "--output", "e"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    report = json.loads(Path("e.json").read_text())
    names = list(report["models"])
    assert names == [
        "uniform over 17 characters", "unigram", "3-gram", "this model, cold windows of 20",
        "this model, state carried",
    ]  # fmt: skip
    saved = json.loads((run / "run.json").read_text())
    best = min(row["val_bpc"] for row in saved["progress"]["history"])
    assert report["models"][names[-1]] == pytest.approx(best, rel=1e-4)
    assert report["models"]["3-gram"] < report["models"]["unigram"] < np.log2(17)
    assert all(f"{bits:.4f}" in out for bits in report["models"].values())
    assert Path("e.png").stat().st_size > 10_000


def test_another_text(run, capsys):
    Path("other.txt").write_text("It was the Zest of times.\n" * 30)
    assert evaluate.main(["a", "--corpus", "other.txt", "--unknown", "skip"]) == 0
    out, err = capsys.readouterr()
    assert "749 characters of 1 document\n" in out
    assert "left out 30 of 780 characters" in err
    assert evaluate.main(["a", "--corpus", "small.txt"]) == 0
    assert "figures are of training text" in capsys.readouterr()[1]
    Path("small.txt").rename("gone.txt")
    assert evaluate.main(["a", "--corpus", "other.txt", "--unknown", "skip"]) == 0
    out, err = capsys.readouterr()
    assert "no n-gram model, because" in err
    assert "gram" not in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere"], "which does not exist"),
        (["a", "--corpus", "none.txt"], "which is none of them"),
        (["a", "--corpus", "z.txt"], "'Z'.*--unknown skip"),
        (["a", "--corpus", "one.txt"], "two characters or more"),
        (["a", "--temperature", "1"], "--temperature has no effect without --samples"),
        (["a", "--parses", "json"], "--parses has no effect without --samples"),
        (["a", "--samples", "--temperature", "-1"], "--temperature"),
        (["a", "--samples", "--seed", "-1"], "--seed"),
        (["a", "--window", "0"], "--window to be from 1 to"),
        (["a", "--window", "9" * 19], "--window to be from 1 to"),
        (["a", "--order", "0"], "--order to be from 1 to 12"),
        (["a", "--passages", "-1"], "--passages"),
        (["a", "--output", "none/x"], "--output to be in a folder that exists"),
    ],
)
def test_refused(run, here, capsys, argv, expected):  # noqa: F811
    Path("z.txt").write_text("Zebra " * 50)
    Path("one.txt").write_text("I")
    before = snapshot(here)
    one_line_and_nothing_made(capsys, before, evaluate.main(argv), expected, here)


def test_samples_are_measured_beside_the_text(run, capsys, monkeypatch):
    monkeypatch.setattr(report, "LENGTH", 250)
    argv = ["a", "--samples", "--temperature", "0.5", "--temperature", "2", "--output", "e",
            "--parses", "brackets"]  # fmt: skip
    assert evaluate.main(argv) == 0
    out, _ = capsys.readouterr()
    rows = json.loads(Path("e.json").read_text())["samples"]
    assert [row["of"] for row in rows] == ["text that was measured", 0.5, 2.0]
    own, cool, hot = rows
    assert own["new"] == {"4": 0.0, "8": 0.0, "12": 0.0, "16": 0.0, "24": 0.0}  # one line, again
    assert own["longest_copy"]["text"] == SMALL_TEXT[-212:]
    assert own["characters"] == 212
    assert cool["characters"] == hot["characters"] == 20 * 250
    assert 0 < cool["new"]["4"] < hot["new"]["4"] <= 1
    assert hot["repeated"] < cool["repeated"]
    assert hot["known_words"] < cool["known_words"]
    for row in rows:
        copy = row["longest_copy"]
        assert copy["source"] == "small.txt"
        assert SMALL_TEXT[copy["at"] :].startswith(copy["text"])
        assert row["parses"]["kind"] == "bracket lines"  # the text has no paragraphs
    assert "written form: lines with balanced brackets, in %" in out
    assert f"{100 * hot['new']['4']:.1f}" in out
    before = Path("e.json").read_bytes()
    assert evaluate.main(argv) == 0
    assert Path("e.json").read_bytes() == before
    assert evaluate.main([*argv, "--seed", "2"]) == 0
    assert Path("e.json").read_bytes() != before


def test_weights_that_learn_on_the_way_learn(rng):
    """A text that says one thing, which the training text does not."""
    net = network(rng)
    before = {path: w.copy() for path, w in net.weights.items()}
    adapting = scoring.DynamicEvaluation(net, rng.integers(V, size=7000), rate=0.02, decay=0.0)
    ids = np.tile([0, 1, 1, 3, 2], 60)
    losses, still = adapting.losses(ids), scoring.stateful_losses(net, [ids])[0]
    assert losses.shape == still.shape
    np.testing.assert_allclose(losses[:32], still[:32], rtol=1e-4, atol=1e-5)  # nothing learned yet
    assert losses[32:].mean() < still[32:].mean()
    assert losses[-32:].mean() < losses[32:64].mean()
    for path, w in net.weights.items():
        np.testing.assert_array_equal(w, before[path])
    np.testing.assert_array_equal(adapting.losses(ids), losses)  # each text begins anew


def test_the_weights_of_dynamic_evaluation_are_what_its_equation_says(rng):
    net, training = network(rng), rng.integers(V, size=7000)
    adapting = scoring.DynamicEvaluation(net, training, rate=0.01, decay=0.3)
    ids = rng.integers(V, size=2 * 32 + 9)

    def gradients(network, ids, states):
        logits, states, cache = network.forward(ids[None, :-1], states)
        _, d_logits = softmax_cross_entropy(logits, ids[None, 1:])
        return network.backward(d_logits, cache)[0], states

    states, squares = net.initial_states(1), {}
    middle = training[(7000 - 6401) // 2 :][:6401]
    for k in range(0, 6400, 32):
        found, states = gradients(net, middle[k : k + 33], states)
        squares = {p: squares.get(p, 0) + g.astype(float) ** 2 for p, g in found.items()}
    s = {p: np.sqrt(x / 200) for p, x in squares.items()}
    mean = np.concatenate([x.ravel() for x in s.values()]).mean()
    w = {p: x.copy() for p, x in net.weights.items()}
    states, expected = net.initial_states(1), []
    for k in range(0, len(ids) - 1, 32):
        part = ids[k : k + 33]
        now = Network(w, V, net.config)
        logits, _, _ = now.forward(part[None, :-1], states)
        log_p = log_softmax(logits)[0]
        expected += [-log_p[t, x] for t, x in enumerate(part[1:])]
        found, states = gradients(now, part, states)
        w = {p: x - 0.01 * found[p] / (s[p] + mean) for p, x in w.items()}
        w = {p: x + np.minimum(1, 0.3 * s[p] / mean) * (net.weights[p] - x) for p, x in w.items()}
    np.testing.assert_allclose(adapting.losses(ids), expected, rtol=1e-4)


def test_dynamic_evaluation_has_a_column_of_its_own(run, capsys):
    assert evaluate.main(["a", "--dynamic", "--output", "e"]) == 0
    assert "bits with state carried, bits with dynamic evaluation" in capsys.readouterr()[0]
    report = json.loads(Path("e.json").read_text())
    assert report["models"]["this model, dynamic evaluation"] > 0
    (document,) = report["documents"]
    assert document["name"] == "small.txt"
    for row in (document, *report["by_position"]):
        assert {"bits", "dynamic_bits"} <= set(row)
    first, *_, last = report["by_position"]
    assert first["bits"] == pytest.approx(first["dynamic_bits"], rel=1e-4)
    assert last["bits"] != last["dynamic_bits"]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([50] * 13, ["5"]),  # every tenth
        ([50, 0, 50], ["0", "2"]),  # the end of each
        ([1000, 3, 3, 3, 3, 3], ["0"]),  # of which the others are too short for one
    ],
)
def test_held_out_documents_have_their_names(rng, lengths, expected):
    documents = tuple(Document(str(k), "ab" * n) for k, n in enumerate(lengths))
    corpus = Corpus("c", documents)
    own = encode.read(corpus)
    names, found = measurable(held_out(corpus, own, 0), own.vocab)
    assert names == expected
    assert [len(d) for d in found] == [n for n in own.held_out_lengths if n > 1]
    names, found = measurable(held_out(corpus, own, 4), own.vocab)
    assert set(names) == {None}


@pytest.mark.parametrize("flag", ["--samples", "--dynamic"])
def test_what_needs_the_run_s_own_text_says_so(run, here, capsys, flag):  # noqa: F811
    Path("other.txt").write_text("It was the best.\n" * 30)
    Path("small.txt").rename("gone.txt")
    before = snapshot(here)
    code = evaluate.main(["a", "--corpus", "other.txt", flag])
    one_line_and_nothing_made(
        capsys, before, code, "small.txt.*which is neither a file.*name it with --corpus", here
    )


def test_a_run_whose_text_has_nothing_held_out_says_so(rng):
    corpus = Corpus("c", (Document("c", "abcabc"),))
    own = encode.read(corpus)
    with pytest.raises(InputError, match="cannot measure: no part of the run's text is held out"):
        held_out(corpus, own, 0)
