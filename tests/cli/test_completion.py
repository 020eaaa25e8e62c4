"""Law: tab completes commands, options, their values, runs and files, in bash and in zsh."""

import importlib
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from charlm.__main__ import COMMANDS, main
from charlm.cli import option_table

BASH = shutil.which("bash")
TRY = """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _charlm; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    for name in ("first", "second"):
        (folder / "saved_models" / name).mkdir(parents=True)
    (folder / "mine.txt").write_text("a")
    return folder


@pytest.fixture
def script(capsys):
    def write(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return write


@pytest.fixture
def offered(script, place):
    """What bash offers for the last word of a command line."""
    if BASH is None:
        pytest.skip("no bash")
    text = script("bash")

    def ask(*words):
        done = subprocess.run(
            [BASH, "--norc", "-c", text + TRY, "x", "charlm", *words],
            cwd=place, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not done.stderr
        return done.stdout.split()

    return ask


@pytest.mark.usual(6)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        (["train", "--pres"], ["--preset"]),
        (["train", "--preset", "be"], ["best", "best-bpe", "best-gpu"]),
        (["train", "--cell", "keras-l"], ["keras-lstm"]),
        (["import", "x", "--cell", ""], ["lstm", "gru", "rnn"]),
        (["train", "--resume", "f"], ["first"]),
        (["train", "--resume", "la"], ["latest"]),
        (["sample", "se"], ["second"]),
        (["score", "mi"], ["mine.txt"]),
        (["train", "mi"], ["mine.txt"]),
        (["score", "mine.txt", "--run", "fi"], ["first"]),
        (["train", "--units", ""], []),  # so the shell offers files
        (["train", "--corpus", "mi"], []),
        (["bench", "--device", ""], ["cpu", "gpu"]),
        (["help", "sc"], ["score"]),
        (["completion", "z"], ["zsh"]),
        (["trian", "--"], []),
    ],
)
def test_bash(offered, words, expected):
    assert offered(*words) == expected


def test_bash_offers_every_command_and_option(offered):
    assert {*COMMANDS, "help", "completion", "--version"} <= {*offered("")}
    for name, (module, _) in COMMANDS.items():
        kind = getattr(importlib.import_module(module), name.capitalize())
        flags = {o.flags[-1] for o in option_table.every(kind) if o.flags}
        assert {*offered(name, "--")} == flags | {"--help"}
        assert flags < {*offered(name, "")}


def typed(argv, cwd, lines, keys):
    """What an interactive shell shows after these lines and keys."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(cwd)
        os.execvpe(argv[0], argv, os.environ | {"TERM": "dumb", "PS1": "> ", "HOME": str(cwd)})
    try:
        shown, end = "", time.monotonic() + 30
        os.write(terminal, "".join(f"{line}\n" for line in [*lines, "echo re''ady"]).encode())
        asked = False
        while time.monotonic() < end and "mine.txt" not in shown.rpartition("ready")[2]:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            elif "ready\r\n" in shown and not asked:
                os.write(terminal, keys.encode())
                asked = True
        return shown.rpartition("ready")[2]
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_an_interactive_shell(script, place, shell):
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell}")
    (place / f"charlm.{shell}").write_text(script(shell))
    options = ["--norc"] if shell == "bash" else ["-f"]
    lines = [f'eval "$(cat charlm.{shell})"']
    shown = typed([found, *options, "-i"], place, lines, "charlm sc\tmi\t")
    assert "charlm score mine.txt" in re.sub(r".\x08", "", shown)  # zsh rewrites the space
