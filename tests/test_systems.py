"""Law: without what only POSIX has, every module is imported and a run is trained, as on Windows.

A child process loads the libraries, takes those modules, functions and constants away, gives Python
a lock of Windows, and then imports charlm.
"""

import ntpath
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from charlm import systems
from charlm.errors import InputError
from charlm.runs import run_folder
from tests.conftest import SMALL_TEXT

ROOT = Path(__file__).parents[1]

WINDOWS = """
import errno, os, signal, sys, types
import asyncio, multiprocessing, subprocess, concurrent.futures

MODULES = ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "spwd", "nis")
OS = '''geteuid getuid getegid getgid register_at_fork fork forkpty O_NOFOLLOW O_NONBLOCK O_CLOEXEC
O_DIRECTORY O_SYNC fchmod fchown chown lchown getloadavg sched_getaffinity sched_setaffinity sysconf
pread pwrite mkfifo mknod setsid getpgid getpgrp killpg nice statvfs fstatvfs uname openpty
fdatasync sync wait wait3 wait4 WNOHANG getgroups getpriority ctermid getlogin_r'''.split()
SIGNAL = '''setitimer getitimer alarm pause pthread_sigmask sigwait ITIMER_PROF ITIMER_REAL SIGALRM
SIGPROF SIGHUP SIGUSR1 SIGUSR2 SIGPIPE SIGKILL SIGQUIT SIGCHLD SIGXCPU SIGSTOP SIGTSTP'''.split()
held = {}  # file: the descriptor that has locked it


def locking(descriptor, mode, count):
    assert os.lseek(descriptor, 0, os.SEEK_CUR) >= 2**20, "others could not read the start"
    about = os.fstat(descriptor)
    file = about.st_dev, about.st_ino
    if mode == 0:
        if held.pop(file, None) is None:
            raise OSError(errno.EACCES, "not locked")
    elif held.setdefault(file, descriptor) is not descriptor:
        raise OSError(errno.EACCES, "Permission denied")


def without_folders(function):
    def call(*args, **options):
        fds = [name for name in options if name.endswith("dir_fd") and options[name] is not None]
        if fds:
            raise NotImplementedError(f"{fds} unavailable on this platform")
        if function is opens and os.path.isdir(args[0]):
            raise PermissionError(errno.EACCES, "Permission denied", str(args[0]))
        return function(*args, **options)
    return call


def become():
    for name in (*MODULES, "torch"):  # which needs what is taken away, and is a peer only
        sys.modules[name] = None
    for module, names in ((os, OS), (signal, SIGNAL)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    import mmap
    for name in [n for n in dir(mmap) if n.startswith(("MAP_", "MADV_", "PROT_"))]:
        delattr(mmap, name)
    for name in ("open", "unlink", "stat", "replace", "rename", "mkdir", "rmdir", "utime"):
        setattr(os, name, without_folders(getattr(os, name)))
    sys.modules["msvcrt"] = types.SimpleNamespace(LK_UNLCK=0, LK_NBLCK=2, locking=locking)


opens = os.open
"""


def child(code, cwd):
    """Runs code after WINDOWS, with the repository's packages."""
    program = WINDOWS + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=300,
        env=dict(systems.os.environ, PYTHONPATH=str(ROOT)),
    )  # fmt: skip


ALL = """
import numba, h5py, keras, tensorflow, matplotlib.pyplot, tyro, nltk, numpy, safetensors.numpy
import threadpoolctl, tqdm

become()
import importlib, pathlib
import charlm
root = pathlib.Path(charlm.__file__).parents[1]
for folder in ("charlm", "callbacks", "corpora"):
    for path in sorted((root / folder).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
del sys.modules["torch"]
"""
RUN = """
from charlm import systems, train, sample
from charlm.runs import hdf5_child, run_folder
assert not (systems.HAS_OWNERS or systems.HAS_OPEN_FOLDERS or hdf5_child.HAS_LIMITS)
small = "--cell keras-rnn --units 3 --batch-size 2 --window 7 --sample-length 9".split()
small += ["--runs-dir", "r"]
assert train.main(["small.txt", "--name", "a", "--epochs", "1", *small]) == 0
folder = pathlib.Path("r/a")
with run_folder.locked(folder):
    assert train.main(["--resume", "a", "--epochs", "2", "--runs-dir", "r"]) == 2
assert not held, "a lock was not released"
again = ["--resume", "a", "--epochs", "2", "--runs-dir", "r", "--sample-length", "5"]
assert train.main(again) == 0
assert sample.main(["a", "--runs-dir", "r", "--length", "11", "--seed", "1"]) == 0

import faulthandler, io, json, threading, time
from charlm import paths
from charlm.kernels import buffer_pool
assert not buffer_pool.zeros(70, 90).any()
os.environ["CHARLM_CACHE"] = str(pathlib.Path("cache", "deep"))
place, order = paths.cache("inner"), []

def second():
    with paths.locked(place, lambda: order.append("waits")):
        order.append("second")

thread = threading.Thread(target=second)
with paths.locked(place):
    thread.start()
    while not order:
        time.sleep(0.01)
    order.append("first")
thread.join()
assert order == ["waits", "first", "second"]
assert not held

import io
from corpora import files
files.OPEN_FILES, sys.stdin = "no such folder", io.TextIOWrapper(io.BytesIO(b"piped in"))
(piped,) = files.load("-").documents
assert piped.text == "".join(piped.pieces()) == "piped in"
print(piped.path)

data, shown = (folder / "last.weights.h5").read_bytes(), sys.stdout
sys.argv = ["x", str(len(data)), "99"]
sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(data)), io.TextIOWrapper(io.BytesIO())
hdf5_child.main()
faulthandler.cancel_dump_traceback_later()
listed, sys.stdout = json.loads(sys.stdout.buffer.getvalue()), shown
assert len(listed["arrays"]) > 4
print(sorted(os.listdir(folder)))
"""


NAMES = ["con", "NUL.txt", "com7", "lpt1.x.y", "conin$", "com²", "a.", "a ", "a:b", "q?", "x*"]
NAMES += ["a<b", 'a"', "p|q", "a\tb"]
FINE = ["console", "com10", "com0", "a.b", ".lock", "nulls", "ä ö", "last.weights.h5", "-x", "com"]


@pytest.mark.parametrize("name", [*NAMES, *FINE])
def test_windows_keeps_some_names_to_itself(name, monkeypatch):
    assert systems.is_file_name(name)  # here
    monkeypatch.setattr(systems, "IS_WINDOWS", True)
    assert systems.is_file_name(name) == (name in FINE)
    if hasattr(ntpath, "isreserved"):
        assert ntpath.isreserved(name) == (name in NAMES)


def test_a_run_is_named_so_that_windows_takes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "IS_WINDOWS", True)
    with pytest.raises(InputError, match="--name to be the name of a folder"):
        run_folder.new(tmp_path, "lr:0.1", "mine.txt", False)
    for corpus in ("con.txt", "a: b?.txt", "nul", "x..", " "):
        name = run_folder.new(tmp_path, None, corpus, False).name
        assert systems.is_file_name(name)


@pytest.mark.soak
def test_a_run_is_trained_without_what_posix_has(tmp_path):
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    done = child(ALL + RUN, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in use by process " in done.stderr
    *_, piped, last = done.stdout.splitlines()
    assert Path(piped).name.startswith("charlm-")
    assert not Path(piped).exists()
    assert "'last.weights.h5', 'loss.png', 'run.json', 'samples.txt'" in last
    assert ".tmp" not in last
