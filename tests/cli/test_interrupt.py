"""Law: Ctrl-C ends any command at any moment with "interrupted" and 130, and leaves nothing behind.

Processes of a command only: where charlm is a library, signals are the program's own.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from charlm import interrupt
from tests.cli.test_commands import TRAIN
from tests.conftest import SMALL_TEXT
from tests.test_environment import drawing, environment

PACKAGE = Path(interrupt.__file__).parent
FIRST_LINES = PACKAGE / "__init__.py", PACKAGE / "interrupt.py"
SCRIPT = "import sys\nfrom charlm.__main__ import main\nsys.exit(main())\n"  # as pip makes it
COMMANDS = {
    "a module": ["-m", "charlm.train", "--corpus", "small.txt", "--epochs", "9999", *TRAIN],
    "charlm": ["-m", "charlm", "sample", "r", "--length", "9999999", "--seed", "1"],
    "the script": ["charlm", "score", "small.txt", "--run", "r", "--per-character"],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a text, a run named r and the console script."""
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    (tmp_path / "charlm").write_text(SCRIPT)
    drawing(tmp_path / "r", "".join(set(SMALL_TEXT)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(argv, **options):
    return subprocess.Popen(
        [sys.executable, *argv], env=environment(**options.pop("variables", {})),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def check_interrupted(argv, moment):
    """Sends the signal; returns whether Python had come to charlm's first lines by then."""
    with start(argv) as process:
        time.sleep(moment)
        done = process.poll() is not None
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
    if done:
        assert code == 0, err
    elif code == 0:  # it was done, and about to end
        assert err == ""
    elif code != 130:  # Python's own start
        assert code in (-signal.SIGINT, 1), (code, err)
        frames = {line.split('"')[1] for line in err.splitlines() if line.startswith('  File "')}
        ours = {f for f in frames if f.startswith(str(PACKAGE))} - {str(f) for f in FIRST_LINES}
        assert not ours, err
        return False
    elif "stopped by SIGINT and saved" in out:
        assert err == ""
    else:
        assert err.endswith("interrupted\n")
        assert err.count("interrupted") == 1
        assert "Traceback" not in err
        assert "Exception ignored" not in err
    return True


def moments(argv, times):
    answered = [check_interrupted(argv, t) for t in times]
    assert sum(answered) > len(answered) / 2
    return f"{sum(answered)} of {len(answered)}"


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize("which", COMMANDS)
def test_at_many_moments(here, which):
    latest = 3 if which == "a module" else 0.8
    moments(COMMANDS[which], [0.06 + latest * k / 8 for k in range(8)])


@pytest.mark.soak
@pytest.mark.parametrize("which", COMMANDS)
def test_at_every_twentieth_of_a_second(here, which):
    latest = 6 if which == "a module" else 1.5
    found = moments(COMMANDS[which], [k / 20 for k in range(round(20 * latest))])
    print(f"{which}: {found} answered, the others before Python came to charlm")


# An import that loses the exception, as the start of an extension module may, or makes another.
LOSES = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
except BaseException as error:
    {instead}
print("it went on")
"""


@pytest.mark.parametrize("instead", ["pass", "raise ImportError('failed') from error"])
@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--corpus", "small.txt", *TRAIN],
        ["export", "r"],
    ],
    ids=lambda argv: argv[0],
)
def test_an_import_that_loses_it(here, argv, instead):
    (here / "lib").mkdir()
    (here / "lib" / "keras.py").write_text(LOSES.format(instead=instead))
    before = sorted(here.iterdir())
    path = os.pathsep.join([str(here / "lib"), *filter(None, sys.path)])
    with start(["-m", "charlm", *argv], variables={"PYTHONPATH": path}) as process:
        code, out, err = ended(process)
    assert (code, err) == (130, "interrupted\n")
    assert not [
        line for line in out.splitlines() if not line.startswith(("preset", "for a", "hint"))
    ]
    assert sorted(p for p in here.iterdir() if p.name != "__pycache__") == before


def test_after_its_end_it_changes_nothing(here):
    (here / "lib").mkdir()
    late = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    (here / "lib" / "sitecustomize.py").write_text(late)
    path = os.pathsep.join([str(here / "lib"), *filter(None, sys.path)])
    argv = ["-m", "charlm", "sample", "r", "--length", "5", "--seed", "1"]
    with start(argv, variables={"PYTHONPATH": path}) as process:
        code, out, err = ended(process)
    assert (code, len(out), err) == (0, 6, "")


@pytest.mark.soak
@pytest.mark.parametrize("which", ["a module", "charlm"])
def test_ignored_by_the_parent_it_stays_ignored(here, which):
    argv = COMMANDS[which]
    argv = [{"9999": "4", "9999999": "400"}.get(word, word) for word in argv] + ["--quiet"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a child inherits that
    try:
        process = start(argv)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        while process.poll() is None:
            time.sleep(0.05)
            process.send_signal(signal.SIGINT) if process.poll() is None else None
        code, out, err = ended(process)
    assert (code, err) == (0, ""), err
    assert ("epoch 4/4" in out) == (which == "a module")


def test_its_line_is_the_last_while_progress_is_shown():
    """Though a thread prints progress all the time."""
    program = """if True:
        import os, signal, time
        from charlm import interrupt, notes
        interrupt._stderr = 2  # as in the process of a command
        signal.signal(signal.SIGINT, interrupt.leave)
        notes.SILENCE = notes.APART = notes.EVERY = 1e-6
        with notes.progress("working"):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)
    """
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=60)
        lines = done.stderr.splitlines()
        assert done.returncode == 130
        assert lines.count(b"working") == len(lines) - 1 > 10
        assert lines[-1] == b"interrupted"


PROGRAM = "import signal, charlm\nprint(signal.getsignal(signal.SIGINT).__name__)\n"


def test_a_library_leaves_signals_alone(here):
    (here / "charlmist").mkdir()
    (here / "charlmist" / "__init__.py").write_text(PROGRAM)
    (here / "charlmist" / "__main__.py").touch()
    path = os.pathsep.join([str(here), *filter(None, sys.path)])
    for argv in (["-c", PROGRAM], ["-m", "charlmist", "-m", "charlm"]):
        with start(argv, variables={"PYTHONPATH": path}) as process:
            code, out, err = ended(process)
        assert (code, out) == (0, "default_int_handler\n"), err


@pytest.mark.parametrize(
    ("original", "argv", "expected"),
    [
        (["python", "-m", "charlm.train", "a"], ["-m", "a"], True),
        (["python", "-X", "dev", "-mcharlm", "a", "b"], ["-m", "a", "b"], True),
        (["python", "-Im", "charlm.reference"], ["-m"], True),
        (["python", "-m", "charlmist"], ["-m"], False),
        (["python", "-m", "pytest", "-m", "charlm"], ["-m", "-m", "charlm"], False),
        (["python", "/usr/bin/charlm", "sample"], ["/usr/bin/charlm", "sample"], True),
        (["python", "-c", "import charlm"], ["-c"], False),
        (["python"], [""], False),
        (["python"], [], False),
    ],
)
def test_which_processes_are_a_command_s(monkeypatch, original, argv, expected):
    monkeypatch.setattr(sys, "orig_argv", original)
    monkeypatch.setattr(sys, "argv", argv)
    assert interrupt.is_command() == expected


def test_sigterm_removes_what_is_half_made_and_still_ends_by_the_signal():
    program = """if True:
        import os, signal
        from charlm import interrupt
        interrupt._stderr = 2  # as in the process of a command
        with interrupt.before_leaving(lambda: os.write(1, b"removed")):
            os.kill(os.getpid(), signal.SIGTERM)
            os.write(1, b", and went on")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"removed")


@pytest.mark.parametrize("name", ["llvmlite.binding.executionengine", "charlm.train"])
@pytest.mark.parametrize("file", ["<frozen importlib._bootstrap>", "charlm/train.py"])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_python_ignores_an_exception_in_an_import_or_a_callback_of_llvm(name, file, depth):
    """However deep in it the signal comes."""

    def frame(name, file, back=None):
        code = SimpleNamespace(co_filename=file)
        return SimpleNamespace(f_code=code, f_globals={"__name__": name}, f_back=back)

    found = frame(name, file, frame("__main__", "x.py"))
    for _ in range(depth):
        found = frame("os", "os.py", found)
    lost = name.startswith("llvmlite.") or file.startswith("<frozen")
    assert interrupt._would_be_lost(found) == lost


def test_a_library_has_no_handler_of_its_own():
    assert interrupt.last_handler(signal.SIGINT) is interrupt.last_handler(signal.SIGTERM) is None


@pytest.mark.parametrize(
    ("number", "stderr", "expected"),
    [
        (signal.SIGINT, "2", (130, b"interrupted\n")),
        (signal.SIGTERM, "2", (-signal.SIGTERM, b"")),
    ],
)
def test_a_signal_that_shall_end_it_at_once(number, stderr, expected):
    program = f"""if True:
        import os, signal
        from charlm import interrupt
        interrupt._stderr = {stderr}
        signal.signal({number:d}, interrupt.last_handler({number:d}))
        os.kill(os.getpid(), {number:d})
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == expected
