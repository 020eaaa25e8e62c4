"""Law: the cache folder and its files are used only if nobody else can write or replace them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from charlm import paths
from charlm.errors import InputError

ROOT = os.geteuid() == 0
STRANGER = 54321  # a user's number
as_root = pytest.mark.skipif(not ROOT, reason="only root can give a file to somebody else")
NESTED = "one", "two", "three"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the cache is to be; it and those above it up to `tmp_path` are missing."""
    monkeypatch.setattr(paths, "_said", set())
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "a" / "b"))
    return tmp_path / "a" / "b"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def refused(*inner):
    """The one message, which names a cure."""
    said = []
    assert paths.usable_cache(*inner, say=said.append) is None
    assert paths.usable_cache(*inner, say=said.append) is None  # said once
    (line,) = said
    assert "\n" not in line
    assert paths.VARIABLE in line
    return line


# --- where it is ---


def test_the_folder_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv(paths.VARIABLE, "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert paths.cache_folder() == Path("/a")
    monkeypatch.setenv(paths.VARIABLE, "~/a")
    assert paths.cache_folder() == Path("/c/a")
    monkeypatch.delenv(paths.VARIABLE)
    assert paths.cache_folder() == Path("/b/charlm")
    for relative in ("relative", "~/x", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert paths.cache_folder() == Path("/c/.cache/charlm")
    monkeypatch.setattr("os.path.expanduser", lambda path: path if path[:1] != "~" else "")
    assert paths.cache_folder() is None  # a user without a home


@pytest.mark.parametrize("variable", [paths.VARIABLE, "XDG_CACHE_HOME"])
@pytest.mark.parametrize("value", ["~nosuchuser", "~nosuchuser/cache"])
def test_a_user_who_does_not_exist_is_an_error_and_no_folder(
    tmp_path, monkeypatch, variable, value
):
    monkeypatch.delenv(paths.VARIABLE)
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        InputError, match=f"{variable}, found '{value}', and ~nosuchuser has no home"
    ):
        paths.cache_folder()
    run = [sys.executable, "-m", "charlm.sample", "r"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: expected a folder in {variable}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- folders ---


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
def test_folders_are_for_us_alone_from_the_moment_they_are_made(folder, monkeypatch, umask):
    seen, make = [], os.mkdir

    def watched(path, *args, **kwargs):
        make(path, *args, **kwargs)
        seen.append(mode(Path(path)))

    monkeypatch.setattr(os, "mkdir", watched)
    before = os.umask(umask)
    try:
        assert paths.cache(*NESTED) == folder.joinpath(*NESTED)
    finally:
        os.umask(before)
    assert seen == [0o700] * 5


@pytest.mark.parametrize("depth", range(len(NESTED) + 1))
def test_no_folder_that_others_can_write_is_used(folder, depth):
    deepest = paths.cache(*NESTED)
    place = folder.joinpath(*NESTED[:depth])
    for bits in range(0o700, 0o1000):
        place.chmod(bits)
        paths._said.clear()
        if not bits & 0o022:
            assert paths.usable_cache(*NESTED) == deepest
            continue
        line = refused(*NESTED)
        assert f"others can write in {place} (mode {bits:04o}); chmod go-w {place}" in line
    subprocess.run(line.split("; ")[-1].split(", or")[0], shell=True, check=True)
    assert paths.usable_cache(*NESTED) == deepest  # what the message says is a cure


@as_root
@pytest.mark.parametrize("depth", range(len(NESTED) + 1))
def test_no_folder_of_somebody_else_is_used(folder, depth):
    paths.cache(*NESTED)
    place = folder.joinpath(*NESTED[:depth])
    os.chown(place, STRANGER, -1)
    assert f"{place} belongs to user {STRANGER}, " in refused(*NESTED)


@pytest.mark.parametrize("depth", range(1, len(NESTED) + 1))
@pytest.mark.parametrize("kind", ["link", "file"])
def test_nothing_else_stands_for_a_folder_of_the_cache(folder, tmp_path, depth, kind):
    paths.cache(*NESTED)
    place = folder.joinpath(*NESTED[:depth])
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere") if kind == "link" else place.touch()
    assert f"{place} is no folder" in refused(*NESTED)


# --- the way to it ---


@pytest.mark.parametrize("where", ["parent", "grandparent", "behind a link"])
def test_the_folder_cannot_be_replaced_by_others(folder, tmp_path, monkeypatch, where):
    paths.cache()
    place = folder.parent if where == "parent" else tmp_path
    if where == "behind a link":  # which lies where nobody else can write
        place = folder.parent
        (tmp_path / "link").symlink_to("a/../a")
        monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "link" / "b"))
    for bits in (0o777, 0o775, 0o702, 0o1777, 0o1775, 0o755, 0o711):
        place.chmod(bits)
        paths._said.clear()
        if bits & 0o022 and not bits & 0o1000:
            line = refused()
            assert f"others can write in {place} (mode {bits:04o}); chmod go-w" in line
        else:  # where the sticky bit is set, only the owner of a thing can rename it
            assert paths.usable_cache() == paths.cache_folder()


