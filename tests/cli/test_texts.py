"""Law: a text and its model's prompts are read alike; what is odd about a text has a line."""

import codecs
import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest

import charlm
from charlm import evaluate, sample, score, train
from charlm.errors import InputError
from charlm.reference import __main__ as reference
from corpora import Corpus, Document
from corpora.normalizing import normalized
from tests.conftest import SMALL_TEXT

ACCENTED = normalized("Déjà vu: un café très frappé, où l'été naît.\n" * 60, "nfd")
SMALL = ["--units", "4", "--batch-size", "4", "--window", "16", "--sample-length", "0"]
FORMS = {"nfc": normalized("café", "nfc"), "nfd": normalized("café", "nfd")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs on decomposed text, one of them normalized; made once."""
    folder = tmp_path_factory.mktemp("normalized")
    (folder / "text.txt").write_text(ACCENTED)
    with contextlib.chdir(folder):
        for form in ("none", "nfc"):
            argv = ["--corpus", "text.txt", "--name", form, "--epochs", "1", "--normalize", form]
            assert reference.main([*argv, *SMALL]) == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for form, text in FORMS.items():
        Path(f"{form}.txt").write_text(text * 9)
    capsys.readouterr()
    return tmp_path


def printed(capsys, command, argv):
    assert command.main(argv) == 0
    return capsys.readouterr()[0]


def test_a_run_keeps_the_form_and_every_command_uses_it(here, capsys):
    found = json.loads(Path("saved_models/nfc/run.json").read_text())
    assert found["config"]["data"]["normalize"] == "nfc"
    assert "\u0301" not in charlm.load("nfc").vocabulary
    texts = {
        printed(capsys, sample, ["nfc", "--seed", "1", "--length", "30", "--prompt", prompt])
        for prompt in FORMS.values()
    }
    assert len(texts) == 1
    for form, prompt in FORMS.items():
        Path("prompt.txt").write_bytes(codecs.BOM_UTF8 + prompt.encode())
        argv = ["nfc", "--seed", "1", "--length", "30", "--prompt-file", "prompt.txt"]
        assert {printed(capsys, sample, argv)} == texts
        argv = ["nfc", "--length", "9", "--beam", "2", "--stop", prompt]
        printed(capsys, sample, argv)
        found = printed(capsys, score, [f"{form}.txt", "--run", "nfc"])
        assert re.search(r"^ +35 ", found, re.M)  # 36 letters, not 45
        found = printed(capsys, evaluate, ["nfc", "--corpus", f"{form}.txt", "--passages", "0"])
        assert "nfc/best.weights.h5: 35 characters" in found or "35 characters" in found
    assert (
        evaluate.main(["nfc", "--passages", "0"]) == 0
    )  # the stored text has the same fingerprint


def test_python_uses_it_too(here):
    model = charlm.load("nfc")
    found = [
        (model.generate(text, 20, seed=1, stop=text[3:]), model.score(text * 9))
        for text in FORMS.values()
    ]
    assert found[0] == found[1]


def test_without_it_a_prompt_that_would_be_known_gets_a_hint(here, capsys):
    argv = ["none", "--length", "5", "--seed", "1", "--prompt"]
    assert sample.main([*argv, FORMS["nfd"]]) == 0
    for prompt, hint in ((FORMS["nfc"], True), (FORMS["nfc"] + "\u2603", False)):
        capsys.readouterr()
        assert sample.main([*argv, prompt]) == 2
        assert ("in the Unicode form NFD it has only known" in capsys.readouterr()[1]) == hint
    with pytest.raises(InputError, match=r"form NFD .* train with --normalize nfc"):
        charlm.load("none").generate(FORMS["nfc"])


def test_training_normalizes_text_and_prompts_as_the_run_that_it_starts_from(here):
    corpus = Corpus("mine", (Document("a", ACCENTED),))
    prompts = {"sample_prompts": (FORMS["nfd"],), "sample_length": 5}
    small = {"batch_size": 8, "window": 64, "epochs": 1, "quiet": True}
    model = charlm.fit(corpus, name="a", init_from="nfc", **prompts, **small)
    assert model.config.data.normalize == "nfc"
    assert model.vocabulary == charlm.load("nfc").vocabulary


@pytest.mark.parametrize(
    ("flags", "form"),
    [([], "nfc"), (["--normalize", "none"], "none"), (["--normalize=nfd"], "nfd")],
)
def test_the_command_takes_the_form_from_the_run_that_it_starts_from(
    here, monkeypatch, flags, form
):
    started = []
    monkeypatch.setattr("charlm.api.runs.start", lambda *args: started.append(args))
    assert train.main(["--corpus", "text.txt", "--init-from", "nfc", *flags]) == 0
    ((config, corpus, *_),) = started
    assert config.data.normalize == form
    assert corpus.documents[0].text == normalized(ACCENTED, form)


def test_oddities_of_a_text_have_a_line_each_in_training_and_evaluation(here, capsys):
    Path("d").mkdir()
    for k in range(20):
        Path(f"d/{k:02}.txt").write_text(SMALL_TEXT[:200])
    Path("d/05.txt").write_text(f"{SMALL_TEXT[:200]}\ufeff☃")
    Path("d/picture.png").write_bytes(bytes(99))
    Path("d/19.txt").write_bytes(SMALL_TEXT[:200].encode("utf-16"))
    argv = ["--corpus", "d", "--name", "d", "--epochs", "1", *SMALL]
    assert reference.main(argv) == 0
    said = capsys.readouterr()[1].splitlines()
    for words in (
        "read d/19.txt as utf-16",
        "skipped 1 of 21 files, which are binary: d/picture.png",
        "removed 1 byte order mark within d/05.txt",
        "1 of 2 held-out documents (200 of 401 held-out characters) also stand in the training",
        "occur only in held-out text: 1 ('☃'), 1 of 401 held-out characters",
    ):
        assert [words in line for line in said].count(True) == 1, (words, said)
    assert evaluate.main(["d", "--passages", "0"]) == 0
    again = capsys.readouterr()[1].splitlines()
    assert {line for line in said if line.startswith("NOTE")} <= {*again}


def test_offline_the_details_are_shown_with_debug(here, capsys, monkeypatch):
    monkeypatch.setattr("nltk.data.path", ["/nowhere/nltk"])
    monkeypatch.setattr("nltk.download", lambda *a, **k: False)
    for flags in ([], ["--debug"]):
        for argv in (["--batch-size", "999999"], ["--corpus", "state_union"]):
            assert reference.main([*argv, *flags]) == 2
            lines = capsys.readouterr()[1].splitlines()
            assert any("/nowhere/nltk" in line for line in lines) == bool(flags)
            assert flags or len(lines[0]) <= 160
