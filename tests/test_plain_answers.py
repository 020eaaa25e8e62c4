"""Law: what a newcomer gets wrong is answered at once, in one line of plain words.

No row trains or loads a backend.
"""

import pytest

from charlm import run_folder, train
from tests.conftest import SMALL_TEXT
from tests.test_environment import drawing


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in with a text, a run named a and one whose name has spaces."""
    (tmp_path / "small.txt").write_text(SMALL_TEXT)
    (tmp_path / "saved_models").mkdir()
    for name in ("a", "my first run"):
        drawing(tmp_path / "saved_models" / name, "".join(set(SMALL_TEXT)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    return here / "saved_models" / "a"


def no_backend(*args):
    raise AssertionError("it prepared a training")


# --- the lock ---


def overwrite(capsys, monkeypatch):
    monkeypatch.setattr(train, "_load", no_backend)
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
    assert "a/.lock to be a file of its own" in err
    assert (here / "other").read_text() == "precious"


def test_so_is_a_run_that_another_process_holds(run, capsys, monkeypatch):
    with run_folder.locked(run):
        code, err = overwrite(capsys, monkeypatch)
    assert (code, err.count("\n")) == (2, 1)
    assert "saved_models/a to be free, found it in use by process" in err
