"""Law: a file is the old one or the new one, and no link leads a writer to another file."""

import ast
import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.runs import atomic

ROOT = Path(__file__).parents[2]
OLD, OTHER = b"old" * 50, b"somebody else's" * 7


def plant(folder, kind):
    """Something at folder/file that is not what it seems; returns what must stay as it is."""
    path, other = folder / "file", folder / "other"
    other.write_bytes(OTHER)
    if kind == "link":
        path.symlink_to("other")
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "dangling link":
        path.symlink_to("nothing")
    elif kind == "link to a folder":
        (folder / "inside").mkdir()
        path.symlink_to("inside")
    elif kind == "file":
        path.write_bytes(OLD)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return path


LINKS = ["link", "hard link", "dangling link"]
REPLACED = [None, "file", "link to a folder", *LINKS]


@pytest.mark.parametrize("kind", REPLACED)
def test_whatever_bears_the_name_is_replaced_and_no_link_followed(tmp_path, rng, kind):
    path, data = plant(tmp_path, kind), rng.bytes(70_001)
    before = set(os.listdir(tmp_path)) | {"file"}
    atomic.write(path, data)
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.read_bytes() == data
    assert path.stat().st_nlink == 1
    assert (tmp_path / "other").read_bytes() == OTHER
    assert set(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_no_file_may_replace_is_left_and_named(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path, said = plant(Path(), kind), []
    before = path.lstat()
    with pytest.raises(OSError, match="'file'") as error:
        atomic.write(path, b"new")
    assert error.value.errno in (errno.EISDIR, errno.EINVAL)
    assert not atomic.try_write(path, b"new", said.append)
    assert said[0].startswith("NOT SAVED: file (")
    assert len(said) == 1
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert set(os.listdir()) == {"file", "other"}


def test_a_planted_temporary_file_is_not_written_through(tmp_path, monkeypatch):
    """Neither one that was there before nor one that appears in the last moment."""
    other = tmp_path / "other"
    other.write_bytes(OTHER)
    planted = tmp_path / atomic._temporary("file")
    planted.symlink_to(other)
    atomic.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    planted.hardlink_to(other)
    monkeypatch.setattr(os, "unlink", lambda *args, **kwargs: None)
    with pytest.raises(FileExistsError):
        atomic.write(tmp_path / "file", b"newer")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert other.read_bytes() == OTHER


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755, 0o666])
def test_a_file_keeps_its_permissions_and_a_new_one_takes_those_of_its_like(
    tmp_path, monkeypatch, mode
):
    old, new, seen, fill = tmp_path / "old", tmp_path / "new", [], atomic.write_all

    def watched(descriptor, data):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fill(descriptor, data)

    monkeypatch.setattr(atomic, "write_all", watched)
    old.write_bytes(OLD)
    old.chmod(mode)
    for path in (old, new):
        atomic.write(path, b"data", like=old)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    new.chmod(0o604)
    atomic.write(new, b"data", like=old)
    assert stat.S_IMODE(new.stat().st_mode) == 0o604
    assert seen == [0o600] * 3  # until it is complete


def test_a_new_file_has_the_permissions_of_any(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write(tmp_path / "file", b"data", like=tmp_path / "nothing")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("allowed", [True, False])
def test_permissions_of_a_group_stay_that_group_s(tmp_path, monkeypatch, allowed):
    path, group = tmp_path / "file", os.getegid() + 1
    path.write_bytes(OLD)
    try:
        os.chown(path, -1, group)
    except PermissionError:
        pytest.skip("only root may give a file to any group")
    path.chmod(0o640)
    if not allowed:

        def refuse(*args):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "fchown", refuse)
    atomic.write(path, b"data")
    found = path.stat()
    assert (found.st_gid == group) is allowed
    assert stat.S_IMODE(found.st_mode) == (0o640 if allowed else 0o600)


def test_all_is_on_disk_before_it_has_its_name_and_then_the_name(tmp_path, monkeypatch):
    calls = recorded(monkeypatch)
    atomic.write(tmp_path / "file", b"data")
    names = [call for call, _ in calls]
    assert names == ["write", "fsync", "replace", "fsync"]
    assert calls[1][1] == (tmp_path / "file").stat().st_ino
    assert calls[3][1] == tmp_path.stat().st_ino