@as_root
@pytest.mark.parametrize("sticky", [0, 0o1000])
def test_the_folders_above_it_are_ours_or_the_systems(folder, sticky):
    paths.cache()
    os.chown(folder.parent, STRANGER, -1)
    folder.parent.chmod(0o755 | sticky)
    assert f"{folder.parent} belongs to user {STRANGER}, who could replace it" in refused()


@as_root
def test_nothing_is_made_on_a_way_that_is_refused(tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, -1)
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    os.lchown(tmp_path / "link", STRANGER, -1)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for way in ("theirs/a/b", "link/a/b", "open/a"):
        monkeypatch.setenv(paths.VARIABLE, str(tmp_path / way))
        paths._said.clear()
        assert paths.usable_cache() is None
    assert not [p for name in ("theirs", "victim", "open") for p in (tmp_path / name).iterdir()]


@as_root
def test_no_link_of_somebody_else_is_followed(folder, tmp_path, monkeypatch):
    paths.cache()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "link"))
    assert paths.usable_cache() == tmp_path / "link"
    os.lchown(tmp_path / "link", STRANGER, -1)
    assert f"{tmp_path / 'link'} belongs to user {STRANGER}" in refused()


def test_what_cannot_be_made_is_an_error_of_the_systems(folder, tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError):
        paths.usable_cache()
    (tmp_path / "a").unlink()
    for target in ("nowhere", "a", "b"):
        (tmp_path / "b").unlink(missing_ok=True)
        (tmp_path / "b").symlink_to("a")
        (tmp_path / "a").unlink(missing_ok=True)
        (tmp_path / "a").symlink_to(target)
        with pytest.raises(FileNotFoundError):
            paths.usable_cache()
    with pytest.raises(FileNotFoundError):
        paths.usable_cache()
    monkeypatch.setattr(paths, "cache_folder", lambda: None)
    with pytest.raises(OSError, match="no home folder"):
        paths.usable_cache()


def test_messages_go_to_standard_error_once(folder, capsys):
    paths.cache()
    folder.chmod(0o777)
    for inner in ((), ("one",)):
        assert paths.usable_cache(*inner) is None
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"NOTE: the cache folder {folder} is not used")


# --- files ---


def opened(path, how="rb"):
    with open(path, how, opener=paths.opener) as file:
        return file.read() if "r" in how else None


def test_files_are_made_for_us_alone_and_never_through_a_link(tmp_path):
    before = os.umask(0)
    try:
        opened(tmp_path / "new", "xb")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o600
    target = tmp_path / "target"
    for existing in (True, False):
        (tmp_path / "link").symlink_to(target)
        if existing:
            target.write_text("precious")
        with pytest.raises(FileExistsError):
            opened(tmp_path / "link", "xb")
        with pytest.raises(paths.NotOursError, match="it is a symbolic link"):
            opened(tmp_path / "link", "ab")
        (tmp_path / "link").unlink()
        assert not existing or target.read_text() == "precious"
        target.unlink(missing_ok=True)


def test_no_file_that_others_can_write_is_read(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    for bits in range(0o600, 0o1000):
        (tmp_path / "f").chmod(bits)
        if bits & 0o022:
            with pytest.raises(paths.NotOursError, match=f"others can write it .mode {bits:04o}"):
                opened(tmp_path / "f")
        else:
            assert opened(tmp_path / "f") == b"x"


@as_root
def test_no_file_of_somebody_else_is_read(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    os.chown(tmp_path / "f", STRANGER, -1)
    with pytest.raises(paths.NotOursError, match=f"it belongs to user {STRANGER}"):
        opened(tmp_path / "f")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("f", path)])
def test_only_regular_files_are_read_and_none_is_waited_for(tmp_path, make):
    (tmp_path / "f").write_bytes(b"x")
    make(tmp_path / "other")
    before = signal.signal(signal.SIGALRM, lambda *args: pytest.fail("it waits"))
    signal.alarm(10)
    with pytest.raises(paths.NotOursError, match=r"it is (no regular file|a symbolic link)"):
        opened(tmp_path / "other")
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_nothing_stays_open(folder, tmp_path):
    paths.cache(*NESTED)
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(0o666)
    before = os.listdir("/dev/fd")
    for _ in range(3):
        paths.cache(*NESTED)
        with pytest.raises(paths.NotOursError):
            opened(tmp_path / "f")
    assert os.listdir("/dev/fd") == before
