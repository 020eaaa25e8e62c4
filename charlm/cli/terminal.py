"""The terminal: lines, progress bars, and what libraries write to it."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from charlm import notes
from charlm.errors import InputError
from charlm.notes import CONTROLS, note

SILENCE = 2.0  # seconds after which a person should see that something is being done


def visible(text: str) -> str:
    """Text for standard output: a terminal shows control characters and does not obey them."""
    return text.translate(CONTROLS) if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Prints at once; a reader that has gone away or a full disk behind it does not end a run."""
    with contextlib.suppress(OSError):
        print(visible(text), flush=True)


def note_terminal() -> None:
    """Says what standard input waits for, if it is a terminal."""
    if sys.stdin is not None and sys.stdin.isatty():
        note("reading text from the terminal, up to Ctrl-D at the beginning of a line")


@contextlib.contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Shows how far something is: a bar on a terminal, elsewhere one line after two seconds.

    Yields:
        A function to be called with the number of units that were done since it was last called.
    """
    from tqdm import tqdm

    with tqdm(desc=what, total=total, unit=unit, unit_scale=True, disable=None, leave=False) as bar:
        began, noted = time.monotonic(), False

        def tell(n):
            nonlocal noted
            bar.update(n)
            if bar.disable and not noted and time.monotonic() - began > SILENCE:
                note(what)
                noted = True

        yield tell


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what native code writes to stderr (TensorFlow's banner); shows it on an error.

    TF_CPP_MIN_LOG_LEVEL does not reach what TensorFlow says while it is loaded.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with notes.held(), tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:
            raise
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


class OutputError(OSError):
    """Standard output cannot be written."""

    def __str__(self):
        return f"cannot write to standard output: {self.strerror}"


class Output:
    """Standard output, whose errors can be told from those of files."""

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
        except BrokenPipeError:  # the reader went away, which is no error
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
