"""Law: a run that is conditioned is, in each of its contexts, a plain run with another bias."""

import json
from dataclasses import replace

import numpy as np
import pytest

import charlm
from charlm import evaluate, export, sample, score, show, train
from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.errors import InputError
from charlm.evaluation import by_context, losses
from charlm.generation import generate
from charlm.reference.__main__ import main as reference
from charlm.runs import checkpoint, lookup
from charlm.training.trainer import Training
from tests.runs.test_hostile import described, meta
from tests.text.test_contexts import speeches, with_contexts
from tests.training import test_exact

SMALL = {"batch_size": 3, "window": 8, "sample_length": 20, "patience": 0, "precision": "fp32"}


def write(folder, corpus):
    """The texts of the speeches in a folder for each president."""
    for d in corpus.documents:
        place = folder / d.president
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{d.name.zfill(2)}.txt").write_text(d.text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("contexts")
    write(place / "t", speeches(40, 60, sure=0.6))
    options = {"runs_dir": place, "context": "folder", "quiet": True, **SMALL}
    charlm.fit(str(place / "t"), name="lstm", units=12, epochs=6, learning_rate=0.05, **options)
    return place


def training(cell, saved=None, tokens="characters"):
    data = DataConfig("s", tokens=tokens, context="president", batch_size=2, window=8)
    fit = FitConfig(epochs=2, warmup_steps=4, precision="fp32")
    text = with_contexts(speeches(12, 12))
    text = text.translated(saved.vocab if saved else text.learned_vocab(tokens))
    model = ModelConfig(cell=cell, units=3, layers=2, dropout=0.3, context_scale=0.25)
    return Training(Config(model, replace(data, restart_every=4), fit), text, saved)


@pytest.mark.product(2)
@pytest.mark.usual(1)
@pytest.mark.parametrize("unit", ["characters", "bpe:270"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "coupled", "keras-gru"])
def test_each_context_is_another_bias(rng, cell, unit):
    run = training(cell, tokens=unit)
    saved = run.snapshot()
    first = next(iter(saved.weights.values()))  # in a new run all contexts are alike
    assert not first[len(saved.vocab) :].any()
    assert len(first) == len(saved.vocab) + 4
    for w in saved.weights.values():
        if w.dtype.kind == "f":
            w[:] = rng.normal(size=w.shape)
    V, names = len(saved.vocab), saved.contexts.names
    ids = rng.integers(V, size=(2, 9))
    whole = saved.to_network()
    for c, name in enumerate((None, *names)):
        plain = saved.in_context(name)
        assert plain.contexts is plain.config.data.context is None
        a, b = whole.initial_states(2), plain.to_network().initial_states(2)
        for t in range(9):
            mine, a = whole.step(ids[:, t] + V * c, a)
            theirs, b = plain.to_network().step(ids[:, t], b)
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    run = training(cell, saved, unit)  # the same network in Keras
    inputs = np.stack([ids, np.full_like(ids, 2)], axis=-1)
    run.streams.carried["validation"] = []
    states = [np.zeros((2, 3), "float32") for _ in run.network.inputs[1:]]
    logits = run.network([inputs, *states])[0]
    expected, _, _ = (
        saved.in_context(names[1]).to_network().forward(ids, plain.to_network().initial_states(2))
    )
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize("unit", ["bpe:270", "characters"])
def test_resumed_within_an_epoch_it_is_the_run_that_never_stopped(unit):
    saves = test_exact.run(training("lstm", tokens=unit))
    last, k = test_exact.all_but_speed(saves[-1]), len(saves) // 2 - 2
    again = test_exact.run(training("lstm", checkpoint.from_bytes(saves[k]), unit))
    test_exact.assert_same_end(again, last)
    assert last.meta()["format"] == 4
    assert checkpoint.from_bytes(checkpoint.to_bytes(last)).contexts == last.contexts


def test_contexts_are_learned_and_measured_the_same_everywhere(folder, capsys):
    _, saved = lookup.read_with_contexts(folder, "lstm")
    assert saved.contexts.names == ("A", "B", "C", "D")
    assert evaluate.main(["lstm", "--runs-dir", str(folder)]) == 0
    assert "this model, contexts unknown" in capsys.readouterr().out
    found = json.loads((folder / "lstm" / "evaluation.json").read_text())
    bits = found["models"]["this model, state carried"]
    assert bits == pytest.approx(saved.progress.best_bits, rel=1e-4)
    assert bits < found["models"]["this model, contexts unknown"] - 0.05
    model = charlm.load(folder / "lstm")
    assert model.contexts == saved.contexts.names
    assert model.config.data.context == "folder"
    own = [model.in_context(x).score(x.lower() * 3) for x in model.contexts]
    other = [model.in_context("A").score(x.lower() * 3) for x in model.contexts]
    assert sum(own) < sum(other)


