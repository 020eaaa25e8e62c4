"""Law: what the cache holds is whole, or is made anew and said; a failure leaves no trace."""

import builtins
import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

import corpora
from charlm import cli, paths
from charlm.text import encode, encoded_text, id_cache, mapped_ids
from charlm.text.mapped_ids import MappedIds
from charlm.text.windows import TrainingWindows
from tests.test_paths import STRANGER, as_root

LINES = "It was the best of times, it was the worst of times.\n" * 200


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(encode, "IN_MEMORY", 0)
    (tmp_path / "f.txt").write_text(LINES)
    return tmp_path / "cache"


def read(folder, said=None):
    corpus = corpora.load(str(folder.parent / "f.txt"))
    found = encode.read(corpus, [].append if said is None else said.append)
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
    assert f"NOTE: {the_file(folder)} is not a complete encoded text" in lines[0]
    read(folder, said := [])
    assert said == []


ABOUT = id_cache.END.size


def described(data, **changes):
    """The bytes of a file that says other things of itself, rightly signed."""
    _, length, magic, version = id_cache.END.unpack(data[-ABOUT:])
    about = json.loads(data[-ABOUT - length : -ABOUT])
    text = json.dumps(about | changes).encode()
    end = id_cache.END.pack(hashlib.sha256(text).digest(), len(text), magic, version)
    return data[: -ABOUT - length] + text + end


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
        (lambda d: d[:-4] + (1).to_bytes(4, "little"), "it has version 1, this is 3"),
        (lambda d: described(d, dtype="|O"), "its ids are object"),
        (lambda d: described(d, dtype=5), "data type"),
        (lambda d: described(d, block=2**20), "its checksums are of other blocks"),
        (lambda d: described(d, crc32=[]), "its checksums are of other blocks"),
        (lambda d: described(d, count=None), "NoneType"),
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
        return Full(file) if mode == "x+b" else file

    with monkeypatch.context() as patch:
        patch.setattr(id_cache, "open", full, raising=False)
        if at in ("fsync", "replace"):
            patch.setattr(os, at, fail)
        assert cli.run(lambda argv: read(folder) and 0, []) == cli.FAILED
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"GB of encoded text in {folder}: {os.strerror(number)}; make room" in err
    assert [p.name for p in folder.iterdir()] == [paths.LOCK]
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
    assert [p.name for p in folder.iterdir()] == [paths.LOCK]


@pytest.mark.parametrize("given", [True, False])
def test_where_no_folder_can_be_made(folder, monkeypatch, tmp_path, given):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if given:
        monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "f.txt" / "x"))
        assert cli.run(lambda argv: read(folder) and 0, []) == cli.BAD_INPUT
        return
    monkeypatch.delenv(id_cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "f.txt"))
    found = encode.read(corpora.load(str(tmp_path / "f.txt")), (said := []).append)
    assert "NOTE: no folder to keep the encoded text in" in said[0]
    assert id_cache.VARIABLE in said[0]
    assert isinstance(found.training, MappedIds)
    assert found.vocab.decode(found.training) == LINES[: len(found.training)]
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


# --- other processes ---

READ = """if True:
    import os, sys, time
    import numpy as np
    import corpora
    from charlm.text import encode as text
    text.IN_MEMORY = 0
    shown = text.progress
    text.progress = lambda what, total: (print(what, flush=True), shown(what, total))[1]
    {before}
    found = text.read(corpora.load({path!r}), lambda line: print(line, flush=True))
    print(found.sha256, int(np.sum(found.training)), flush=True)
"""


def start(folder, before="pass"):
    code = READ.format(before=before, path=str(folder.parent / "f.txt"))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.usual(4)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", ["os.fsync", "text._encode", "os.replace"])
def test_what_was_interrupted_is_not_trusted(folder, at, number):
    process = start(folder, f"{at} = lambda *a: (print('there', flush=True), time.sleep(60))")
    while process.stdout.readline() != "there\n":
        pass
    process.send_signal(number)
    process.communicate()
    assert not list(folder.glob("*.ids"))
    assert (folder / id_cache.TEMPORARY).exists() == (number != signal.SIGINT)
    read(folder)
    assert not (folder / id_cache.TEMPORARY).exists()


def test_processes_at_once_encode_it_once_and_wait_for_each_other(folder):
    processes = [start(folder) for _ in range(4)]
    told = [p.communicate()[0].splitlines() for p in processes]
    assert [p.returncode for p in processes] == [0] * 4
    assert len({lines[-1] for lines in told}) == 1
    assert sum(line.startswith("encoding") for lines in told for line in lines) == 1
    assert len(list(folder.iterdir())) == 3  # the lock, the ids, their other name


def test_a_process_waits_for_another_and_says_so(folder):
    with id_cache.held(print):
        process = start(folder)
        assert process.stdout.readline().startswith("waiting for another process")
        time.sleep(0.1)
        assert [p.name for p in folder.iterdir()] == [paths.LOCK]
    out, _ = process.communicate()
    assert out.startswith("encoding")
    assert process.returncode == 0


def test_who_only_reads_need_not_wait(folder):
    read(folder)
    with id_cache.held(print):
        out, _ = start(folder).communicate(timeout=60)
    assert len(out.splitlines()) == 1


def test_what_a_file_says_of_itself_is_json_at_its_end(folder):
    """So that a version to come can read this one's."""
    read(folder)
    data = the_file(folder).read_bytes()
    _, length, magic, version = id_cache.END.unpack(data[-ABOUT:])
    about = json.loads(data[-ABOUT - length : -ABOUT])
    assert (magic, version) == (b"charlm ids", 3)
    assert about["dtype"] == "|u1"
    assert about["count"] == len(LINES) == len(data) - ABOUT - length
    assert sum(about["held_out"]) == int(len(LINES) * 0.1)
    assert about["block"] == 2**18
    assert about["crc32"] == [zlib.crc32(data[: len(LINES)])]


