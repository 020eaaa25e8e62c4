"""Law: cells learn to remember over gaps by right gradients, and the same seeds give the same."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from charlm import memory as command
from charlm.evaluation import memory, memory_report
from charlm.evaluation.memory_texts import CLOSING, OPENING, TASKS, made
from charlm.reference.gradient_check import worst
from charlm.reference.loss import softmax_cross_entropy

CELLS = [*memory.LADDER]


def lines(task, gap, count, seed=1):
    return made(task, gap, count, np.random.default_rng(seed)).lines().splitlines()


def test_answers_follow_from_the_beginning():
    for gap in (1, 2, 9):
        recalled = lines("recall", gap, 50)
        assert all(re.fullmatch(rf"([A-H])[a-z]{{{gap - 1}}}\?\1", x) for x in recalled)
        assert all(x[:gap] == x[-gap:] and x[gap] == "=" for x in lines("copy", gap, 50))
        for text in lines("brackets", gap, 50):
            opened = []
            for character in text:
                if character in OPENING:
                    opened.append(character)
                else:
                    assert CLOSING[OPENING.index(opened.pop())] == character
            assert len(text) == 2 * gap
    assert len({x[0] for x in lines("recall", 3, 99)}) == TASKS["recall"]
    assert lines("copy", 5, 9) == lines("copy", 5, 9) != lines("copy", 5, 9, seed=2)


def learner(name, rng, **remedies):
    given = memory.Remedies(**({"skip": 3, "window": 4} | remedies))
    found = memory.made_learner(name, 4, rng, given)
    found.weights = {k: x.astype(np.float64) for k, x in found.weights.items()}
    return found


@pytest.mark.parametrize("name", [x for x in CELLS if x != "lstm-windows"])
def test_gradients_are_those_of_finite_differences(name, rng, monkeypatch):
    found, texts = learner(name, rng), made("copy", 3, 2, rng)
    monkeypatch.setattr(np, "float32", np.float64)  # of the states
    targets = texts.ids[:, -3:]

    def loss():
        return softmax_cross_entropy(found.forward(texts.ids, 3)[0], targets)[0]

    logits, cache = found.forward(texts.ids, 3)
    gradients, _ = found.backward(softmax_cross_entropy(logits, targets)[1], cache)
    assert gradients.keys() == found.weights.keys()
    where, error = worst(loss, found.weights, gradients)
    assert error < 1e-6, where


def test_windows_carry_the_state_and_cut_the_gradient(rng):
    texts = made("recall", 9, 8, rng)
    seeds = [np.random.default_rng(3) for _ in range(2)]
    whole, cut = (learner(x, seed) for x, seed in zip(("lstm", "lstm-windows"), seeds, strict=True))
    for n in (1, 2, 3, 4, 7, 99):
        cut.window = n
        np.testing.assert_allclose(*(x.forward(texts.ids, 1)[0] for x in (whole, cut)), atol=1e-6)
        far, near = (memory.reach(x, texts) for x in (whole, cut))
        np.testing.assert_allclose(near[:n], far[:n], rtol=1e-4)
        assert (near[n:] == 0).all()
        assert (far > 0).all()


@pytest.mark.parametrize("name", CELLS)
def test_each_cell_learns_a_short_gap_and_seeds_repeat(name):
    given = "recall", name, 3, 1, 16, 5e-3, 1.0, 200, memory.Remedies()
    found = memory.trial(*given)
    assert found.accuracy > 0.7  # chance is 1/8
    assert found.updates == 200
    assert found == memory.trial(*given)


def test_ranks_and_medians():
    trials = [
        memory.Trial("rnn", gap, seed, 5, accuracy, 10.0**-gap, 1.0)
        for gap, row in ((2, (0.9, 1.0, 0.8)), (7, (0.1, 0.2, 0.4)))
        for seed, accuracy in enumerate(row)
    ]
    (row,) = rows = memory_report.summarized(trials)
    assert (row.accuracy, row.lowest, row.highest) == ([0.9, 0.2], [0.8, 0.1], [1.0, 0.4])
    assert memory_report.explained(rows) == pytest.approx(1)
    assert memory_report._ranks(np.array([5.0, 1.0, 5.0, 0.0])).tolist() == [2.5, 1, 2.5, 0]


def run(capsys, *argv):
    code = command.main([*argv])
    return code, *capsys.readouterr()


def test_the_command_prints_draws_and_repeats_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--cells", "rnn", "lstm-open", "--gaps", "2", "4", "--updates", "3", "--seeds", "5",
            "--units", "4", "-o", "found.json", "--task", "brackets"]  # fmt: skip
    first = run(capsys, *argv)
    data = Path("found.json").read_bytes()
    assert first[0] == 0, first
    assert run(capsys, *argv) == first
    assert Path("found.json").read_bytes() == data
    assert Path("found.png").read_bytes()[:4] == b"\x89PNG"
    rows = json.loads(data)["rows"]
    assert [(r["cell"], r["gaps"], r["updates"]) for r in rows] == [
        ("rnn", [2, 4], [3, 3]), ("lstm-open", [2, 4], [3, 3]),
    ]  # fmt: skip
    assert "right answers by gap (chance: 33.3%)" in first[1]


def test_after_an_interrupt_the_finished_cells_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trial, done = memory.trial, []

    def interrupted(task, cell, *given):
        done.append(cell)
        if done.count("lstm") > 1:
            raise KeyboardInterrupt
        return trial(task, cell, *given)

    monkeypatch.setattr(memory, "trial", interrupted)
    flags = "--cells rnn gru lstm --gaps 2 3 --seeds 1 --updates 2 --units 4 -o a"
    assert command.main(flags.split()) == 130
    out, err = capsys.readouterr()
    assert "plain RNN" in out
    assert "GRU" in out
    assert "LSTM" not in out
    assert "no file was written" in err
    assert not [*tmp_path.iterdir()]


def test_texts_of_a_seed_are_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        assert run(capsys, "--texts", name, "--gaps", "12", "--seeds", "4")[0] == 0
    assert Path("a").read_bytes() == Path("b").read_bytes()
    assert Path("a").read_text().splitlines() == lines("recall", 12, command.TEXTS, seed=4)


BAD = [
    ("--gaps 0", "expected --gaps to be from 1 to 1000, found 0"),
    ("--cells lstm tree", "expected --cells to be some of rnn, identity, "),
    ("--seconds 0", "expected --seconds to be above 0, up to 3600, found 0.0"),
    ("--updates 0", "expected --updates to be 1 or more, found 0"),
    ("--texts a -o b", "--output has no effect with --texts"),
    ("--texts no/such", "expected --texts to be in a folder that exists"),
    ("--updates 2 --seconds 1", "--seconds has no effect with --updates; leave it out"),
    ("--gaps", "expected --gaps to be at least one, found none"),
    ("--skip 1", "expected --skip to be from 2 to 1000, found 1"),
]


@pytest.mark.parametrize(("argv", "line"), BAD)
def test_bad_input_is_refused_in_one_line(argv, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.soak  # docs/lectures.md has its figures
def test_gates_reach_where_a_plain_network_does_not():
    right = {
        name: [
            memory.trial("recall", name, 30, seed, 32, 3e-3, 1.0, 900, memory.Remedies()).accuracy
            for seed in (1, 2, 3)
        ]
        for name in ("rnn", "lstm")
    }
    assert min(right["lstm"]) >= 0.95, right
    assert np.median(right["rnn"]) <= 1 / 8 + 0.05, right
