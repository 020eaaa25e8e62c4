"""Errors caused by user input, and the words in which messages speak of files and commands."""

import shlex
import signal


class InputError(Exception):
    """Bad input: the message is one line that says what was expected, what was found, what to do.

    Commands print it and exit 2, so it is raised before anything is made or overwritten. It is no
    ValueError, so that nothing which handles those takes it for its own.
    """


class NonFiniteLossError(ArithmeticError):
    """The training loss is NaN, infinite or has exploded."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM stopped a training, which has saved the run.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def in_words(error: Exception) -> str:
    """What an error of Python or a library says, without the notation of Python around it."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text.removeprefix(f"[Errno {getattr(error, 'errno', None)}] ")


def command_line(name: str, *argv: object) -> str:
    """A command line for messages, to be copied into a shell as it is."""
    return shlex.join(("python", "-m", f"charlm.{name}", *map(str, argv)))
