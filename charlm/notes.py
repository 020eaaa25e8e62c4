"""Notes on standard error. They wait while what libraries write there is held back."""

import contextlib
import sys
from collections.abc import Iterator

# characters that tell a terminal to do something, as they are written in Python
CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if c not in b"\n\t"}

_waiting: list[str] | None = None  # a list of notes, within `held`


def note(line: str) -> None:
    """Prints to standard error, at once; within `held`, at its end."""
    if _waiting is None:
        print(line.translate(CONTROLS), file=sys.stderr, flush=True)
    else:
        _waiting.append(line)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """For the time in which standard error leads elsewhere."""
    global _waiting
    before, _waiting = _waiting, []
    try:
        yield
    finally:
        lines, _waiting = _waiting, before
        for line in lines:
            note(line)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drops the notes within it."""
    global _waiting
    before, _waiting = _waiting, []
    try:
        yield
    finally:
        _waiting = before
