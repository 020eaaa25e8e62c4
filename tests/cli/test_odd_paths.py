"""Law: whatever lies where an option points, a command says in one line why it is of no use.

A row is an option and what lies there: it is refused with exit code 2, at once, and nothing is
made. Left out are the pairs that fit each other.
"""

import contextlib
import io
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import corpora
from charlm.__main__ import main
from charlm.config import Config, DataConfig, ModelConfig
from charlm.interop.keras_files import pytorch
from charlm.reference.network import initial_weights
from charlm.runs import lookup, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text import encode
from tests.cli.test_commands import one_line_and_nothing_made, snapshot
from tests.conftest import SMALL_TEXT

SECONDS = 20  # after which a command is taken to wait for something
SEED = "--seed 1 --length 9"

TEXTS = [
    "train --corpus {}",
    "train --resume a --corpus {}",
    "score {} --run a",
    "evaluate a --corpus {}",
    "gradients --corpus {}",
    "gradients a --corpus {}",
    "reference --corpus {}",
    "reference --init a --corpus {}",
    "import a.safetensors --vocab-from {}",
]
RUNS = [
    f"sample {{}} {SEED}",
    "evaluate {}",
    "score small.txt --run {}",
    "gradients {}",
    "export {}",
    "train --resume {}",
    "train --corpus small.txt --init-from {}",
    "reference --corpus small.txt --init {}",
]
FILES = [
    f"sample a --prompt-file {{}} {SEED}",
    "import {} --vocab-from small.txt",
    "import bare.safetensors --vocab {}",
]
STEMS = [
    "evaluate a --output {}",
    "gradients --corpus small.txt --steps 5 --output {}",
]
OUTPUTS = [
    *STEMS,
    "reference --corpus small.txt --text-file {}",
    "export a --format saved_model --output {}",
]
LATEST = [f"sample latest {SEED} --runs-dir {{}}", "train --resume latest --runs-dir {}"]
NEW_RUN = "reference --epochs 1 --corpus small.txt --units 4 --sample-length 0 --runs-dir {}"
BENCH = "bench --quick --out {}"
ODD = {
    "a long name": "x" * 300,
    "the longest name": "x" * 255,
    "a long path": "x/" * 2500 + "x",
    "below a file": "small.txt/x",
    "in no folder": "nofolder/x",
    "nobody's home": "~nosuchuser/x",
    "a folder": "folder",
    "a folder with a slash": "folder/",
    "this folder": ".",
    "nothing": "",
    "a pipe": "pipe",
    "a socket": "socket",
    "an endless device": "/dev/zero",
    "an empty device": "/dev/null",
    "a link to nowhere": "dangling",
    "a link to itself": "loop",
}
TAKEN = {  # beside the file that was asked for, with its ending
    "a pipe's": "pipe", "a socket's": "socket", "a link's": "dangling", "a loop's": "loop",
    "a folder's": "folder",
}  # fmt: skip
MORE = {"the folder above": "..", "two above": "../..", "the root": "/", "a slash": "new/"}
MORE |= {lies: f"taken by {name}" for lies, name in TAKEN.items()}
FOLDERS = {"a folder", "a folder with a slash", "this folder", "nothing"}
FREE = [lies for lies, at in ODD.items() if at in (*TAKEN.values(), "/dev/zero", "/dev/null")]
FIT = {
    # binary files in a folder are skipped, with a line that says so
    *((line, "this folder") for line in TEXTS if line.split()[0] not in ("score", "evaluate")),
    (OUTPUTS[2], "the longest name"),
    *((BENCH, lies) for lies in (*FOLDERS, "the longest name")),
    *((NEW_RUN, lies) for lies in (*FOLDERS, "the longest name", "in no folder", "nobody's home")),
    *((line, lies) for line in STEMS for lies in FREE if lies != "a folder"),
}
ROWS = [
    (line, lies)
    for line in (*TEXTS, *RUNS, *FILES, *OUTPUTS, *LATEST, NEW_RUN, BENCH)
    for lies in (*ODD, *(MORE if line in STEMS else ()))
    if (line, lies) not in FIT
]
CLOSED = {  # to whom may not read them
    "a file": "closed.txt",
    "a file in a folder": "closed/small.txt",
    "a folder": "closed",
    "a folder that has one": "half",
    "a folder that has one to look at": "seen",
}


def saved_run(corpus="small.txt"):
    """A run as training leaves it, but for the training."""
    own = encode.read(corpora.load("small.txt"))
    config = Config(ModelConfig(units=3), DataConfig(corpus=corpus, batch_size=2, window=5))
    weights = initial_weights(config.model, len(own.vocab), np.random.default_rng(1))
    return Checkpoint(config, own.vocab, own.sha256, Progress(), weights, [], [], {})