# --- what others can do ---


def planted(folder, monkeypatch):
    """A folder with another text under the name of `f.txt`, as somebody who can write there has it.

    Returns:
        The name of that text's ids.
    """
    path = folder.parent / "f.txt"
    corpus = corpora.load(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(type(corpus.documents[0]), "pieces", lambda self, tell=None: iter(["evil"]))
        encode.read(corpus, [].append)
    (ids,) = folder.glob("*.ids")
    return ids.name


def test_what_is_planted_would_be_read(folder, monkeypatch):
    """Or the tests below would show nothing."""
    planted(folder, monkeypatch)
    found = encode.read(corpora.load(str(folder.parent / "f.txt")), [].append)
    assert found.vocab.characters == "eilv"


@pytest.mark.parametrize("whose", ["writable", "parent", pytest.param("other", marks=as_root)])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(
    folder, monkeypatch, tmp_path, whose
):
    planted(folder, monkeypatch)
    target = tmp_path / "target"
    target.write_text("precious")
    (folder / id_cache.TEMPORARY).symlink_to(target)
    if whose == "other":
        os.chown(folder, STRANGER, -1)
    else:
        (folder if whose == "writable" else tmp_path).chmod(0o777)
    before = {p.name: p.lstat() for p in folder.iterdir()}
    (temporary := tmp_path / "temporary").mkdir(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    read(folder, said := [])  # and finds that it is the right text
    notes = [line for line in said if line.startswith("NOTE")]
    assert len(notes) == 1
    assert f"NOTE: the cache folder {folder} is not used" in notes[0]
    assert {p.name: p.lstat() for p in folder.iterdir()} == before
    assert target.read_text() == "precious"
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("name", [id_cache.TEMPORARY, paths.LOCK])
@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_no_link_is_written_through(folder, tmp_path, name, kind):
    folder.mkdir(0o700)
    target = tmp_path / "target"
    target.write_text("precious")
    if kind == "symlink":
        (folder / name).symlink_to(target)
    else:
        os.link(target, folder / name)
    if (name, kind) == (paths.LOCK, "symlink"):
        with pytest.raises(id_cache.InputError, match="cannot write in"):
            read(folder)
    else:
        read(folder)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("where", ["{0}/{1}", "../other/{1}", "./{1}", "{1}/", "/dev/zero", "lock"])
def test_a_link_leads_to_ids_in_its_own_folder_only(folder, tmp_path, monkeypatch, where):
    name = planted(folder, monkeypatch)
    (link,) = folder.glob("*.link")
    link.unlink()
    other = folder.rename(tmp_path / "other")
    folder.mkdir(0o700)
    (folder / name).write_bytes((other / name).read_bytes())
    link.symlink_to(where.format(other, name))
    read(folder)  # and finds that it is the right text
    assert id_cache.NAME.fullmatch(os.readlink(link))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: path.chmod(0o666), "others can write it"),
        (lambda path: path.chmod(0o620), "others can write it"),
        pytest.param(lambda path: os.chown(path, STRANGER, -1), "it belongs to", marks=as_root),
    ],
)
def test_ids_that_others_can_have_written_are_made_anew(folder, change, expected):
    read(folder)
    change(the_file(folder))
    is_made_anew_and_said(folder, expected)
    assert the_file(folder).stat().st_mode & 0o777 == 0o600


@as_root
def test_no_link_of_somebody_else_is_followed(folder, monkeypatch):
    planted(folder, monkeypatch)
    (link,) = folder.glob("*.link")
    os.lchown(link, STRANGER, -1)
    read(folder)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_all_that_is_made_is_for_us_alone(folder, umask):
    before = os.umask(umask)
    try:
        read(folder)
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir() if not p.is_symlink()}
    assert set(modes.values()) == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


# --- damage ---


def test_damaged_ids_end_a_command_with_one_line_that_says_how_to_go_on(folder, capsys):
    read(folder)
    path = the_file(folder)
    data = bytearray(path.read_bytes())
    data[3000:7000] = bytes(4000)
    path.write_bytes(data)
    assert cli.run(lambda argv: read(folder) and 0, []) == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"expected the encoded text in {path} as it was written, found bytes" in err
    assert "delete this file and start again" in err
    path.unlink()
    read(folder)


@pytest.mark.soak
def test_training_that_meets_damage_ends_with_one_line(folder, capsys, monkeypatch):
    """In the midst of an epoch, where TensorFlow makes an error of its own of it."""
    from charlm import train

    for module in (mapped_ids, id_cache):
        monkeypatch.setattr(module, "BLOCK", 2**7)
    monkeypatch.setattr(encoded_text, "MAX_COUNTED", 600)  # characters read before training begins
    monkeypatch.chdir(folder.parent)
    found = read(folder)
    path = the_file(folder)
    data = bytearray(path.read_bytes())
    at = TrainingWindows(found.training, 3, 7, seed=1).offset + 2000  # of a stream's 3,180
    at %= len(found.training)
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    run = ["--corpus", "f.txt", "--epochs", "1", "--units", "3", "--cell", "keras-lstm"]
    run += ["--batch-size", "3", "--window", "7", "--sample-length", "9"]
    assert train.main([*run, "--name", "a"]) == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"error: expected the encoded text in {path} as it was written" in err
    path.unlink()
    assert train.main([*run, "--name", "b"]) == 0