def test_a_tree_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    made = tmp_path / "made"
    (made / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (made / name).write_text(name)
    inodes = {path.stat().st_ino for path in (made, *made.rglob("*"))}
    calls = recorded(monkeypatch)
    atomic.move(made, tmp_path / "folder")
    assert {inode for _, inode in calls[:-2]} == inodes
    assert [call for call, _ in calls[-2:]] == ["replace", "fsync"]
    assert calls[-1][1] == tmp_path.stat().st_ino
    assert (tmp_path / "folder" / "a" / "b" / "three").read_text() == "a/b/three"


def test_a_moved_file_has_the_permissions_of_the_one_that_it_replaces(tmp_path):
    (tmp_path / "made").write_bytes(b"data")
    path = plant(tmp_path, "file")
    path.chmod(0o600)
    atomic.move(tmp_path / "made", path)
    assert path.read_bytes() == b"data"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_names_of_new_folders_are_forced_to_disk_once(tmp_path, monkeypatch):
    calls = recorded(monkeypatch)
    folder = tmp_path / "a" / "b" / "c"
    atomic.make_folder(folder)
    above = {path.stat().st_ino for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")}
    assert {inode for _, inode in calls} == above
    assert len(calls) == 3
    atomic.make_folder(folder)
    assert len(calls) == 3


def recorded(monkeypatch):
    """The calls that follow, of those that matter when the power fails, with inodes."""
    calls = []

    def record(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            inode = os.fstat(args[0]).st_ino if isinstance(args[0], int) else None
            calls.append((name, inode))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fsync", "replace"):
        record(name)
    return calls


@pytest.mark.parametrize("length", [241, 242, 255])
def test_the_longest_names_can_be_written(tmp_path, length):
    path = tmp_path / ("x" * length)
    atomic.write(path, b"data")
    assert path.read_bytes() == b"data"
    assert len(os.listdir(tmp_path)) == 1


WRITER = """if True:
    import sys
    from pathlib import Path
    from charlm.runs import atomic
    for k in range(150):
        atomic.write(Path(sys.argv[1]), sys.argv[2].encode() * 40_000)
"""


def test_two_processes_that_write_the_same_file(tmp_path):
    path, seen = tmp_path / "file", set()
    argv = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*argv, x], stderr=subprocess.PIPE, cwd=ROOT, text=True) for x in "ab"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 40_000
            assert len(set(data)) == 1
            seen.add(data[0])
    for writer in writers:
        _, err = writer.communicate()
        assert writer.returncode == 0, err
    assert seen <= set(b"ab")
    assert os.listdir(tmp_path) == ["file"]


# --- files that are changed in place ---


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "pipe", "link to a folder"])
@pytest.mark.parametrize("flags", [os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_APPEND | os.O_CREAT])
def test_what_is_not_the_file_alone_is_not_opened(tmp_path, kind, flags):
    path = plant(tmp_path, kind)
    before = set(os.listdir(tmp_path))
    with pytest.raises(atomic.NotOwnError) as error, atomic.own_file(path, flags):
        pass
    assert error.value.filename == str(path)
    assert (tmp_path / "other").read_bytes() == OTHER
    assert set(os.listdir(tmp_path)) == before


def test_a_pipe_is_not_waited_for_by_readers(tmp_path):
    path = plant(tmp_path, "pipe")
    with pytest.raises(atomic.NotOwnError), atomic.own_file(path, os.O_RDONLY):
        pass


# --- nobody else writes ---

