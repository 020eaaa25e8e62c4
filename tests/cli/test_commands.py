"""Law: a command does its work, or says in one line why not, exits 2 and leaves nothing behind."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charlm import evaluate, gradients, sample, score, train
from charlm.reference import __main__ as reference
from charlm.runs import atomic, checkpoint, run_folder
from tests.conftest import SMALL_TEXT

TRAIN = ["--units", "8", "--batch-size", "4", "--window", "16", "--sample-length", "10"]
FLOAT = ["--precision", "fp32"]  # on every machine


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    """An empty folder to work in, with the text small.txt and none of NLTK's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nltk.data.path", [])
    monkeypatch.setattr("nltk.download", lambda *a, **k: False)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of two epochs, named a, made once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.txt").write_text(SMALL_TEXT)
    with contextlib.chdir(folder):
        argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "2", *TRAIN, *FLOAT]
        assert train.main(argv) == 0
    return folder / "saved_models"


@pytest.fixture
def run(here, trained, capsys):
    """A copy of it."""
    shutil.copytree(trained, here / "saved_models")
    capsys.readouterr()
    return here / "saved_models" / "a"


def one_line_and_nothing_made(capsys, before, code, expected, folder):
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    assert re.search(expected, err), err
    assert snapshot(folder) == before


def snapshot(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


# --- the work ---


def test_train_makes_a_run_and_tells_of_it(run):
    made = {p.name for p in run.iterdir()} - {".lock"}
    assert made == {
        "last.weights.h5", "best.weights.h5", "run.json", "history.csv", "steps.csv", "samples.txt",
        "loss.png",
    }  # fmt: skip
    summary = json.loads((run / "run.json").read_text())
    assert summary["progress"]["epoch"] == 2
    assert summary["config"]["model"]["units"] == 8
    rows = (run / "history.csv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[0] == "epoch,bpc,chars_per_second,learning_rate,loss,val_bpc,val_loss"
    assert (run / "samples.txt").read_text().count("--- temperature") == 8
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_train_says_where_it_runs_and_how_it_goes(here, capsys):
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "1", *TRAIN, *FLOAT]
    assert train.main(argv) == 0
    out, _ = capsys.readouterr()
    preset, adapted, *lines = out.splitlines()
    assert preset.startswith("preset default: ")
    assert adapted.startswith("for a text of 1,908 characters: --dropout 0.3")
    assert lines.pop(0).startswith("hint: 1,908 characters are too few to learn a language from")
    assert re.match(
        r"\w+ on .*; LSTM 1 x 8, compiled backward pass; [\d,]+ parameters; 1,908 characters "
        r"to train on, 211 held out; vocabulary \d+; saved_models/a",
        lines[0],
    )
    ready = (
        r"ready in ([\d.]+) s: corpus ([\d.]+), import ([\d.]+), build ([\d.]+), compile ([\d.]+)"
    )
    whole, *parts = map(float, re.fullmatch(ready, lines[1]).groups())
    assert whole == pytest.approx(sum(parts), abs=0.3)  # each is rounded
    assert re.match(r"epoch 1/1  train [\d.]+  held-out [\d.]+ bits/char  [\d,]+ chars/s", lines[2])
    assert "--- temperature 0.5 ---" in lines
    assert "python -m charlm.sample saved_models/a" in lines[-1]


def test_train_measures_on_no_more_than_asked_and_says_so(here, capsys):
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "1", *TRAIN]
    assert train.main([*argv, "--max-held-out", "100"]) == 0
    assert "1,908 characters to train on, 99 of 212 held out;" in capsys.readouterr()[0]


@pytest.mark.soak
def test_a_run_goes_on_with_its_text_in_the_cache(run, here, capsys, monkeypatch):
    """And is the same run: as if the text had grown large."""
    shutil.copytree(run, run.with_name("b"))
    argv = ["--epochs", "3", "--decay-epochs", "3"]
    assert train.main(["--resume", "a", *argv]) == 0
    monkeypatch.setattr("charlm.text.encode.IN_MEMORY", 0)
    monkeypatch.setenv("CHARLM_CACHE", str(here / "cache"))
    capsys.readouterr()
    assert train.main(["--resume", "b", *argv]) == 0
    assert list((here / "cache").glob("*.ids"))
    one, other = (checkpoint.read(run.with_name(n) / "last.weights.h5") for n in "ab")
    assert one.progress.history[-1]["loss"] == pytest.approx(other.progress.history[-1]["loss"])
    assert one.progress.best == pytest.approx(other.progress.best)