def fill(folder):
    """What the rows name, in the working folder."""
    Path("small.txt").write_text(SMALL_TEXT)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("odd").mkdir()
    os.mkfifo("odd/pipe")
    Path("odd/loop").symlink_to(".")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    Path("dangling").symlink_to("gone")
    Path("loop").symlink_to("loop")
    for name in TAKEN.values():
        Path(f"taken by {name}.png").symlink_to(name)
    saved = saved_run()
    run_folder.save_new(folder / "saved_models" / "a", saved, False)
    about = saved.config.model, saved.weights, saved.vocab, saved.corpus_sha256, []
    Path("a.safetensors").write_bytes(pytorch.to_bytes(*about))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    with contextlib.chdir(folder):
        fill(Path())
    return folder


@pytest.fixture
def here(filled, monkeypatch, capsys):
    monkeypatch.chdir(filled)
    capsys.readouterr()
    return filled


@contextlib.contextmanager
def time_limit():
    def late(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(folder, capsys, line, expected="expected|found|cannot", user=contextlib.nullcontext):
    before = snapshot(folder)
    with time_limit(), user():
        code = main(shlex.split(line))
    one_line_and_nothing_made(capsys, before, code, expected, folder)


def test_every_option_meets_every_oddity():
    assert len(ROWS) > 350


@pytest.mark.product(220)
@pytest.mark.usual(150)
@pytest.mark.parametrize(("line", "lies"), ROWS)
def test_refused(here, capsys, line, lies):
    refused(here, capsys, line.format(shlex.quote((ODD | MORE)[lies])))


@pytest.fixture(scope="module")
def closed():
    """A folder that everybody may enter, with things that only root may read."""
    with tempfile.TemporaryDirectory(prefix="charlm-closed-") as name, contextlib.chdir(name):
        os.chmod(name, 0o755)
        fill(Path())
        for inside in ("closed", "half/a/b", "seen/a/b"):
            Path(inside).mkdir(parents=True)
            Path(inside, "small.txt").write_text(SMALL_TEXT)
        Path("half/small.txt").write_text(SMALL_TEXT)
        Path("seen/small.txt").write_text(SMALL_TEXT)
        shutil.copy("small.txt", "closed.txt")
        modes = {"closed.txt": 0, "closed": 0, "half/a/b": 0, "seen/a/b": 0o444}
        for path, mode in modes.items():
            os.chmod(path, mode)
        yield Path(name)
        for path in modes:
            os.chmod(path, 0o700)


@contextlib.contextmanager
def nobody():
    """Not root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("lies", CLOSED)
@pytest.mark.parametrize("line", [*TEXTS[2:5], TEXTS[6], RUNS[0], RUNS[3], FILES[0], OUTPUTS[3]])
def test_closed_to_this_user(closed, monkeypatch, capsys, line, lies):
    monkeypatch.chdir(closed)
    capsys.readouterr()
    refused(closed, capsys, line.format(CLOSED[lies]), user=nobody)


@pytest.mark.parametrize("lies", ["a folder that has one", "a folder that has one to look at"])
def test_no_text_is_left_out_in_silence(closed, monkeypatch, lies):
    monkeypatch.chdir(closed)
    with nobody(), pytest.raises(corpora.CorpusError, match="Permission denied; make it readable"):
        corpora.load(CLOSED[lies])


# --- the last run that was saved ---


def test_latest_among_oddities(here, tmp_path, capsys):
    """Nothing that lies among runs, or within one, hides the others."""
    runs = tmp_path / "runs"
    for name, age in (("old", 50), ("newest", 10), ("new", 20)):
        shutil.copytree("saved_models/a", runs / name)
        os.utime(runs / name / "last.weights.h5", (1e9 - age, 1e9 - age))
    for odd in ODD.values():  # of things in the folder; and of weights files in runs
        if os.path.lexists(odd) and odd not in ("", ".", "folder/"):
            (runs / f"link to {Path(odd).name}").symlink_to(here / odd)
            for name in (lookup.LAST, lookup.BEST, "other.h5"):
                folder = runs / f"{Path(odd).name} as {name}"
                folder.mkdir()
                (folder / name).symlink_to(here / odd)
    for name in ("old", "new", "newest"):
        (runs / name / "best.weights.h5").symlink_to("gone")
        (runs / name / "mine.h5").symlink_to("mine.h5")
        os.mkfifo(runs / name / "pipe.h5")
    os.mkfifo(runs / "pipe")
    (runs / "file").write_text("x")
    assert lookup.find(runs, "latest") == runs / "newest"
    assert main(["sample", "--runs-dir", str(runs), "--length", "5", "--seed", "1"]) == 0
    capsys.readouterr()


def test_a_folder_in_the_place_of_a_run_s_file(here, tmp_path, capsys, monkeypatch):
    """Found before anything is loaded or made."""
    monkeypatch.setitem(sys.modules, "keras", None)
    for name in (*run_folder.FILES, run_folder.LOCK):
        for has_run in (False, True):
            folder = tmp_path / f"{name}-{has_run}" / "a"
            (folder / name).mkdir(parents=True)
            other = "best.weights.h5" if name == "last.weights.h5" else "last.weights.h5"
            lines = ["train --corpus small.txt --name a --overwrite"]
            if has_run:
                shutil.copy("saved_models/a/last.weights.h5", folder / other)
                if name in (lookup.LAST, lookup.BEST, run_folder.LOCK):
                    lines += ["train --resume a"]  # which does without the others
            for line in lines:
                refused(
                    tmp_path, capsys, f"{line} --runs-dir {folder.parent}", "found (a folder|so)"
                )
            assert {p.name for p in folder.iterdir()} == {name, *[other] * has_run}


# --- the text that a weights file names ---


STORED = {
    "-": "came from standard input; pipe it in again: cat FILE . .* a .*--corpus -",
    "*": "neither a file nor a folder",
    "[s]mall.txt": "neither a file nor a folder",
    "**/*": "neither a file nor a folder",
    "pipe": "neither a file nor a folder",
    "socket": "neither a file nor a folder",
    "/dev/zero": "neither a file nor a folder",
    "/dev/null": "neither a file nor a folder",
    "odd": "neither a file nor a folder",
    "loop": "neither a file nor a folder",
    "dangling": "neither a file nor a folder",
    "folder": "neither a file nor a folder",
    "x" * 300: "neither a file nor a folder",
    "x/" * 3000: "neither a file nor a folder",
    "small.txt\0": "neither a file nor a folder",
    "~\0": "neither a file nor a folder",
    "~\ud800": "neither a file nor a folder",
    "\x1b[2J": "neither a file nor a folder",
    "{many}": "a folder of more than 10,000 names",
    "{many}/deep": "a folder of more than 10,000 names",
    "": "imported without one",
}
USES = ["train --resume", "evaluate", "gradients", "reference --init"]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of more names than one that nobody gave by hand may have, and a tree of such."""
    folder = tmp_path_factory.mktemp("many")
    for k in range(100):
        (folder / "deep" / str(k)).mkdir(parents=True)
        for j in range(100):
            (folder / "deep" / str(k) / str(j)).symlink_to("small.txt")
    for k in range(10_000):
        (folder / f".{k}").touch()  # hidden ones take their time, too
    return folder


@pytest.mark.usual(2)
@pytest.mark.parametrize("name", STORED)
def test_a_stranger_s_name_for_a_text(here, many, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr("sys.stdin", None)
    expected = STORED[name]
    run_folder.save_new(tmp_path / "a", saved_run(name.replace("{many}", str(many))), False)
    for use in USES:
        refused(here, capsys, f"{use} a --runs-dir {tmp_path}", expected)


def test_the_system_s_endless_files_are_not_opened(tmp_path, monkeypatch):
    """They are regular ones, but have no size."""
    (tmp_path / "endless").touch()
    (tmp_path / "other.txt").write_text("ab")
    opened, real = [], open

    def watched(path, *more, **named):
        opened.append(path)
        return real(path, *more, **named)

    monkeypatch.setattr("builtins.open", watched)
    (document,) = corpora.load_stored(str(tmp_path), "utf-8").documents
    assert Path(document.name).name == "other.txt"
    with pytest.raises(corpora.CorpusNotFound):
        corpora.load_stored(str(tmp_path / "endless"), "utf-8")
    assert {*opened} <= {tmp_path / "other.txt"}


@pytest.mark.parametrize("given", ["*.text", "-", "texts"])
def test_who_gives_the_text_himself_may_name_it_as_he_likes(
    here, tmp_path, capsys, monkeypatch, given
):
    """And `evaluate` measures on what it holds out, for it is the run's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("small.txt", "a.text", "texts/a"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(SMALL_TEXT)
    run_folder.save_new(
        Path("saved_models/a"), saved_run(given if given != "texts" else "-"), False
    )
    for line in ("evaluate a", "gradients a --steps 5 --streams 2"):
        stdin = io.TextIOWrapper(io.BytesIO(SMALL_TEXT.encode()))
        monkeypatch.setattr("sys.stdin", stdin if given == "-" else None)
        assert main([*line.split(), "--corpus", given]) == 0
        out, _ = capsys.readouterr()
        assert ": 211 characters of 1 document\n" in out or line != "evaluate a"


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_standard_input_that_cannot_be_read(here, capsys, monkeypatch, flags):
    """A folder; open for writing only. (Python's own start refuses a folder with exit code 1.)"""
    descriptor = os.open("folder" if flags == os.O_RDONLY else "small.txt", flags)

    def read(size):
        return os.read(descriptor, size)

    stdin = SimpleNamespace(buffer=SimpleNamespace(read=read), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    refused(here, capsys, "score - --run a", "cannot read standard input: .*; pipe a file into it")
    os.close(descriptor)


def test_a_run_that_this_user_may_not_enter(here, monkeypatch, capsys):
    (here / "shut").mkdir()
    allowed = os.access  # root may enter any folder
    monkeypatch.setattr(os, "access", lambda p, mode: p.name != "shut" and allowed(p, mode))
    assert main(["sample", "shut"]) == 2
    assert "found shut, which you have no permission to enter" in capsys.readouterr().err