WRITES = {
    "write_text", "write_bytes", "savefig", "touch", "truncate", "ftruncate", "rename", "renames",
    "replace", "link", "symlink", "symlink_to", "hardlink_to", "mkstemp", "mknod", "mkfifo", "save",
    "save_weights", "save_model", "savez", "tofile", "export", "memmap", "NamedTemporaryFile",
}  # fmt: skip
ALLOWED = {
    "charlm/runs/atomic.py": "it is the writer",
    "charlm/text/id_cache.py": "texts of gigabytes, in pieces, into a folder of the user's own",
    "charlm/text/encode.py": "the same",
    "charlm/text/sharding.py": "the same, into a folder that the user names",
    "charlm/text/shards.py open": "to read",
    "charlm/experiments/clean_tunes.py write_text": "into a folder of its own",
    "charlm/experiments/large_texts.py": "into a new folder",
    "charlm/kernels/disk.py": "Numba's files, in the cache folder",
    "charlm/paths.py open": "those two open by it",
    "charlm/systems.py open": "with the flags of its callers",
    "corpora/files.py open": "a copy of standard input, where open files have no paths",
    "corpora/files.py mkstemp": "the same",
    "charlm/runs/untrusted.py open": "a member of a zip file that is read",
    "charlm/runs/hdf5_child.py open": "an object within a file that is read",
    "charlm/runs/locks.py ftruncate": "the lock, opened by own_file",
    "charlm/runs/logs.py ftruncate": "samples.txt, opened by own_file",
    "charlm/runs/run_folder.py replace": "of one weights file by another",
    "charlm/interop/export.py replace": "what an export replaces goes into a folder of its own",
    "charlm/interop/export.py rename": "the same",
    "charlm/interop/export.py save": "Keras writes into that folder",
    "charlm/interop/export.py export": "so does TensorFlow",
    "charlm/interop/onnx.py export": "so does ONNX",
    "charlm/plots/__init__.py savefig": "into memory",
    "charlm/cli/command.py open": "the null device in the place of closed output",
    "charlm/inside/lstmvis.py write_text": "into a folder of its own",
    "charlm/layers/stubs.py write_text": "the signatures, for who changes the layers",
    "charlm/benchmarks/train_memory.py write_text": "into a temporary folder",
    "charlm/benchmarks/worker.py open": "a switch of the kernel's in /proc",
    "charlm/kernels/object_code.py open": "a file of the cache, by `paths.opener`",
    "charlm/kernels/object_code.py replace": "the same",
    "charlm/cli/terminal.py open": "the process's own standard error, under another number",
}


def writing_calls(source):
    """Names of the calls that open a file to be written, or change which file has a name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            of, _, name = ast.unparse(node.func).rpartition(".")
            if name in ("open", "fdopen"):
                found = _may_write(node, of)
            elif name == "replace":  # str's has two arguments, Path's one, dataclasses' is bare
                found = of == "os" or (of and len(node.args) == 1)
            else:
                found = (name in WRITES and of not in ("", "self", "atomic")) or (
                    of == "shutil" and name.startswith(("copy", "move")) and name != "copyfileobj"
                )
            if found:
                yield name


def _may_write(node, of):
    """Whether `open` could be called to write: all but what is certainly reading."""
    if of == "os":
        flags = ast.unparse(node.args[1])
        return any(word in flags for word in ("WRONLY", "RDWR", "CREAT", "flags"))
    place = 1 if of in ("", "io", "tokenize") else 0  # or it is a method of a path
    modes = [k.value for k in node.keywords if k.arg == "mode"] + node.args[place : place + 1]
    mode = ast.unparse(modes[0]) if modes else "'r'"
    return any(letter in mode for letter in "wax+") or not mode.startswith("'")


@pytest.mark.parametrize(
    "source",
    [
        "open(x, 'w')", "open(x, mode='ab')", "open(x, how)", "tokenize.open(x, 'r+')",
        "Path(x).open('w')", "path.open('a')", "os.open(x, os.O_WRONLY)", "os.open(x, flags)",
        "Path(x).touch()", "path.write_bytes(b'')", "figure.savefig(path)", "os.replace(a, b)",
        "a.replace(b)", "shutil.copy(a, b)", "model.save(path)", "np.savez(path, x)",
        "os.truncate(path, 3)",
    ],
)  # fmt: skip
def test_writing_is_recognized(source):
    assert list(writing_calls(source))


def test_nothing_else_opens_files_to_write():
    found = set()
    for folder in ("charlm", "callbacks", "corpora"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name not in ALLOWED:
                found |= {f"{name} {call}" for call in writing_calls(path.read_text())}
    assert found <= ALLOWED.keys()
    assert found >= {name for name in ALLOWED if " " in name}  # the list grows no older
