"""Law: long work shows how far it is; short work and quiet commands show nothing."""

import io
import sys
import time

import pytest

from charlm import notes


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(notes, "SILENCE", 0.02)
    monkeypatch.setattr(notes, "EVERY", 0.02)
    monkeypatch.setattr(notes, "APART", 0.02)
    monkeypatch.setattr(notes, "REFRESH", 0.02)


def until(file, text):
    """Waits for the thread that shows the progress."""
    end = time.monotonic() + 20
    while text not in file.getvalue() and time.monotonic() < end:
        time.sleep(0.01)
    assert text in file.getvalue()


def test_a_terminal_has_one_line_that_renews_itself_and_goes(monkeypatch):
    shown = Terminal()
    with notes.progress("reading a\x1bb", 30, file=shown) as tell:
        tell(10, "3.1 bits/char")
        until(shown, "reading a\\x1bb  33%")
        until(shown, "left, 3.1 bits/char")
        tell(5)
        until(shown, " 50%")
    lines = shown.getvalue().split("\r")
    assert "\n" not in shown.getvalue()
    assert not lines[-1].strip()
    assert not lines[-2].strip()
    assert max(map(len, lines)) <= 80


def test_elsewhere_it_is_a_line_now_and_then():
    shown = io.StringIO()
    with notes.progress("epoch 1/3", 40, first=20, file=shown) as tell:
        until(shown, "epoch 1/3\n")
        tell(5)
        tell(5, "2.5 bits/char")
        until(shown, "epoch 1/3: 75%, 0:00 left, 2.5 bits/char\n")
    ended = shown.getvalue()
    time.sleep(0.06)
    assert shown.getvalue() == ended
    assert "\r" not in ended


def test_short_epochs_share_their_lines(monkeypatch):
    monkeypatch.setattr(notes, "APART", 0.5)
    monkeypatch.setattr(notes, "EVERY", 30)
    shown, began = io.StringIO(), time.monotonic()
    for _ in range(12):
        with notes.progress("epoch", 10, file=shown):
            time.sleep(0.1)
    seconds = time.monotonic() - began
    assert 1 <= shown.getvalue().count("\n") <= 1 + seconds / 0.5


def test_work_of_unknown_length_shows_the_seconds():
    shown = Terminal()
    with notes.progress("compiling", file=shown):
        until(shown, "compiling (00:00)")


@pytest.mark.parametrize("quiet", [notes.silenced, notes.without_progress])
def test_quiet(quiet):
    shown = Terminal()
    with quiet(), notes.progress("work", 3, file=shown) as tell:
        tell(1, "figures")
        time.sleep(0.06)
    assert not shown.getvalue()
    with notes.without_progress(False), notes.progress("work", 3, file=shown):
        until(shown, "work")


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.setattr(notes, "SILENCE", 20)
    shown, began = Terminal(), time.monotonic()
    with notes.progress("work", 3, file=shown) as tell:
        tell(3)
    assert not shown.getvalue()
    assert time.monotonic() - began < 10  # it does not wait for the thread


def test_a_note_is_printed_above_the_bar(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with notes.progress("work", 3):
        until(shown, "work   0%")
        notes.note("NOTE: a note")
    _, after = shown.getvalue().split("NOTE: a note\n")
    before = shown.getvalue().split("NOTE")[0].split("\r")
    assert not before[-1].strip()
    assert not before[-2].strip()
    assert after.lstrip("\r").startswith("work   0%")


@pytest.mark.parametrize("stream", [None, open(sys.executable, "rb")])  # noqa: SIM115
def test_without_a_place_to_show_it(monkeypatch, stream):
    if stream:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with notes.progress("work", 3) as tell:
        tell(1)


def test_a_terminal_that_has_gone_does_not_end_the_work():
    class Gone(Terminal):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with notes.progress("work", 3, file=Gone()) as tell:
        time.sleep(0.06)
        tell(1)
