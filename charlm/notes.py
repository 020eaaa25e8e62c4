"""Output on standard error: notes, and the progress of long work."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TextIO

from charlm import interrupt

# control characters of terminals, escaped as in Python
CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if c not in b"\n\t"}
SILENCE = 1.0  # seconds; shorter work shows no progress
EVERY = 30.0  # seconds between lines of progress, if standard error is not a terminal
APART = 5.0  # seconds between lines about different work, such as short epochs
REFRESH = 0.5  # seconds between two looks at the clock
BAR = "{desc} {percentage:3.0f}%|{bar:6}| {remaining} left{postfix}"  # with figures, 80 columns
NO_TOTAL = "{desc} ({elapsed}){postfix}"

DETAILS = " (--debug shows details)"  # at the end of a line about which `detail` says more

# whether --debug was given
_detailed: ContextVar[bool] = ContextVar("details wanted", default=False)

# the notes that wait, in the thread that is within `held` or `silenced`
_waiting: ContextVar[list[str] | None] = ContextVar("notes that wait", default=None)
_without_progress: ContextVar[bool] = ContextVar("no progress is wanted", default=False)
_tqdm: Any = None
_last_line = -APART  # when a line of progress was printed
_loading = threading.Lock()


def note(line: str) -> None:
    """Prints to standard error, at once; within `held`, at its end."""
    waiting = _waiting.get()
    if waiting is not None:
        waiting.append(line)
    elif sys.stderr is not None:
        with above_bars():
            print(line.translate(CONTROLS), file=sys.stderr, flush=True)


def detail(lines: str) -> None:
    """Prints to standard error within `detailed`."""
    if _detailed.get():
        note(lines)


@contextlib.contextmanager
def detailed(wanted: bool) -> Iterator[None]:
    """Prints details within it if they are wanted."""
    token = _detailed.set(wanted)
    try:
        yield
    finally:
        _detailed.reset(token)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keeps notes back while standard error is redirected."""
    lines: list[str] = []
    token = _waiting.set(lines)
    try:
        yield
    finally:
        _waiting.reset(token)
        for line in lines:
            note(line)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drops the notes within it, and shows no progress."""
    token = _waiting.set([])
    try:
        with without_progress():
            yield
    finally:
        _waiting.reset(token)


@contextlib.contextmanager
def without_progress(asked: bool = True) -> Iterator[None]:
    """Shows no progress within it, if asked."""
    token = _without_progress.set(asked or _without_progress.get())
    try:
        yield
    finally:
        _without_progress.reset(token)


def step_of_progress(line: str) -> None:
    """Prints a line about the next step of long work, unless no progress is wanted."""
    if not _without_progress.get():
        note(line)


@contextlib.contextmanager
def above_bars() -> Iterator[None]:
    """Takes progress bars off the terminal while something else is printed on it."""
    with _tqdm.external_write_mode() if _tqdm else contextlib.nullcontext():
        yield


def _load_tqdm():
    """Imports tqdm once, and publishes it when it is ready for other threads."""
    global _tqdm
    with _loading:
        if _tqdm is None:
            from tqdm import tqdm

            tqdm.set_lock(threading.RLock())  # the default is for several processes
            _tqdm = tqdm
    return _tqdm


@contextlib.contextmanager
def progress(
    what: str, total: float | None = None, first: float = 0, file: TextIO | None = None
) -> Iterator[Callable[..., None]]:
    """Shows the progress of work that takes more than a second.

    On a terminal it is a line that renews itself; elsewhere a line after a second, then every 30
    seconds. Short pieces of work, one after the other, show a line every 5 seconds.

    Args:
        what: the work, for example "encoding mine.txt".
        total: units of work; None if it is unknown, then the seconds so far are shown.
        first: units that were done earlier.
        file: where to show it, by default standard error.

    Yields:
        A function; call it with the number of units done since its last call and, optionally, a
        string of figures that replaces the last one.
    """
    file = file or sys.stderr
    if _without_progress.get() or file is None or file.closed:
        yield lambda n=1, figures="": None
        return
    shown = _Progress(what, total, first, file)
    try:
        yield shown.tell
    finally:
        shown.close()


class _Progress:
    """Counts units of work; a thread shows them, so that counting costs nothing."""

    def __init__(self, what, total, first, file):
        self.what, self.total, self.file = what.translate(CONTROLS), total, file
        self.done, self.first, self.figures = first, first, ""
        self.began = time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self.thread.start()

    def tell(self, n=1, figures=""):
        self.done += n
        self.figures = figures or self.figures

    def close(self):
        self.ended.set()
        self.thread.join()

    def _show(self):
        if self.ended.wait(SILENCE):
            return
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self._bar() if self.file.isatty() else self._lines()

    def _bar(self):
        tqdm = _load_tqdm()
        with interrupt.printing:
            bar = tqdm(
                desc=self.what, total=self.total, initial=self.first, file=self.file, leave=False,
                bar_format=NO_TOTAL if self.total is None else BAR, nrows=24,
            )  # fmt: skip
        bar.start_t -= time.monotonic() - self.began
        try:
            while True:
                bar.ncols = shutil.get_terminal_size().columns  # tqdm shows nothing if it is 0
                bar.n = self.done
                with interrupt.printing:
                    bar.set_postfix_str(self.figures)  # and refresh
                if self.ended.wait(REFRESH):
                    return
        finally:
            with interrupt.printing:
                bar.close()

    def _lines(self):
        global _last_line
        if self.ended.wait(max(0, _last_line + APART - time.monotonic())):
            return
        while True:
            with interrupt.printing:
                print(self._line(), file=self.file, flush=True)
            _last_line = time.monotonic()
            if self.ended.wait(EVERY):
                return

    def _line(self):
        line = self.what
        if self.total and self.done > self.first:
            seconds = time.monotonic() - self.began
            left = seconds * (self.total - self.done) / (self.done - self.first)
            line += f": {100 * self.done / self.total:.0f}%, {in_minutes(left)} left"
        return f"{line}, {self.figures}" if self.figures else line


def in_minutes(seconds: float) -> str:
    """Formats a time.

    >>> in_minutes(3725), in_minutes(65)
    ('1:02:05', '1:05')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
