"""Law: a run of records samples whole records, wherever it samples."""

import csv
import json
import re

import numpy as np
import pytest

import charlm
from charlm import evaluate, sample, train
from charlm.config import Config, DataConfig
from charlm.errors import InputError
from charlm.generation import generate
from charlm.reference import __main__ as reference
from charlm.runs import checkpoint
from corpora import Corpus, Document

NAMES = [f"{a}{b}{c}" for a in ("An", "Be", "Carl", "Do") for b in "aeiou" for c in ("", "s", "ta")]
SETTINGS = {"units": 8, "batch_size": 2, "window": 8, "epochs": 1, "sample_length": 40,
            "precision": "fp32", "restart_every": 2, "quiet": True}  # fmt: skip
SMALL = ["--batch-size", "2", "--window", "8", "--epochs", "1", "--units", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Names, a line each and in a table, and a run on the lines, which Python gave as a corpus."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    with open(folder / "names.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "name"], *enumerate(NAMES)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        corpus = Corpus("names.txt", (Document("names.txt", (folder / "names.txt").read_text()),))
        charlm.fit(corpus, name="lines", records="line", **SETTINGS)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def lines_of(folder):
    """The samples of a run's epochs."""
    text = (folder / "samples.txt").read_text()
    return re.findall(r"--- temperature \S+ ---\n((?:.|\n)*?)\n(?=\n---|\n===|\Z)", text)


def test_samples_of_an_epoch_end_where_a_record_ends(here):
    found = lines_of(here / "saved_models" / "lines")
    assert len(found) == 4
    assert all("\n" not in text.rstrip("\n") for text in found)


def test_python_and_the_command_draw_one_record_after_a_separator(here, capsys):
    model = charlm.load("lines")
    found = model.generate(n=20, length=30, seed=4)
    free = generate.texts(model._network, model._checkpoint.vocab, "\n", 30, [0.8] * 20, 4)
    free = ["".join(text) for text in zip(*free, strict=True)]
    assert found == [re.match(r"[^\n]*\n?", text)[0] for text in free]
    assert "".join(model.stream(length=30, seed=4)) == found[0]
    assert sample.main(["lines", "--length", "30", "--seed", "4"]) == 0
    assert capsys.readouterr().out == f"{found[0]}\n"
    assert sample.main(["lines", "--length", "30", "--seed", "4", "--min-length", "9"]) == 0
    assert len(capsys.readouterr().out) > 9


def test_a_stop_of_ones_own_replaces_the_separator(here):
    found = charlm.load("lines").generate(n=20, length=60, seed=4, stop="aa")
    assert any("\n" in text.rstrip() for text in found)


def test_the_settings_are_stored_and_kept_on_resume(here, capsys):
    path = here / "saved_models" / "lines"
    saved = checkpoint.read(path / "last.weights.h5").config
    assert (saved.data.records, saved.data.column) == ("line", None)
    argv = ["--resume", "lines", "--epochs", "2"]
    assert train.main([*argv, "--records", "blank"]) == 2
    assert "cannot change --records on --resume" in capsys.readouterr().err
    assert train.main(argv) == 0
    assert len(lines_of(path)) == 8


def test_older_files_have_no_records():
    stored = Config().to_dict()
    for name in ("records", "column"):
        assert stored["data"].pop(name) is None
    assert Config.from_dict(stored) == Config()
    assert Config().data.separator is None


def test_a_column_of_a_table(here, capsys):
    argv = ["--corpus", "names.csv", "--column", "name", "--name", "table", *SMALL]
    assert train.main(argv) == 0
    kept = len("".join(f"{n}\n\n" for k, n in enumerate(NAMES) if k % 10 != 5))
    assert f"{kept:,} characters to train on" in capsys.readouterr().out
    for again in ([], ["--corpus", "names.csv"]):  # the same table
        assert evaluate.main(["table", "--window", "5", *again]) == 0
        assert "names.csv" in capsys.readouterr().out
    assert not {*charlm.load("table").vocabulary} & {*"0123456789,"}


def test_the_numpy_network_trains_on_records(here, capsys):
    argv = ["--corpus", "names.txt", "--records", "line", "--units", "5", "--batch-size", "2"]
    argv += ["--window", "8", "--epochs", "1", "--text-file", "text.txt", "--overwrite"]
    assert reference.main([*argv, "--name", "numpy"]) == 0
    assert (here / "text.txt").read_text().count("\n") <= 1


@pytest.mark.parametrize(
    ("name", "settings", "note"),
    [("many.txt", {}, "NOTE: many.txt may be many short texts of one line; --records line "),
     ("names.csv", {}, "NOTE: names.csv may be a table; --column NAME "),
     ("many.txt", {"records": "line"}, ""), ("names.csv", {"column": "name"}, "")],
)  # fmt: skip
def test_a_file_that_looks_like_records_gets_one_line(here, capsys, name, settings, note):
    (here / "many.txt").write_text("".join(f"Name {k}\n" for k in range(150)))
    with pytest.raises(InputError, match="sample-prompts"):  # before anything is made
        charlm.fit(name, sample_prompts=("€",), **SETTINGS | settings | {"quiet": False})
    err = capsys.readouterr().err
    assert err.startswith(note)
    assert err.count("\n") == bool(note)


def test_the_settings_survive_json():
    data = DataConfig(records=r"\n%\n", column="text")
    assert data.separator == "\n%\n"
    config = Config(data=data)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_character_is_in_one_part(here):
    text = charlm.cli.text(charlm.cli.corpus(DataConfig("names.txt", records="line")))
    assert len(text.training) + len(text.held_out) == len("\n".join(NAMES)) + 1
    np.testing.assert_array_equal(text.held_out_lengths, [len(text.held_out)])