@pytest.mark.product(2)
@pytest.mark.full
@pytest.mark.parametrize(
    ("cell", "layer", "how"),
    [
        ("gru", "GRU", "compiled"),
        ("rnn", "SimpleRNN", "compiled"),
        ("coupled", "CoupledLSTM", "compiled"),
        ("keras-lstm", "Keras's LSTM", "Keras's"),
        ("keras-gru", "Keras's GRU", "Keras's"),
        ("keras-rnn", "Keras's SimpleRNN", "Keras's"),
    ],
)
def test_every_cell_trains_and_writes(here, capsys, cell, layer, how):
    argv = ["--corpus", "small.txt", "--name", "a", "--cell", cell, "--layers", "2", *TRAIN]
    argv += ["--learning-rate", "0.02", "--dropout", "0.1", "--skip", "add"]
    assert train.main([*argv, "--epochs", "2", *FLOAT]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"; {layer} 2 x 8, {how} backward pass; " in out
    bits = [float(b) for b in re.findall(r"train [\d.]+  held-out ([\d.]+)", out)]
    assert bits[1] < bits[0] < 4.2
    assert sample.main(["a", "--length", "30", "--seed", "1"]) == 0


@pytest.mark.soak
def test_ours_and_keras_own_cell_are_the_same_run(here, capsys):
    """The same first weights by the seed, the same losses to the digits shown."""
    argv = ["--corpus", "small.txt", "--epochs", "2", "--learning-rate", "0.01", *TRAIN]
    told = []
    for cell in ("gru", "keras-gru"):
        assert train.main([*argv, "--cell", cell, "--name", cell]) == 0
        out, _ = capsys.readouterr()
        told.append([float(x) for x in re.findall(r"(?:train|held-out) ([\d.]+)", out)])
    assert len(told[0]) == 5
    assert told[0] == pytest.approx(told[1], abs=2e-3)


@pytest.mark.soak
@pytest.mark.parametrize("cell", ["lstm", "keras-lstm"])
def test_train_in_half_precision_and_in_another_on_resume(here, capsys, cell):
    argv = ["--corpus", "small.txt", "--name", "a", "--cell", cell, "--epochs", "1", *TRAIN]
    assert train.main([*argv, "--precision", "bf16"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "LSTM 1 x 8 in bf16, " in out
    assert train.main(["--resume", "a", "--epochs", "2", "--precision", "fp16"]) == 0
    out, _ = capsys.readouterr()
    assert "precision bf16 -> fp16" in out
    assert "LSTM 1 x 8 in fp16, " in out
    assert sample.main(["a", "--length", "30", "--seed", "1"]) == 0


@pytest.mark.soak
def test_a_run_goes_on_with_keras_own_cell_in_the_place_of_ours(run, capsys):
    assert train.main(["--resume", "a", "--epochs", "3", "--cell", "keras-lstm"]) == 0
    out, _ = capsys.readouterr()
    assert "cell lstm -> keras-lstm" in out
    assert "Keras's LSTM 1 x 8" in out
    assert train.main(["--resume", "a", "--epochs", "4", "--cell", "lstm"]) == 0
    assert train.main(["--resume", "a", "--epochs", "5", "--cell", "gru"]) == 2
    assert "cannot change --cell on --resume: the run has --cell lstm" in capsys.readouterr().err


@pytest.mark.soak
def test_clipping_by_value_stands_in_for_clipping_by_norm(here):
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "1", *TRAIN]
    assert train.main([*argv, "--clip-norm", "0", "--clip-value", "0.001"]) == 0


@pytest.mark.product(2)
@pytest.mark.usual(1)
@pytest.mark.parametrize(
    "which", ["latest", "saved_models/a", "a", "saved_models/a/last.weights.h5"]
)
def test_resume_goes_on(run, capsys, which):
    assert train.main(["--resume", which, "--epochs", "3", "--learning-rate", "0.001"]) == 0
    out, _ = capsys.readouterr()
    assert re.match(r"resuming .*last.weights.h5 at epoch 3; changed: epochs 2 -> 3, learning", out)
    assert "epoch 3/3" in out
    assert "epoch 2/3" not in out
    rows = (run / "history.csv").read_text().splitlines()
    assert [r.split(",")[0] for r in rows] == ["epoch", "0", "1", "2"]


@pytest.mark.full
def test_resume_reads_its_flags_beside_the_run_s_settings(here, capsys):
    """Not beside the defaults, with which some of them could not stand."""
    argv = ["--corpus", "small.txt", "--name", "a", "--cell", "gru", "--reset", "before", *TRAIN]
    assert train.main([*argv, "--clip-norm", "0", "--clip-value", "5", "--epochs", "1"]) == 0
    more = ["--reset", "before", "--clip-value", "3", "--epochs", "2"]
    assert train.main(["--resume", "a", *more]) == 0
    assert "clip_value 5.0 -> 3.0" in capsys.readouterr().out


def test_resume_takes_the_flags_that_a_start_takes(run):
    assert train.main(["--resume", "a", "--epochs", "3", "--debug"]) == 0


def test_resume_drops_the_history_of_an_epoch_that_was_not_saved(run):
    with open(run / "history.csv", "a") as file:
        file.write("2,0,0,0,0,0,0\n")
    assert train.main(["--resume", "a", "--epochs", "3"]) == 0
    rows = (run / "history.csv").read_text().splitlines()
    assert len(rows) == 4
    assert rows[3] != "2,0,0,0,0,0,0"


def test_resume_finds_a_text_that_moved(run, here):
    Path("small.txt").rename("moved.txt")
    assert train.main(["--resume", "a", "--epochs", "3", "--corpus", "moved.txt"]) == 0


@pytest.mark.full
def test_a_run_that_died_before_its_first_save_leaves_its_name_free(here):
    folder = Path("saved_models/a")
    folder.mkdir(parents=True)
    for name in (run_folder.LOCK, run_folder.HISTORY, ".last.weights.h5.tmp"):
        (folder / name).write_text("x")
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "1", *TRAIN]
    assert train.main(argv) == 0
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    assert not (folder / ".last.weights.h5.tmp").exists()


def test_latest_is_the_run_saved_last_whatever_files_it_has(run, here, capsys):
    (run / "last.weights.h5").unlink()
    (run / "run.json").unlink()
    assert sample.main(["latest", "--length", "5", "--seed", "1"]) == 0


def test_overwrite_begins_anew(run):
    argv = ["--corpus", "small.txt", "--name", "a", "--epochs", "1", "--overwrite", *TRAIN]
    assert train.main(argv) == 0
    assert len((run / "history.csv").read_text().splitlines()) == 2
    assert (run / "samples.txt").read_text().count("=== epoch") == 1


@pytest.mark.parametrize("which", ["latest", "saved_models/a", "saved_models/a/best.weights.h5"])
def test_sample_writes_the_prompt_and_as_much_as_asked(run, capsys, which):
    argv = [which, "--length", "40", "--prompt", "It was", "--seed", "3"]
    assert sample.main(argv) == 0
    out, err = capsys.readouterr()
    assert out.startswith("It was")
    assert len(out) == 6 + 40 + 1
    assert err == ""
    assert sample.main(argv) == 0
    assert capsys.readouterr()[0] == out
    assert sample.main([*argv[:-1], "4"]) == 0
    assert capsys.readouterr()[0] != out


def test_sample_of_several_texts_begins_with_the_one_drawn_alone(run, capsys):
    argv = ["a", "--length", "30", "--seed", "3"]
    assert sample.main(argv) == 0
    alone = capsys.readouterr()[0]
    assert sample.main([*argv, "-n", "3"]) == 0
    texts = re.split(r"--- \d ---\n", capsys.readouterr()[0])[1:]
    assert len(texts) == 3
    assert texts[0] == alone
    assert len(set(texts)) == 3


def test_sample_tells_the_seed_it_took(run, capsys):
    assert sample.main(["a", "--length", "20"]) == 0
    out, err = capsys.readouterr()
    seed = re.fullmatch(r"\(--seed (\d+)\)\n", err)[1]
    assert sample.main(["a", "--length", "20", "--seed", seed]) == 0
    assert capsys.readouterr()[0] == out


def test_sample_takes_a_prompt_from_a_file_and_skips_what_it_does_not_know(run, capsys):
    Path("p.txt").write_text("It Xwas")
    argv = ["a", "--length", "5", "--prompt-file", "p.txt", "--seed", "1"]
    assert sample.main([*argv, "--unknown", "skip"]) == 0
    assert capsys.readouterr()[0].startswith("It was")


@pytest.mark.full
def test_without_the_default_corpus_training_goes_on_with_pydoc_and_says_so(here, capsys):
    small = ["--units", "2", "--batch-size", "64", "--window", "512", "--sample-length", "0"]
    assert train.main(["--name", "a", "--epochs", "1", *small]) == 0
    _out, err = capsys.readouterr()
    assert re.match(r"NOTE: the State of the Union corpus is missing .* reading 'pydoc'", err)
    assert len(err.splitlines()[0]) <= 160
    assert err.count("\n") == 1
    summary = json.loads(Path("saved_models/a/run.json").read_text())
    assert summary["config"]["data"]["corpus"] == "pydoc"  # so that a resumed run finds its text


# --- bad input ---


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--corpus", "none.txt"], "found 'none.txt', which is none of them"),
        (
            ["--corpus", "state_union"],
            "cannot find corpora/state_union.zip or download it; go online",
        ),
        (["--corpus", "empty.txt"], "expected text in corpus 'empty.txt', found none"),
        (["--corpus", "binary.bin"], "found a zero byte at offset 1; it seems to be binary"),
        (["--corpus", "latin.txt"], "expected utf-8 text in latin.txt, found byte e9 at offset 3"),
        (["--corpus", "small.txt", "--encoding", "x"], "encoding Python knows, found 'x'"),
        (["--corpus", "small.txt", "--encoding", "rot13"], "encoding Python knows, found 'rot13'"),
        (["--corpus", ""], "found '', which is none of them"),
        (["--corpus", "~nobody/x"], "found '~nobody/x', which is none of them"),
        (["--corpus", "small.txt", "--units", "1000000"], "--units to be from 1 to 16384"),
        (["--corpus", "small.txt", "--sample-temperatures"], "--sample-temperatures to be one or"),
        (["--corpus", "small.txt", "--name", "x" * 300], "--name to be the name of a folder"),
        (["--corpus", "small.txt", "--runs-dir", "small.txt"], "small.txt, which is not a folder"),
        (["--corpus", "short.txt"], "expected at least 17 characters to train on"),
        (["--corpus", "same.txt"], "at least 2 distinct characters in the corpus, found 1"),
        (
            ["--corpus", "small.txt", "--units", "0"],
            "expected --units to be from 1 to 16384, found 0",
        ),
        (["--corpus", "small.txt", "--units", "x"], "--units to be a whole number, found x"),
        (["--corpus", "small.txt", "--layers", "0"], "--layers"),
        (["--corpus", "small.txt", "--dropout", "1"], "--dropout to be from 0 to below 1"),
        (["--corpus", "small.txt", "--epochs", "0"], "--epochs"),
        (["--corpus", "small.txt", "--batch-size", "-1"], "--batch-size"),
        (["--corpus", "small.txt", "--window", "0"], "--window"),
        (["--corpus", "small.txt", "--learning-rate", "nan"], "--learning-rate"),
        (["--corpus", "small.txt", "--clip-norm", "-1"], "--clip-norm"),
        (["--corpus", "small.txt", "--max-held-out", "1"], "--max-held-out to be 0, or 2 or more"),
        (
            ["--corpus", "small.txt", "--precision", "fp8"],
            "--precision to be one of auto, .*, found fp8",
        ),
        (["--corpus", "small.txt", "--seed", "-1"], "--seed"),
        (["--corpus", "small.txt", "--sample-temperatures", "-1"], "--sample-temperatures"),
        (["--corpus", "small.txt", "--sample-prompts", "aZ"], "sample-prompts.*'Z'.*position 1"),
        (["--corpus", "small.txt", "--name", "../a"], "--name to be the name of a folder"),
        (["--corpus", "small.txt", "--name", "latest"], "--name to be the name of a folder"),
        (["--corpus", "small.txt", "--name", "other"], "something that is not a run"),
        (["--unit", "3"], "--unit.*did you mean --units"),
        (["--resume", "latest"], "expected a run in saved_models, found none"),
        (["--resume", "nowhere"], "found nowhere, which does not exist"),
        (["--resume", "saved_models/other"], "which has no weights in it"),
        (["--resume", "small.txt"], "found small.txt, with no run around it"),
        (["--resume", "x", "--name", "y"], "--resume alone"),
    ],
)
def test_train_refuses(here, capsys, argv, expected):
    Path("empty.txt").touch()
    Path("binary.bin").write_bytes(b"a\0b")
    Path("latin.txt").write_bytes(b"caf\xe9")
    Path("short.txt").write_text("abc" * 3)
    Path("same.txt").write_text("a" * 5000)
    Path("saved_models/other").mkdir(parents=True)
    Path("saved_models/other/thesis.txt").write_text("precious")
    before = snapshot(here)
    code = train.main(argv)
    one_line_and_nothing_made(capsys, before, code, expected, here)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["--corpus", "small.txt", "--name", "a"],
            "found a run; python -m charlm.train --resume saved_models/a resumes it",
        ),
        (["--resume", "a"], "expected epochs left to train, found 2 of 2 done; give --epochs"),
        (["--resume", "a", "--units", "9"], "cannot change --units .* --units 8, found --units 9"),
        (["--resume", "a", "--layers", "2"], "the run has --layers 1, found --layers 2"),
        (["--resume", "a", "--epochs", "3", "--corpus", "pydoc"], "text the run was trained on"),
        (["--resume", "a", "--epochs", "3", "--sample-prompts", "Z"], "'Z'"),
        (["--resume", "saved_models/a/best.weights.h5"], "best.weights.h5: .*damaged"),
    ],
)
def test_train_refuses_what_a_run_is_not(run, here, capsys, argv, expected):
    (run / "best.weights.h5").write_bytes((run / "last.weights.h5").read_bytes()[:5000])
    before = snapshot(here)
    code = train.main(argv)
    one_line_and_nothing_made(capsys, before, code, expected, here)


