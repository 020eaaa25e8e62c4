"""Notes on standard error, which are delayed while the output of libraries is held back."""

import contextlib
import sys
from collections.abc import Iterator

# control characters of terminals, escaped as in Python
CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if c not in b"\n\t"}

_waiting = None  # a list of notes, within `held`


def note(line: str) -> None:
    """Prints a line to standard error, at once or at the end of `held`."""
    if _waiting is None:
        print(line.translate(CONTROLS), file=sys.stderr, flush=True)
    else:
        _waiting.append(line)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delays notes until its end, while standard error is redirected."""
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
    """Drops all notes within the context."""
    global _waiting
    before, _waiting = _waiting, []
    try:
        yield
    finally:
        _waiting = before
