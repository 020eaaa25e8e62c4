"""Law: `charlm score` tells of each character what the network's step says."""

import io
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from charlm import score
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network
from charlm.runs import checkpoint
from tests.cli.test_commands import here, run, trained  # noqa: F401


def bits(run, text):  # noqa: F811
    saved = checkpoint.read(run / "best.weights.h5")
    net = Network(saved.weights, len(saved.vocab), saved.config.model)
    states, found = net.initial_states(1), []
    for before, after in itertools.pairwise(saved.vocab.encode(text)):
        logits, states = net.step(np.array([before]), states)
        found.append(-log_softmax(logits)[0, after] / np.log(2))
    return np.array(found)


def test_files_and_all_of_them(run, capsys):  # noqa: F811
    texts = {"a.txt": "It was the best of times", "b.txt": "worst", "c.txt": "t"}
    Path("folder").mkdir()
    for name, text in texts.items():
        (Path("folder") / name).write_text(text)
    assert score.main(["folder"]) == 0
    _, *rows = capsys.readouterr()[0].splitlines()
    expected = [bits(run, text) for text in texts.values()]
    found = [row.split() for row in rows]
    assert [row[4] for row in found] == ["folder/a.txt", "folder/b.txt", "all"]
    assert [int(row[0]) for row in found] == [23, 4, 27]
    means = [expected[0].mean(), expected[1].mean(), np.concatenate(expected).mean()]
    np.testing.assert_allclose([float(row[1]) for row in found], means, atol=1e-4)
    np.testing.assert_allclose([float(row[2]) for row in found], np.exp2(means), atol=1e-2)
    per_word = [float(row[3].replace(",", "").replace("2^", "1e999")) for row in found]
    powers = np.array([23 * means[0] / 6, 4 * means[1], 27 * means[2] / 7])
    expected = [np.exp2(x) if x < 30 else np.inf for x in powers]
    np.testing.assert_allclose(per_word, expected, rtol=2e-3)


def test_each_character(run, capsys, monkeypatch):  # noqa: F811
    text = "It\twas\nthe"
    known = text.replace("\t", "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert score.main(["-", "--run", "a", "--per-character", "--unknown", "skip"]) == 0
    title, *rows = capsys.readouterr()[0].splitlines()
    assert title == "file\tat\tcharacter\tbits"
    found = [row.split("\t") for row in rows]
    assert [row[0] for row in found] == ["-"] * 8
    assert [int(row[1]) for row in found] == list(range(1, 9))
    assert "".join(eval(row[2]) for row in found) == known[1:]
    np.testing.assert_allclose([float(row[3]) for row in found], bits(run, known), atol=1e-4)


def test_a_corpus_by_name(run, capsys, monkeypatch):  # noqa: F811
    assert score.main(["small.txt", "--run", str(run / "last.weights.h5")]) == 0
    assert capsys.readouterr()[0].split()[-1] == "small.txt"


@pytest.mark.parametrize("argv", [["--run", "nowhere"], ["--encoding", "klingon"]])
def test_refused(run, capsys, argv):  # noqa: F811
    assert score.main(["small.txt", *argv]) == 2
    assert capsys.readouterr()[0] == ""
