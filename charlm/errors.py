"""The package's errors, and helpers for their messages.

    CharlmError                     exit code 1: a command failed
        InputError                  exit code 2: the user can correct the input
            UnknownCharacterError   charlm.text.vocab: a character is not in the vocabulary
            CorpusError             corpora: a corpus cannot be read
                CorpusNotFound      corpora: a corpus does not exist
        NotFiniteError              charlm.runs.checkpoint: weights to save are NaN or infinite
        NonFiniteLossError          the training loss is NaN, infinite or has exploded
        PeerFailed                  charlm.benchmarks.workers: a worker process failed

Failures of the operating system are `OSError`s, and a command exits with code 1 for them too.
A training that SIGINT or SIGTERM stopped raises `Stopped`, a KeyboardInterrupt; the exit code is
130 or 143.
"""

import math
import re
import shlex
import signal
from typing import ClassVar

FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


class CharlmError(Exception):
    """Base class of the errors of charlm; the message is one line.

    It is not a ValueError, so code that handles ValueErrors does not catch it by accident.
    """

    exit_code: ClassVar[int] = 1
    """The exit code of a command that ends with this error."""


class InputError(CharlmError):
    """Error in the user's input: the message says what was expected, what was found, what to do.

    Raised before anything is created or overwritten.
    """

    exit_code = 2


class SettingError(InputError):
    """A setting has a wrong value. The message names its flag, `as_argument` its argument.

    Args:
        name: of the setting, with underscores.
        expected: what it has to be, in words.
        found: its value.
    """

    def __init__(self, name: str, expected: str, found: object):
        self.setting = name, f"to be {expected}, found {found!s:.100}"
        super().__init__(f"expected {flag(name)} {self.setting[1]}")

    def as_argument(self) -> InputError:
        """Returns the error in terms of Python's arguments."""
        name, rest = self.setting
        return InputError(f"expected {name} {FLAG.sub(_as_argument, rest)}")


class NonFiniteLossError(CharlmError):
    """The training loss is NaN, infinite or has exploded."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM stopped a training, which has saved the run.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def require(ok: object, name: str, expected: str, value: object) -> None:
    """Raises InputError unless `ok`; the message names the setting by its flag."""
    if not ok:
        found = shlex.join(map(str, value)) if isinstance(value, tuple) else value
        raise SettingError(name, expected, found)


def check_temperature(value: float, name: str = "temperature") -> None:
    """Raises InputError unless `value` is finite and at least 0."""
    require(math.isfinite(value) and value >= 0, name, "a finite number, 0 or more", value)


def in_words(error: Exception) -> str:
    """Returns the message of an error of Python or a library without Python's notation."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text.removeprefix(f"[Errno {getattr(error, 'errno', None)}] ")


def command_line(name: str, *argv: object) -> str:
    """Returns a command line for messages, quoted so that it can be pasted into a shell."""
    return shlex.join(("python", "-m", f"charlm.{name}", *map(str, argv)))


def flag(name: str) -> str:
    """Returns the command-line flag of a setting: "top_k" -> "--top-k"."""
    return "--" + name.replace("_", "-")


def _as_argument(match):
    return match[1].replace("-", "_")
