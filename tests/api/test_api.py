"""Law: from Python charlm does what its commands do, to the bit, and raises where they exit."""

import subprocess
import sys
import threading
from html.parser import HTMLParser

import numpy as np
import pytest

import charlm
from charlm import notes, sample, score, train
from charlm.errors import InputError
from charlm.runs import lookup
from tests.conftest import SMALL_TEXT

SETTINGS = {"units": 7, "batch_size": 4, "window": 8, "epochs": 2, "sample_length": 5,
            "precision": "fp32"}  # fmt: skip
FLAGS = "--units 7 --precision fp32 --batch-size 4 --window 8 --epochs 2 --sample-length 5"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs: `api` was trained from Python, `command` by the command."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "small.txt").write_text(SMALL_TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        charlm.fit("small.txt", preset="quick", name="api", quiet=True, **SETTINGS)
        argv = f"--corpus small.txt --preset quick --name command {FLAGS}"
        assert train.main(argv.split()) == 0
    return folder / "saved_models"


@pytest.fixture
def model(runs):
    return charlm.load("api", runs_dir=runs)


def test_fit_trains_what_the_command_trains(runs):
    mine, theirs = (charlm.load(name, runs_dir=runs) for name in ("api", "command"))
    assert mine.config == theirs.config
    assert mine.weights.keys() == theirs.weights.keys()
    for name, w in mine.weights.items():
        np.testing.assert_array_equal(w, theirs.weights[name])
    assert {p.name for p in (runs / "api").iterdir()} == {
        p.name for p in (runs / "command").iterdir()
    }


def test_quiet_prints_nothing(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    capfd.readouterr()
    found = charlm.fit("small.txt", name="a", quiet=True, **SETTINGS | {"epochs": 1})
    assert capfd.readouterr() == ("", "")
    assert [row["epoch"] for row in found.history] == [1]


def test_generate_draws_what_the_command_draws(model, runs, capsys):
    expected = model.generate("It was", 30, 0.7, 3, seed=5, top_k=4, stop="f", min_length=2)
    flags = "--prompt It --length 30 --temperature 0.7 --seed 5 -n 3 --top-k 4 --stop f"
    argv = ["api", "--runs-dir", str(runs), *flags.replace("It", "It§was").split()]
    argv = [word.replace("§", " ") for word in argv]
    assert sample.main([*argv, "--min-length", "2"]) == 0
    out = capsys.readouterr().out
    for k, text in enumerate(expected, 1):
        assert f"--- {k} ---\nIt was{text}\n" in out


def test_a_text_depends_on_its_place_not_on_their_number(model):
    one, three = model.generate(length=20, seed=3), model.generate(length=20, seed=3, n=3)
    assert three[0] == one[0]
    assert len(set(three)) == 3
    assert "".join(model.stream(length=20, seed=3)) == one[0]
    assert model.generate(length=20) != model.generate(length=20)


def test_score_is_what_the_command_measures(model, runs, tmp_path, capsys):
    text = "it was of it"
    path = tmp_path / "t.txt"
    path.write_text(text)
    assert score.main([str(path), "--run", "api", "--runs-dir", str(runs)]) == 0
    assert f" {model.score(text):.4f} " in capsys.readouterr().out
    each = model.score(text, per_character=True)
    assert each.shape == (len(text) - 1,)
    assert each.mean() == pytest.approx(model.score(text), rel=1e-6)


def test_the_keras_model_has_the_same_probabilities(model):
    text = "the worst of it"
    ids = np.array([[model.vocabulary.index(c) for c in text]])
    logits = np.asarray(model.to_keras()(ids))[0]
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    bits = -log_p[np.arange(len(text) - 1), ids[0, 1:]] / np.log(2)
    np.testing.assert_allclose(bits, model.score(text, per_character=True), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m: m.generate("Ä"), "'Ä'"),
        (lambda m: m.generate(top_p=1.5), "expected top_p to be above 0"),
        (lambda m: m.generate(temperature=-1), "expected temperature to be a finite number"),
        (lambda m: m.generate(n=0), "expected n to be a whole number from 1 to 10000, found 0"),
        (lambda m: m.stream(length=0), "expected length to be a whole number, 1 or more, found 0"),
        (lambda m: m.generate(stop=["a", ""]), "expected stop to be strings of one character"),
        (lambda m: m.generate(length=2.5), "expected length to be a whole number"),
        (lambda m: m.generate(seed="a"), "seed to be None, or a whole number, 0 or more, found a"),
        (lambda m: m.generate(temperature="0.5"), "temperature to be a number, found '0.5'"),
        (lambda m: m.generate(top_k=2.5), "expected top_k to be a whole number, found 2.5"),
        (lambda m: m.stream(top_p=None), "expected top_p to be a number, found None"),
        (lambda m: m.generate(stop=(x for x in ["a", 3])), "expected stop to be strings of one"),
        (lambda m: m.generate(stop=3), "expected stop to be strings of one character or more"),
        (lambda m: m.generate(min_length="1"), "expected min_length to be from 0 to length"),
        (lambda m: m.generate(repetition_length=9), "repetition_length"),
        (lambda m: m.generate(min_length=9, length=3), "expected min_length to be from 0 to"),
        (lambda m: charlm.fit("x.txt", tensorboard=True), "tensorboard is an option of"),
        (lambda m: charlm.fit("x.txt", activation="sine"), "one of tanh, relu, linear"),
        (lambda m: m.score("a"), "expected a text of 2 characters or more, found 1"),
        (lambda m: charlm.load("nothing"), "found nothing, which does not exist"),
        (lambda m: charlm.fit("x.txt", unit=3), "found unit; did you mean units"),
        (lambda m: charlm.fit("x.txt", units="3"), "expected units to be a whole number, found"),
        (lambda m: charlm.fit("x.txt", units=0), "expected units to be from 1"),
        (lambda m: charlm.fit("x.txt", preset="fast"), "expected preset to be one of quick"),
        (lambda m: charlm.fit("x.txt"), "found 'x.txt', which is none of them"),
    ],
)
def test_what_is_wrong_is_raised_in_terms_of_arguments(
    model, call, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=expected) as caught:
        call(model)
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert isinstance(caught.value, InputError) or "none of them" in expected