def test_train_refuses_another_text_on_resume(run, here, capsys):
    Path("small.txt").write_text("It was the age of wisdom.\n" * 80)
    before = snapshot(here)
    code = train.main(["--resume", "a", "--epochs", "3"])
    _out, err = capsys.readouterr()
    assert code == 2
    assert "expected" in err
    assert snapshot(here) == before


def test_train_refuses_a_run_in_use(run, here, capsys):
    with open(run / run_folder.LOCK, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = snapshot(here)
        code = train.main(["--resume", "a", "--epochs", "3"])
        _out, err = capsys.readouterr()
    assert code == 2
    assert re.fullmatch(
        rf"error: expected saved_models/a to be free, found it in use by process {os.getpid()}.*\n",
        err,
    )
    assert snapshot(here) == before


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere"], "found nowhere, which does not exist"),
        (["misfit.weights.h5"], r"dense/vars/0. of shape .8, 17., found .8, 16."),
        (["a", "-n", "20000"], "-n to be from 1 to 10000"),
        (["small.txt"], "small.txt: .*found no HDF5 file; charlm import"),
        (["a", "--temperature", "-1"], "--temperature to be a finite number, 0 or more, found -1"),
        (["a", "--temperature", "nan"], "--temperature"),
        (["a", "--length", "0"], "--length to be 1 or more, found 0"),
        (["a", "-n", "0"], "-n"),
        (["a", "--seed", "-1"], "--seed"),
        (["a", "--prompt", "It Xwas"], "'X' .U.0058. at position 3; --unknown skip"),
        (["a", "--prompt", "a", "--prompt-file", "small.txt"], "found both"),
        (["a", "--prompt-file", "none"], "cannot read UTF-8 text in none: "),
        (["a", "--unknown", "guess"], "--unknown"),
    ],
)
def test_sample_refuses(run, here, capsys, argv, expected):
    saved = checkpoint.read(run / "last.weights.h5")
    saved.weights["layers/dense/vars/0"] = saved.weights["layers/dense/vars/0"][:, 1:]
    Path("misfit.weights.h5").write_bytes(checkpoint.to_bytes(saved))
    before = snapshot(here)
    code = sample.main(argv)
    one_line_and_nothing_made(capsys, before, code, expected, here)


