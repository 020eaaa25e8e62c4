"""Law: what the cache holds is whole, or is made anew and said; a failure leaves no trace."""

import builtins
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import corpora
from charlm import cache, cli, text

LINES = "It was the best of times, it was the worst of times.\n" * 200


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(text, "IN_MEMORY", 0)
    (tmp_path / "f.txt").write_text(LINES)
    return tmp_path / "cache"


def read(folder, said=None):
    corpus = corpora.load(str(folder.parent / "f.txt"))
    found = text.read(corpus, [].append if said is None else said.append)
    assert found.vocab.decode(np.concatenate([found.training, found.held_out])) == LINES
    return found


def the_file(folder):
    (path,) = folder.glob("*.ids")
    return path


def is_made_anew_and_said(folder, expected):
    said = []
    read(folder, said)
    lines = [line for line in said if line.startswith("NOTE")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert f"NOTE: {the_file(folder)} is no whole file of encoded text" in lines[0]
    read(folder, said := [])
    assert said == []


ABOUT = cache.END.size


@pytest.mark.parametrize("keep", [0, 1, ABOUT - 1, ABOUT, 5000, -ABOUT - 9, -ABOUT, -10, -1])
def test_a_file_cut_short_is_made_anew(folder, keep):
    read(folder)
    path = the_file(folder)
    path.write_bytes(path.read_bytes()[:keep])
    is_made_anew_and_said(folder, "short" if 0 <= keep < ABOUT else "its end is missing")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: b"\x89PNG" * 1000, "another program's"),
        (lambda d: d[100:], "its length is another"),
        (lambda d: d[:50] + d[52:], "its length is another"),
        (lambda d: d.replace(b'"vocabulary"', b'"vocabularx"'), "its description is damaged"),
        (lambda d: d[:-4] + (2).to_bytes(4, "little"), "it has version 2, this is 1"),
    ],
)
def test_a_file_that_is_foreign_or_damaged_or_of_another_version_is_made_anew(
    folder, change, expected
):
    read(folder)
    path = the_file(folder)
    path.write_bytes(change(path.read_bytes()))
    is_made_anew_and_said(folder, expected)


def test_a_file_that_is_gone_or_a_name_that_is_no_link_is_made_anew(folder):
    read(folder)
    (link,) = folder.glob("*.link")
    the_file(folder).unlink()
    read(folder)
    link.unlink()
    link.write_text("no link")
    read(folder)
    assert link.is_symlink()


# --- no room ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("at", [0, 1, 3, "flush", "fsync", "replace"])
def test_a_full_disk_leaves_no_file_and_ends_with_one_line(folder, monkeypatch, capsys, at, number):
    monkeypatch.setattr("corpora.files.PIECE", 2000)
    error = OSError(number, os.strerror(number))

    def fail(*args):
        raise error

    class Full:
        """A file that takes `at` writes."""

        def __init__(self, file):
            self.file, self.left = file, at if isinstance(at, int) else 10**9

        def __getattr__(self, name):
            return fail if name == at else getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            self.left -= 1
            return fail() if self.left < 0 else self.file.write(data)

    def full(path, mode="r", **more):
        file = builtins.open(path, mode, **more)  # noqa: SIM115 - whoever asked closes it
        return Full(file) if mode == "wb" else file

    with monkeypatch.context() as patch:
        patch.setattr(cache, "open", full, raising=False)
        if at in ("fsync", "replace"):
            patch.setattr(os, at, fail)
        assert cli.run(lambda argv: read(folder) and 0, []) == cli.FAILED
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"GB of encoded text in {folder}, found: {os.strerror(number)}; make room" in err
    assert [p.name for p in folder.iterdir()] == [cache.LOCK]
    read(folder)


def test_a_file_that_may_not_grow_leaves_none(folder):
    """The system's own refusal, in the midst of a piece."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            read(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in folder.iterdir()] == [cache.LOCK]


@pytest.mark.parametrize("given", [True, False])
def test_where_no_folder_can_be_made(folder, monkeypatch, tmp_path, given):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if given:
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "f.txt" / "x"))
        assert cli.run(lambda argv: read(folder) and 0, []) == cli.BAD_INPUT
        return
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "f.txt"))
    found = text.read(corpora.load(str(tmp_path / "f.txt")), (said := []).append)
    assert "NOTE: no folder to keep the encoded text in" in said[0]
    assert cache.VARIABLE in said[0]
    assert isinstance(found.training, np.memmap)
    assert found.vocab.decode(found.training) == LINES[: len(found.training)]
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_the_folder_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert cache.folder() == Path("/a")
    monkeypatch.delenv(cache.VARIABLE)
    assert cache.folder() == Path("/b/charlm")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == Path("/c/.cache/charlm")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user without a home
    assert cache.folder() is None


# --- other processes ---

READ = """if True:
    import os, sys, time
    import corpora
    from charlm import text
    text.IN_MEMORY = 0
    {before}
    found = text.read(corpora.load({path!r}), lambda line: print(line, flush=True))
    print(found.sha256, int(found.training.sum()), flush=True)
"""


def start(folder, before="pass"):
    code = READ.format(before=before, path=str(folder.parent / "f.txt"))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", ["os.fsync", "text._encode", "os.replace"])
def test_what_was_interrupted_is_not_trusted(folder, at, number):
    process = start(folder, f"{at} = lambda *a: (print('there', flush=True), time.sleep(60))")
    while process.stdout.readline() != "there\n":
        pass
    process.send_signal(number)
    process.communicate()
    assert not list(folder.glob("*.ids"))
    assert (folder / cache.TEMPORARY).exists() == (number != signal.SIGINT)
    read(folder)
    assert not (folder / cache.TEMPORARY).exists()


def test_processes_at_once_encode_it_once_and_wait_for_each_other(folder):
    processes = [start(folder) for _ in range(4)]
    told = [p.communicate()[0].splitlines() for p in processes]
    assert [p.returncode for p in processes] == [0] * 4
    assert len({lines[-1] for lines in told}) == 1
    assert sum(line.startswith("encoding") for lines in told for line in lines) == 1
    assert len(list(folder.iterdir())) == 3  # the lock, the ids, their other name


def test_a_process_waits_for_another_and_says_so(folder):
    with cache.held(print):
        process = start(folder)
        assert process.stdout.readline().startswith("waiting for another process")
        time.sleep(0.1)
        assert [p.name for p in folder.iterdir()] == [cache.LOCK]
    out, _ = process.communicate()
    assert out.startswith("encoding")
    assert process.returncode == 0


def test_who_only_reads_need_not_wait(folder):
    read(folder)
    with cache.held(print):
        out, _ = start(folder).communicate(timeout=60)
    assert len(out.splitlines()) == 1


def test_what_a_file_says_of_itself_is_json_at_its_end(folder):
    """So that a version to come can read this one's."""
    read(folder)
    data = the_file(folder).read_bytes()
    _, length, magic, version = cache.END.unpack(data[-ABOUT:])
    about = json.loads(data[-ABOUT - length : -ABOUT])
    assert (magic, version) == (b"charlm ids", 1)
    assert about["dtype"] == "|u1"
    assert about["count"] == len(LINES) == len(data) - ABOUT - length
    assert sum(about["held_out"]) == int(len(LINES) * 0.1)
