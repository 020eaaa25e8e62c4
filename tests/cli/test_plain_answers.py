"""Law: what a newcomer gets wrong is answered at once, in one line of plain words.

No row trains or loads a backend.
"""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

import corpora
from charlm import cli, paths, sample, train
from charlm.__main__ import main
from charlm.api import run_training
from charlm.cli import prompts
from charlm.errors import InputError, in_words
from charlm.interop import keras_files
from charlm.runs import hdf5_child, run_folder
from corpora import CorpusError
from tests.conftest import SMALL_TEXT
from tests.test_environment import drawing


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in with a text, a run named a and one whose name has spaces."""
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    (tmp_path / "saved_models").mkdir()
    for name in ("a", "my first run"):
        drawing(tmp_path / "saved_models" / name, "".join(set(SMALL_TEXT)), "gone.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    return here / "saved_models" / "a"


def no_backend(*args):
    raise AssertionError("it prepared a training")


# --- the lock ---


def overwrite(capsys, monkeypatch):
    monkeypatch.setattr("charlm.api.run_training.prepare", no_backend)
    code = train.main(["--corpus", "small.txt", "--name", "a", "--overwrite"])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_a_lock_that_is_a_link_is_refused_before_a_backend_loads(
    here, run, capsys, monkeypatch, link
):
    (here / "other").write_text("precious")
    getattr(run / ".lock", link)(here / "other")
    code, err = overwrite(capsys, monkeypatch)
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot use" in err
    assert "a/.lock: " in err
    assert (here / "other").read_text() == "precious"


def test_so_is_a_run_that_another_process_holds(run, capsys, monkeypatch):
    with run_folder.locked(run):
        code, err = overwrite(capsys, monkeypatch)
    assert (code, err.count("\n")) == (2, 1)
    assert "saved_models/a to be free, found it in use by process" in err


# --- damaged files ---


def test_a_damaged_run_is_refused_in_words_and_not_in_python(run, capsys):
    path = run / "last.weights.h5"
    path.write_bytes(path.read_bytes()[:500])
    assert sample.main(["a"]) == 2
    found = capsys.readouterr().err
    assert "found it damaged (" in found
    assert "Error(" not in found


@pytest.mark.parametrize("data", [b"\x89HDF\r\n\x1a\n" + bytes(700), b"no file"])
def test_so_is_what_the_hdf5_library_cannot_read(data):
    answer = hdf5_child.answer(data, 9).decode()
    assert "found it damaged (" in answer
    assert "Error(" not in answer


def test_so_is_damaged_json(here):
    path = here / "x.keras"
    path.write_bytes(b"PK\x03\x04" + bytes(99))
    with pytest.raises(InputError, match=r"found it damaged \(\w") as caught:
        keras_files.read(path)
    assert "BadZipFile(" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("layers"), "it has no 'layers'"),
        (ValueError("not a number"), "not a number"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_in_words(error, words):
    assert in_words(error) == words


# --- what cannot be written or read ---


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "argv", [["sample", "a", "--seed", "1"], ["score", "small.txt", "--run", "a"], ["--help"],
             ["sample", "--help"]],
)  # fmt: skip
@pytest.mark.parametrize("buffering", [1, -1])
def test_an_output_that_is_full(here, capsys, monkeypatch, argv, buffering):
    with contextlib.suppress(OSError), open("/dev/full", "w", buffering=buffering) as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(argv) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "error: cannot write to standard output: No space left on device"


def test_a_file_that_cannot_be_written_is_named_without_an_errno(here, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "x.safetensors")

    monkeypatch.setattr(sample.texts, "show", full)
    assert sample.main(["a", "--seed", "1"]) == 1
    assert capsys.readouterr().err == "error: x.safetensors: No space left on device\n"


# --- the text ---


def refusal(capsys, *argv):
    """The line with which a command line is refused."""
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    "argv",
    [["train", "--corpus", ""], ["train", "--resume", "a", "--corpus", ""], ["score", ""],
     ["evaluate", "a", "--corpus", ""]],
)  # fmt: skip
def test_an_empty_name_of_a_text_is_answered_without_advice_for_imported_runs(here, capsys, argv):
    found = refusal(capsys, *argv)
    assert "expected a corpus name, a file, a folder or a glob, found ''" in found
    assert "import" not in found


@pytest.mark.parametrize("name", ["/", "//", "/usr/..", "/proc", "/proc/self", "/sys", "up/"])
def test_the_system_s_own_folders_are_refused_before_they_are_searched(
    here, capsys, monkeypatch, name
):
    (here / "up").symlink_to("/")
    monkeypatch.setattr("os.scandir", no_backend)
    found = refusal(capsys, "train", "--corpus", name)
    assert "expected a folder of texts, found /" in found
    assert "give a folder that holds only texts" in found


def test_a_folder_whose_name_begins_like_one_of_them_is_searched(monkeypatch):
    monkeypatch.setattr("os.path.isdir", lambda path: True)
    with pytest.raises(CorpusError, match="cannot read /process: No such file"):
        corpora.load("/process")


def test_a_run_s_text_that_is_gone_says_where_it_was_looked_for(here, capsys):
    found = refusal(capsys, "train", "--resume", "a")
    what = "which is neither a file nor a folder with text in it"
    assert f"says: 'gone.txt', {what} (looked in {here})" in found


def test_but_not_where_its_name_says_so(here):
    with pytest.raises(CorpusError, match=r"in it$"):
        corpora.load_stored(str(here / "gone.txt"), "utf-8")


# --- hints ---


def test_a_name_with_spaces_can_be_copied_into_a_shell(here, capsys):
    found = refusal(capsys, "train", "--corpus", "small.txt", "--name", "my first run")
    assert "python -m charlm.train --resume 'saved_models/my first run' resumes it" in found


def test_so_can_a_damaged_run_s_best_epoch(here, capsys):
    last = here / "saved_models" / "my first run" / "last.weights.h5"
    last.with_name("best.weights.h5").write_bytes(last.read_bytes())
    last.write_bytes(b"damaged")
    found = refusal(capsys, "train", "--resume", "my first run")
    assert (
        "; python -m charlm.train --resume 'saved_models/my first run/best.weights.h5' resumes "
        "from the best epoch"
    ) in found


def test_no_other_place_writes_a_command_to_be_copied():
    """One that names a run or a file comes from `errors.command_line`, which quotes it."""
    for path in Path(paths.__file__).parent.rglob("*.py"):
        assert not re.search(r"python -m charlm\.\w+ [^;]{0,30}\{", path.read_text()), path


# --- the prompt ---


def from_stdin(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", data and io.TextIOWrapper(io.BytesIO(data)))
    return ["sample", "a", "--prompt-file", "-", "--seed", "1", "--length", "5"]


def test_a_prompt_is_read_from_standard_input(here, capsys, monkeypatch):
    assert main(from_stdin(monkeypatch, b"It was\r\nthe")) == 0
    out, err = capsys.readouterr()
    assert (out[:10], len(out), err) == ("It was\nthe", 16, "")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "cannot read standard input: it is closed"),
        (b"\xff", "expected UTF-8 text in standard input, found byte ff"),
        (
            b"x" * (prompts.MAX_PROMPT + 1),
            "expected UTF-8 text in standard input of 16777216 bytes",
        ),
    ],
    ids=["closed", "not UTF-8", "large"],
)
def test_what_is_no_prompt_there_is_refused(here, capsys, monkeypatch, data, expected):
    assert expected in refusal(capsys, *from_stdin(monkeypatch, data))


# --- the end of a run that could not be saved ---


def test_a_run_that_could_not_be_saved_ends_with_the_cause(run, capsys):
    unsaved = run_training._unsaved(run, "No space left on device", run_training.Reporting())
    assert cli.run(lambda argv: raises(unsaved), []) == 1
    assert capsys.readouterr().err == (
        f"error: cannot save the end of the run in {run}: No space left on device; once that is "
        f"fixed, python -m charlm.train --resume {run} resumes from the last save\n"
    )


def test_and_without_that_hint_where_nothing_was_saved_before(here):
    unsaved = run_training._unsaved(here / "r", "it is full", run_training.Reporting())
    assert str(unsaved).endswith("/r: it is full")


def raises(error):
    raise error


# --- what was typed ---


@pytest.mark.parametrize(("name", "shown"), [("", "''"), ("no run", "'no run'"), ("b", "b")])
@pytest.mark.parametrize("argv", [["sample"], ["train", "--resume"], ["score", "x", "--run"]])
def test_a_run_that_is_not_there_is_shown_as_typed(here, capsys, argv, name, shown):
    found = refusal(capsys, *argv, name)
    assert f"expected a run folder or a .weights.h5 file, found {shown}, which" in found


def test_several_values_are_shown_as_they_were_typed(here, capsys):
    found = refusal(capsys, "gradients", "--cells", "foo", "lstm", "a b")
    assert found.endswith(", found foo lstm 'a b'\n")


# --- standard input ---


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff", "expected utf-8 text in standard input, found byte ff"),
        (
            b"a\0",
            "expected text in standard input, found a zero byte at offset 1; it seems to be b",
        ),
        (b"Zebra", "error: standard input: expected characters"),
    ],
)
def test_standard_input_is_called_so(here, capsys, monkeypatch, data, expected):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert expected in refusal(capsys, "score", "-", "--run", "a")


def test_so_it_is_where_the_model_knows_it(here, run, capsys, monkeypatch):
    monkeypatch.setattr("charlm.cli.loading.fingerprint", lambda texts: "0")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"It was")))
    assert main(["score", "-", "--run", "a"]) == 0
    assert capsys.readouterr().err.startswith(
        "NOTE: the run was trained on most of standard input,"
    )


# --- options without an effect ---


@pytest.mark.parametrize("flag", ["--corpus", "--name", "--text-file"])
def test_reference_check_refuses_what_it_would_ignore(here, capsys, flag):
    found = refusal(capsys, "reference", "--check", flag, "gone.txt")
    assert f"{flag} has no effect with --check; leave it out" in found


def test_but_not_the_model_s_options(here, capsys):
    argv = ["--check", "--init", "a", "--runs-dir", "saved_models", "--seed", "2", "--debug"]
    assert main(["reference", *argv]) == 0


# --- notes ---


@pytest.mark.parametrize("fails", [False, True])
def test_notes_are_shown_while_what_libraries_write_is_held_back(capfd, monkeypatch, fails):
    own = open(2, "w", closefd=False)  # noqa: SIM115 - as a process has it
    monkeypatch.setattr("sys.stderr", own)
    with contextlib.suppress(InputError), cli.quiet_stderr():
        os.write(2, b"a banner\n")
        cli.note("NOTE: one")
        paths.say_once(f"NOTE: two, {fails}")
        if fails:
            raise InputError("refused")
    cli.note("NOTE: three")
    assert capfd.readouterr().err == f"NOTE: one\nNOTE: two, {fails}\nNOTE: three\n"


# --- where files go ---


@pytest.mark.usual(1)
@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ("evaluate a --corpus small.txt", ["a/evaluation.json", "a/evaluation.png"]),
        ("gradients a --corpus small.txt --steps 9", ["a/gradients.csv", "a/gradients.png"]),
        (
            "gradients --corpus small.txt --steps 9 --streams 2 --units 4",
            ["gradients.csv", "gradients.png"],
        ),
    ],
)
def test_nothing_is_written_into_the_current_folder_unasked(here, run, capsys, argv, names):
    def files():
        return {str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()}

    before = files()
    assert main(argv.split()) == 0
    written = [f"saved_models/{name}" for name in names]
    assert files() - before == {*written}
    assert capsys.readouterr().out.splitlines()[-1] == ", ".join(str(Path(p)) for p in written)
    assert main(argv.split()) == 0  # its own files are replaced
    for name in written:
        content = (here / name).read_bytes()
        (here / name).write_bytes(b'{"mine": 1}')
        others = {other: (here / other).read_bytes() for other in written if other != name}
        capsys.readouterr()
        if name.endswith(".png"):  # its data file shows whose it is
            assert main(argv.split()) == 0
            continue
        (here / written[1]).write_bytes(b"my picture")
        assert main(argv.split()) == 2
        assert "to be a new file or one of charlm's" in capsys.readouterr().err
        assert (here / name).read_bytes() == b'{"mine": 1}'
        (here / name).write_bytes(content)
        for other, data in others.items():
            (here / other).write_bytes(data)


def test_a_folder_that_cannot_be_made_is_named(here, capsys):
    assert main(["train", "--corpus", "small.txt", "--runs-dir", "/proc/x"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write in /proc/x")