def test_other_commands_are_refused(capsys):
    from charlm.__main__ import main

    assert main(["trian"]) == 2
    commands = (
        "train, sample, evaluate, score, show, serve, tunes, gradients, memory, reference, bench, "
        "encode, import, export, help, completion"
    )
    assert capsys.readouterr()[1] == (
        f"error: expected a command ({commands}), found 'trian'; did you mean charlm train?\n"
    )


def test_every_command_answers_by_its_name(capsys):
    from charlm.__main__ import COMMANDS, main

    for name in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main([name, "--help"])
        assert left.value.code in (0, None)
        assert capsys.readouterr()[0].startswith(f"usage: charlm {name} ")


# --- what lies in a run's folder, and what cannot be written ---


@pytest.mark.parametrize("epochs", [2, 3])
def test_resume_writes_through_no_link_in_the_folder(run, here, capsys, epochs):
    """Neither of a run that has ended nor of one that goes on."""
    (here / "other").write_text("precious")
    (run / "loss.png").unlink()
    (run / "loss.png").symlink_to(here / "other")
    assert train.main(["--resume", "a", "--epochs", str(epochs)]) == (2 if epochs == 2 else 0)
    assert (here / "other").read_text() == "precious"
    assert not (run / "loss.png").is_symlink()
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_lock_that_is_a_hard_link_is_refused(run, here, capsys):
    (here / "other").write_text("precious")
    (run / ".lock").unlink()
    (run / ".lock").hardlink_to(here / "other")
    before = snapshot(here)
    code = train.main(["--resume", "a", "--epochs", "3"])
    one_line_and_nothing_made(capsys, before, code, r"cannot use .*\.lock: ", here)


