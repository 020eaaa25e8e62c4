"""Notes on standard error, which are delayed while the output of libraries is held back."""

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar

# control characters of terminals, escaped as in Python
CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if c not in b"\n\t"}

DETAILS = " (--debug shows details)"  # at the end of a line about which `detail` says more

# whether --debug was given
_detailed: ContextVar[bool] = ContextVar("details wanted", default=False)

# the notes that wait, in the thread that is within `held` or `silenced`
_waiting: ContextVar[list[str] | None] = ContextVar("notes that wait", default=None)


def note(line: str) -> None:
    """Prints to standard error, at once; within `held`, at its end."""
    waiting = _waiting.get()
    if waiting is not None:
        waiting.append(line)
    elif sys.stderr is not None:
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
    """Drops the notes within it."""
    token = _waiting.set([])
    try:
        yield
    finally:
        _waiting.reset(token)