def test_bayes_rule_is_applied_to_every_context(folder, tmp_path, capsys):
    _, saved = lookup.read_with_contexts(folder, "lstm")
    text = "bb bbb b"
    ids = saved.vocab.encode(text)
    nats = by_context.losses(saved.conditioned_network(), ids)
    for k, name in enumerate(saved.contexts.names):
        (each,) = losses.stateful_losses(saved.in_context(name).to_network(), [ids])
        assert nats[k] == pytest.approx(each.sum(), rel=1e-5)
    likelihood = np.exp(-nats)
    expected = likelihood / likelihood.sum()
    np.testing.assert_allclose(by_context.probabilities(nats), expected, rtol=1e-9)
    assert expected.argmax() == 1
    far = by_context.probabilities(np.array([[1e5, 1e5 + 1, 2e5]]))
    np.testing.assert_allclose(far, [[1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]], atol=1e-12)
    (tmp_path / "x.txt").write_text(text)
    given = [str(tmp_path / "x.txt"), "--run", "lstm", "--runs-dir", str(folder)]
    assert score.main([*given, "--by-context"]) == 0
    name, titles, *rows = capsys.readouterr().out.splitlines()
    assert name.endswith("x.txt, 7 characters")
    assert titles.split() == ["probability", "bits/char", "folder"]
    assert [row.split()[2] for row in rows] == [saved.contexts.names[k] for k in nats.argsort()]
    assert float(rows[0].split()[0]) == pytest.approx(expected[1], abs=1e-4)
    assert score.main([*given, "--context", "b"]) == 0
    bits = float(capsys.readouterr().out.split()[-4])
    assert bits == pytest.approx(nats[1] / 7 / np.log(2), abs=1e-4)


