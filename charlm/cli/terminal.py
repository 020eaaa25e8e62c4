"""Terminal output: lines, progress bars, and the output of libraries."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import TextIO

from charlm import notes
from charlm.errors import InputError
from charlm.notes import CONTROLS, above_bars, note
from charlm.training.backend import chosen

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
_redirection = threading.RLock()


def visible(text: str) -> str:
    """Escapes control characters if standard output is a terminal."""
    return text.translate(CONTROLS) if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Prints a line at once; a closed pipe or a full disk does not end the run."""
    with contextlib.suppress(OSError), above_bars():
        print(visible(text), flush=True)


def note_terminal() -> None:
    """Prints that text is read from standard input, if that is a terminal."""
    if sys.stdin is not None and sys.stdin.isatty():
        note("reading text from the terminal; end it with Ctrl-D at the beginning of a line")


@contextlib.contextmanager
def quiet_stderr(what: str | None = None) -> Iterator[None]:
    """Holds back what native code writes to stderr (TensorFlow's banner); shows it on an error.

    Args:
        what: what is done meanwhile, which is shown as progress; by default, loading the backend.

    TF_CPP_MIN_LOG_LEVEL does not reach what TensorFlow prints while it is loaded. File descriptor 2
    belongs to the whole process, so one thread at a time redirects it.
    """
    with _redirection, contextlib.ExitStack() as stack:
        try:
            stderr = os.dup(2)
        except OSError:  # closed, so there is nothing to hold back
            yield
            return
        shown = stack.enter_context(open(stderr, "w", encoding="utf-8", errors="replace"))
        if sys.stderr is not None:
            sys.stderr.flush()
        backend = BACKENDS.get(chosen(), "the backend")
        stack.enter_context(notes.progress(what or f"loading {backend}", file=shown))
        stack.enter_context(notes.held())
        hidden = stack.enter_context(tempfile.TemporaryFile())
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except InputError:
            raise
        except Exception:
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)


class OutputError(OSError):
    """Error in writing to standard output."""

    def __str__(self):
        return f"cannot write to standard output: {self.strerror}"


class Output:
    """Standard output that raises `OutputError`, so that its errors differ from those of files."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int | None:
        return self._attempt(self._stream.write, text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, do, *args):
        try:
            return do(*args)
        except BrokenPipeError:  # the reader has closed the pipe, which is not an error
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