def test_logs_that_lead_elsewhere_are_refused(run, here, capsys):
    (run / "tensorboard").symlink_to(here)
    before = snapshot(here)
    code = train.main(["--resume", "a", "--epochs", "3", "--tensorboard"])
    one_line_and_nothing_made(capsys, before, code, "no link among TensorBoard's logs", here)


def test_a_run_whose_curve_cannot_be_written_is_done_all_the_same(run, capsys):
    (run / "loss.png").unlink()
    (run / "loss.png").mkdir()
    assert train.main(["--resume", "a", "--epochs", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    *_, told, done = out.splitlines()
    assert told == "NOT SAVED: saved_models/a/loss.png (Is a directory); continuing without it"
    assert re.match(r"done: best held-out [\d.]+ bits/char in epoch \d; write text with", done)
    assert checkpoint.read(run / "last.weights.h5").progress.epoch == 3


@pytest.mark.full
def test_a_curve_that_cannot_be_drawn_changes_nothing_else(run, capsys, monkeypatch):
    def fails(history, steps):
        raise OSError("no folder\nfor fonts")

    monkeypatch.setattr("charlm.plots.loss_curve.draw", fails)
    assert train.main(["--resume", "a", "--epochs", "3"]) == 0
    *_, told, done = capsys.readouterr().out.splitlines()
    assert told == (
        "NOT SAVED: saved_models/a/loss.png (drawing it failed: no folder for fonts); continuing "
        "without it"
    )
    assert done.startswith("done: ")


def test_a_damaged_last_file_leads_to_the_best(run, capsys):
    data = bytearray((run / "last.weights.h5").read_bytes())
    data[5000] ^= 1
    (run / "last.weights.h5").write_bytes(data)
    assert train.main(["--resume", "a", "--epochs", "3"]) == 2
    err = capsys.readouterr().err
    best = "saved_models/a/best.weights.h5"
    assert err.endswith(f" --resume {best} resumes from the best epoch\n")
    assert train.main(["--resume", best, "--epochs", "3"]) == 0


@pytest.mark.parametrize("name", ["best.weights.h5", "last.weights.h5"])
def test_a_pipe_for_weights_is_refused_at_once(run, capsys, monkeypatch, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    monkeypatch.setitem(sys.modules, "keras", None)
    assert train.main(["--resume", "a", "--epochs", "3"]) == 2
    assert "found a pipe, socket or device; move it away" in capsys.readouterr().err
    assert sample.main(["a"]) == (2 if name.startswith("best") else 0)


NOT_ASKED_FOR = run_folder.UPDATES, run_folder.TRAINING_CELLS


def test_a_run_stays_private(run):
    for path in run.iterdir():
        path.chmod(0o600)
    (run / "best.weights.h5").unlink()
    (run / "samples.txt").unlink()
    assert train.main(["--resume", "a", "--epochs", "3", "--learning-rate", "0.01"]) == 0
    assert {p.name: p.stat().st_mode & 0o777 for p in run.iterdir()} == dict.fromkeys(
        {*run_folder.FILES, run_folder.LOCK} - {*run_folder.REPORTS, *NOT_ASKED_FOR}, 0o600
    )


@pytest.mark.full
def test_resume_says_that_samples_were_lost(run, capsys):
    size = os.path.getsize(run / "samples.txt")
    os.truncate(run / "samples.txt", 5)
    assert train.main(["--resume", "a", "--epochs", "3"]) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[0].startswith("resuming ")
    assert out.splitlines()[1] == (
        f"NOTE: saved_models/a/samples.txt has 5 bytes of the {size:,} that it had when the run "
        "was saved; the last samples in it are lost"
    )


EVALUATE = evaluate.main, ["a", "--window", "20", "--order", "3", "--output", "out"]
GRADIENTS = gradients.main, ["a", "--steps", "9", "--streams", "2", "--output", "out"]
REFERENCE = (
    reference.main,
    [
        *(
            "--corpus",
            "small.txt",
            "--units",
            "3",
            "--batch-size",
            "4",
            "--window",
            "16",
            "--name",
            "r",
        ),
        *("--epochs", "1", "--sample-length", "9", "--text-file", "out.txt", "--text-length", "9"),
    ],
)


@pytest.mark.usual(2)
@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        (EVALUATE, "out.png", 0),
        (EVALUATE, "out.json", 1),
        (GRADIENTS, "out.png", 0),
        (GRADIENTS, "out.csv", 1),
        (REFERENCE, "out.txt", 1),
        (REFERENCE, "saved_models/r/run.json", 0),
    ],
)
def test_what_cannot_be_written_is_named_and_the_rest_is_done(
    run, here, capsys, monkeypatch, command, name, code
):
    main, argv = command
    assert main(argv) == 0
    told, expected = capsys.readouterr()[0], snapshot(here).keys()
    for path in (*here.glob("out.*"), *here.glob("saved_models/r/*")):
        path.unlink()
    create = atomic._create

    def full(folder, temporary, data, model):
        if temporary.startswith(f".{Path(name).name}."):
            raise OSError(28, "No space left on device")
        create(folder, temporary, data, model)

    monkeypatch.setattr(atomic, "_create", full)
    assert main(argv) == code
    out, err = capsys.readouterr()
    line = f"NOT SAVED: {name} (No space left on device); continuing without it\n"
    assert (out + err).count(line) == 1
    assert snapshot(here).keys() == expected - {here / name}
    if main is not reference.main:
        assert out == told.replace(f", {name}", "").replace(f"{name}, ", "")
    else:
        assert out.splitlines()[-1].startswith("done: ")


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_text_file_that_is_none_is_refused(here, capsys, kind):
    if kind == "pipe":
        os.mkfifo("out.txt")
    else:
        Path("out.txt").symlink_to("small.txt" if kind == "link" else "nothing")
    before = snapshot(here)
    code = reference.main([*REFERENCE[1], "--overwrite"])
    one_line_and_nothing_made(capsys, before, code, "--text-file to be a (regular )?file", here)


# --- whole processes ---


def start(here, *argv):
    return subprocess.Popen(
        [sys.executable, "-m", "charlm", *argv],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.full
def test_continue_starts_resumes_and_ends(here, capsys):
    Path("other.txt").write_text(SMALL_TEXT + "x")
    Path("moved.txt").write_text(SMALL_TEXT)
    (run := Path("saved_models/c/run.json")).parent.parent.mkdir(exist_ok=True)

    def go(*argv):
        return train.main(["--name", "c", "--continue", *TRAIN, *argv])

    for epochs in (1, 2, 2):
        assert go("--corpus", "small.txt", "--epochs", str(epochs)) == 0
        assert json.loads(run.read_text())["progress"]["epoch"] == epochs
    assert capsys.readouterr().out.endswith("c is finished: 2 epochs are done\n")
    assert go("--corpus", "moved.txt", "--epochs", "2") == 0
    for wrong in (["--corpus", "other.txt"], ["--corpus", "none.txt"], ["--seed", "7"]):
        assert go("--epochs", "2", *wrong) == 2
    (Path("saved_models/c") / "history.csv").unlink()  # as of a run killed at its end
    assert go("--corpus", "small.txt", "--epochs", "2") == 0
    assert len(Path("saved_models/c/history.csv").read_text().splitlines()) == 3


def test_processes_of_a_launcher_are_joined_or_refused(here, capsys, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert train.main(["--corpus", "small.txt", "--name", "c"]) == 2
    assert "joins the 2 processes (Open MPI) that train --name c" in capsys.readouterr().err
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert train.main(["--corpus", "small.txt"]) == 2
    assert (
        capsys.readouterr().err == "error: expected --name for a run of 2 processes, found none\n"
    )
    assert not Path("saved_models").exists()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(here, number):
    Path("long.txt").write_text(SMALL_TEXT * 5)
    argv = ["--corpus", "long.txt", "--name", "a", "--epochs", "1000", "--quiet", *TRAIN]
    process = start(here, "train", *argv)
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == ""
    assert out.splitlines()[-1].endswith(
        "resume with: python -m charlm.train --resume saved_models/a"
    )
    progress = json.loads(Path("saved_models/a/run.json").read_text())["progress"]
    assert progress["epoch"] >= 1
    done = progress["epoch"] + 1
    assert train.main(["--resume", "a", "--epochs", str(done)]) == 0
    progress = json.loads(Path("saved_models/a/run.json").read_text())["progress"]
    assert (progress["epoch"], progress["step"]) == (done, 0)


def test_a_reader_that_goes_away_ends_it_quietly(run, here):
    with start(here, "sample", "a", "--length", "1000000", "--seed", "1") as process:
        assert process.stdout.read(20)
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


# --- sampling's rules; beginning with another run ---


def texts_of(capsys, *argv):
    assert sample.main(["a", "--length", "60", *argv]) == 0
    return capsys.readouterr()[0]


@pytest.mark.parametrize("more", [[], ["--top-k", "3"], ["--temperature", "0.5", "--stop", "t"]])
def test_texts_from_a_first_seed_are_those_of_each_seed(run, capsys, more):
    both = texts_of(capsys, "--first-seed", "7", "-n", "2", *more).split("--- ")
    assert [x.partition("\n")[2] for x in both[1:]] == [
        texts_of(capsys, "--seed", seed, *more) for seed in "78"
    ]


def test_texts_at_several_temperatures(run, capsys):
    argv = ["--seed", "3", "-n", "2", "--temperature"]
    both = texts_of(capsys, *argv, "0.5", "--temperature", "2")
    assert re.findall(r"--- .* ---", both) == [
        f"--- {k}, temperature {t} ---" for k, t in enumerate(("0.5", "0.5", "2", "2"), 1)
    ]
    assert texts_of(capsys, *argv, "0.5").split("\n")[1] == both.split("\n")[1]


def test_rules_and_stops_reach_the_sampler(run, capsys):
    seeded = ["--seed", "3", "--temperature", "2"]
    free = texts_of(capsys, *seeded)
    assert texts_of(capsys, *seeded, "--top-k", "1") == texts_of(capsys, "--temperature", "0")
    for rule in (["--top-k", "3"], ["--top-p", "0.5"]):
        assert texts_of(capsys, *seeded, *rule) != free
    again = ["--repetition-penalty", "1e9", "--repetition-length", "2"]
    text = texts_of(capsys, "--temperature", "0", *again).removesuffix("\n")
    pairs = [text[k : k + 2] for k in range(len(text) - 1)]
    assert len(set(pairs)) > len(pairs) - 3
    t = free.index("t")
    assert texts_of(capsys, *seeded, "--stop", "t") == free[: t + 1] + "\n"
    e = free.index("e", t + 1)
    argv = ["--stop", "zz", "--stop", "e", "--min-length", str(t + 2)]
    with pytest.raises(AssertionError):  # z is no character of the text
        texts_of(capsys, *seeded, *argv)
    capsys.readouterr()
    assert texts_of(capsys, *seeded, *argv[2:]) == free[: e + 1] + "\n"


def test_the_likeliest_texts(run, capsys):
    out = texts_of(capsys, "--beam", "4", "-n", "2", "--prompt", "It", "--length", "8")
    assert re.findall(r"--- (\d), [\d.]+ bits/char ---\nIt", out) == ["1", "2"]
    assert texts_of(capsys, "--beam", "1", "--length", "20").strip("\n") in texts_of(
        capsys, "--temperature", "0"
    )


@pytest.mark.full
def test_a_run_begins_with_another_s_weights(run, here, capsys):
    Path("other.txt").write_text("It was the Zest of times.\n" * 90)
    argv = ["--init-from", "a", "--corpus", "other.txt", "--name", "b", "--epochs", "1"]
    small = ["--batch-size", "4", "--window", "16", "--sample-length", "0"]
    assert train.main([*argv, *small, "--learning-rate", "1e-12", "--dropout", "0.5"]) == 0
    out, _ = capsys.readouterr()
    assert re.search(
        r"^starting from .*saved_models/a/best.weights.h5: 17 characters kept, 3 of them not in "
        r"this text; 1 new \('Z'\)$",
        out,
        re.MULTILINE,
    )
    first, then = (checkpoint.read(run.with_name(n) / "best.weights.h5") for n in "ab")
    assert then.config.model.units == 8
    assert (then.progress.epoch, len(then.vocab)) == (1, len(first.vocab) + 1)
    kept = then.vocab.encode(first.vocab.characters)
    for path in ("layers/lstm/cell/vars/0", "layers/dense/vars/1"):
        np.testing.assert_allclose(then.weights[path][kept], first.weights[path], atol=1e-6)
    assert train.main(["--resume", "b", "--epochs", "2"]) == 0
    capsys.readouterr()
    for text in ("small.txt", "other.txt"):  # both of which it has learned from
        assert score.main([text, "--run", "b", "--unknown", "skip"]) == 0
        assert "figures are of training text" in capsys.readouterr()[1]


def test_the_best_weights_name_the_place_that_a_text_has_moved_to(run, here, monkeypatch):
    from charlm.api import run_training

    monkeypatch.setattr(run_training, "train", lambda *args: None)  # no epoch becomes the best
    (here / "small.txt").rename(here / "moved.txt")
    before = checkpoint.read(here / "saved_models/a/best.weights.h5")
    argv = ["--resume", "a", "--epochs", "9", "--corpus", "moved.txt"]
    assert train.main(argv) == 0
    after = checkpoint.read(here / "saved_models/a/best.weights.h5")
    assert (before.config.data.corpus, after.config.data.corpus) == ("small.txt", "moved.txt")
    assert after.progress == before.progress
    assert all((after.weights[k] == w).all() for k, w in before.weights.items())
    (here / "moved.txt").rename(here / "again.txt")
    (here / "saved_models/a/best.weights.h5").write_bytes(b"damaged")
    assert train.main([*argv[:-1], "again.txt"]) == 0  # which needs only the last weights