def test_texts_are_written_in_a_context_or_side_by_side(folder, capsys):
    _, saved = lookup.read_with_contexts(folder, "lstm")
    given = ["lstm", "--runs-dir", str(folder), "--seed", "5", "--length", "60"]
    expected = {}
    for name in (None, "B", "C"):
        plain = saved.in_context(name)
        args = 60, [0.8], 5, None
        (expected[name],) = generate.whole_texts(plain.to_network(), plain.vocab, *args, prompt="a")
        flags = [] if name is None else ["--context", name.lower()]
        assert sample.main([*given, "--prompt", "a", *flags]) == 0
        out, err = capsys.readouterr()
        assert out == f"a{expected[name]}\n"
        assert ("commands with --context NAME can use one: A, B, C, D" in err) == (name is None)
    assert charlm.load(folder / "lstm", context="B").generate("a", 60, seed=5) == [expected["B"]]
    assert sample.main([*given, "--prompt", "a", "--context", "B", "--context", "c"]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.split() == ["B", "|", "C"]
    left = " ".join(row.partition("  |  ")[0].strip() for row in rows[1:])
    assert left.split() == f"a{expected['B']}".split()


@pytest.mark.full
def test_a_page_and_an_export_are_of_one_context(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = ["lstm", "--runs-dir", str(folder)]
    assert export.main([*runs, "--context", "B", "--output", "b.keras"]) == 0
    _, saved = lookup.read_best(folder, "lstm", "B")
    text = np.random.default_rng(1).choice(list(saved.vocab.characters), 2500)
    (tmp_path / "long.txt").write_text("".join(text))
    given = "--context", "B", "--output", "b", "--text", "long.txt"
    assert show.main([*runs, *given]) == 0
    assert "<title>Inside lstm in context B</title>" in (tmp_path / "b.html").read_text()
    import keras

    again = keras.saving.load_model(tmp_path / "b.keras")
    ids = np.array([[1, 2, 3]])
    expected = saved.to_network().forward(ids, saved.to_network().initial_states(1))[0]
    np.testing.assert_allclose(again(ids), expected, atol=1e-5)
    model = charlm.load(folder / "lstm", context="B").to_keras()
    np.testing.assert_allclose(model(ids), expected, atol=1e-5)


def test_a_window_of_earlier_versions_is_still_understood(folder, capsys):
    args = ["lstm", "--runs-dir", str(folder), "--context", "30", "--order", "2"]
    assert evaluate.main(args) == 0
    out, err = capsys.readouterr()
    assert "cold windows of 30" in out
    assert "NOTE: --context is now --window" in err


def test_a_model_says_its_context(folder):
    model = charlm.load(folder / "lstm")
    assert "in context unknown of 4" in repr(model)
    assert "in context B" in repr(model.in_context("B"))
    with pytest.raises(TypeError, match="name of a context, a str, found int"):
        model.in_context(3)


@pytest.mark.soak
def test_a_new_run_starts_from_the_mean_and_may_have_contexts(folder, tmp_path):
    write(tmp_path / "o", speeches(20, 30, seed=2))
    options = {"runs_dir": tmp_path, "init_from": folder / "lstm", "epochs": 1, "quiet": True}
    for field in (None, "folder"):
        name = f"o{field}"
        charlm.fit(str(tmp_path / "o"), name=name, context=field, **options, **SMALL)
        _, saved = lookup.read_with_contexts(tmp_path, name)
        assert saved.config.data.context == field
        assert (saved.contexts is None) == (field is None)


REFUSED = [  # a command, its arguments, and what it answers
    ("train", ["T", "--context", "president"], "which has folder, file; --context takes"),
    ("train", ["T", "--context", ""], "expected --context to be the name of a field"),
    ("train", ["x.csv", "--column", "a", "--context", "a"], "another column than --column"),
    ("train", ["T/A", "--context", "folder"], "found only 'A'; name another field"),
    ("train", ["--resume", "lstm", "--context", "file", "--epochs", "9"], "change --context"),
    ("sample", ["lstm", "--context", "Z"], "trained on, found 'Z'; give one of A, B, C, D"),
    ("sample", ["state-union", "--context", "Z"], "expected a run with contexts, found one"),
    ("sample", ["lstm", "--context", "A", "--context", "B", "-n", "2"], "one text for each of"),
    ("sample", ["lstm", "--context", "A", "--context", "B", "--beam", "2"], "one --context with"),
    ("score", ["T/A/00.txt", "--run", "state-union", "--by-context"], "a run with"),
    ("score", ["T/A/00.txt", "--run", "lstm", "--by-context", "--per-character"], "no effect"),
    ("evaluate", ["lstm", "--dynamic"], "cannot do that with contexts"),
    ("evaluate", ["lstm", "--context", "A"], "expected no --context, because evaluate measures"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "argv", "about"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused_in_one_line(folder, capsys, command, argv, about):
    before = sorted(folder.iterdir())
    argv = [str(folder / x.replace("T", "t")) if x.startswith("T") else x for x in argv]
    command = {"train": train, "sample": sample, "score": score, "evaluate": evaluate}[command]
    assert command.main([*argv, "--runs-dir", str(folder)]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert about in line
    assert sorted(folder.iterdir()) == before


def test_the_network_in_numpy_trains_without_contexts(folder, capsys):
    assert reference([str(folder / "t"), "--context", "folder", "--runs-dir", str(folder)]) == 2
    assert "expected no --context, because the NumPy network" in capsys.readouterr().err


@pytest.mark.full
def test_files_that_moved_to_another_folder_are_refused(folder, tmp_path, capsys):
    write(tmp_path / "t", speeches(40, 60))
    charlm.fit(
        str(tmp_path / "t"), name="r", units=4, epochs=1, context="folder", runs_dir=tmp_path,
        quiet=True, **SMALL,
    )  # fmt: skip
    (tmp_path / "t" / "A").rename(tmp_path / "t" / "AA")
    for command, argv in ((train, ["--resume", "r", "--epochs", "2"]), (evaluate, ["r"])):
        assert command.main([*argv, "--runs-dir", str(tmp_path)]) == 2
        assert "found others (new AA, missing A); put files" in capsys.readouterr().err


DAMAGE = {
    "no contexts": (meta("contexts", None), "expected contexts of --context president"),
    "contexts without a field": (meta("config.data.context", None), "contexts of --context None"),
    "one": (meta("contexts.names", ["A"]), "2 to 1000 contexts in order"),
    "out of order": (meta("contexts.names", ["B", "A", "C", "D"]), "contexts in order"),
    "twice": (meta("contexts.names", ["A", "A", "C", "D"]), "contexts in order"),
    "numbers": (meta("contexts.names", [1, 2, 3, 4]), "expected names of contexts"),
    "long": (meta("contexts.names", ["A", "B", "C", "D" * 201]), "expected names of contexts"),
    "more than rows": (
        lambda about: about["contexts"].update(names=[*"ABCDE"], counts=[1] * 5),
        "of shape",
    ),
    "fewer counts": (meta("contexts.counts", [1, 2, 3]), "a number of texts for each context"),
    "a count of none": (meta("contexts.counts", [1, 2, 3, 0]), "a number of texts for each"),
    "a share": (meta("contexts.counts", [1, 2, 3, 0.5]), "a number of texts for each context"),
    "very many": (meta("contexts.counts", [1, 2, 3, 2**64]), "a number of texts for each context"),
    "a name of two lines": (meta("contexts.names", ["A", "B", "C", "D\n"]), "names of contexts"),
    "a name that a terminal obeys": (
        meta("contexts.names", ["A", "B", "C", "\x1b[2J"]),
        "names of",
    ),
    "a field that a terminal obeys": (meta("config.data.context", "\x1b[2J"), "name of a field"),
    "no names": (meta("contexts", {}), "damaged"),
    "an old format": (
        meta("format", 3),
        "expected format 4 for tokens or contexts, found format 3",
    ),
}


def test_a_run_stored_before_contexts_were_counted_is_read():
    saved = training("lstm").snapshot()
    whole = checkpoint.to_bytes(saved)
    assert sum(checkpoint.from_bytes(whole).contexts.counts) == 11  # of 12 texts one is held out
    found = checkpoint.from_bytes(described(whole, lambda about: about["contexts"].pop("counts")))
    assert found.contexts == saved.contexts
    assert found.contexts.counts == ()


@pytest.mark.usual(4)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_description_with_other_contexts_is_refused(damage):
    change, about = DAMAGE[damage]
    whole = checkpoint.to_bytes(training("lstm").snapshot())
    with (
        pytest.raises(InputError, match=about),
        checkpoint.untrusted.refusals("file", "a whole weights file"),
    ):
        checkpoint.from_bytes(described(whole, change))