def test_weights_are_read_only(model):
    before = model.score("it was")
    for w in model.weights.values():
        with pytest.raises(ValueError, match="read-only"):
            w[...] = 0
    assert model.score("it was") == before


def test_numbers_of_numpy_are_numbers(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected units to be from 1"):
        charlm.fit("x.txt", units=np.int64(0), learning_rate=np.float32(0.5))


def test_notes_of_two_threads_that_overlap_are_not_lost(capsys):
    """Each silences its own."""
    started, done = threading.Event(), threading.Event()

    def other():
        with notes.silenced():
            started.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with notes.silenced():
        thread.start()
        started.wait(10)
    notes.note("heard")
    done.set()
    thread.join()
    notes.note("too")
    assert capsys.readouterr().err == "heard\ntoo\n"


def test_a_model_says_what_it_is(model, runs):
    best = min(row["val_bpc"] for row in model.history)
    path = runs / "api" / lookup.BEST
    assert repr(model).startswith("<LanguageModel lstm 1 x 7, ")
    assert f"{best:.4f} held-out bits per character from {path}>" in repr(model)


def test_the_names_are_there_and_importing_charlm_is_light():
    code = """if True:
        import sys, charlm
        assert not {"keras", "numpy", "tyro", "h5py"} & set(sys.modules), "loaded too much"
        assert all(getattr(charlm, name) is not None for name in charlm.__all__)
        assert set(charlm.__all__) <= set(dir(charlm))
        from charlm import *
        assert layers.LSTM
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        charlm.lod  # noqa: B018


def test_show_makes_a_page_that_a_notebook_shows_in_a_sandbox(model):
    class Frame(HTMLParser):
        def handle_starttag(self, tag, attrs):
            self.found = tag, dict(attrs)

    page = model.show("the end", weights="int8")
    assert page.html.startswith("<!doctype html>")
    frame = Frame()
    frame.feed(page._repr_html_())
    tag, attributes = frame.found
    assert tag == "iframe"
    assert attributes["srcdoc"] == page.html
    assert set(attributes["sandbox"].split()) == {"allow-scripts", "allow-downloads"}
    assert len(repr(page)) < 100
    assert len(model.show().html) > len(page.html)  # a longer text, more bits
    for unknown in ("\u2603", ""):
        with pytest.raises(charlm.InputError, match="that the model knows, found none"):
            model.show(unknown)
    with pytest.raises(charlm.InputError, match="weights"):
        model.show(weights="fp8")
    with pytest.raises(TypeError):
        model.show(3)
