"""Ctrl-C in the process of a command: "interrupted" and exit code 130, whatever is being loaded.

A `KeyboardInterrupt` is of no use while modules are imported: the start of an extension module
turns it into an ImportError, prints a traceback or loses it. So until a command has begun, and
during every import after that, the signal's handler ends the process itself.

Where charlm is used as a library, signals are left alone.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

CODE = 128 + signal.SIGINT
LINE = b"interrupted\n"

_stderr = None  # the one that the process began with: quiet_stderr redirects file descriptor 2
_asked = False
_actions: list[Callable[[], object]] = []


def begin() -> None:
    """Answers Ctrl-C from here on, if this is the process of a command.

    Where the parent had SIGINT ignored (nohup, a job in the background), it stays ignored.
    """
    global _stderr
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(OSError):  # it may be closed
            _stderr = os.dup(2)
        signal.signal(signal.SIGINT, leave)


def _terminate(number, frame):
    """Ends the process by SIGTERM, without files half made."""
    _act()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _act():
    for action in _actions:
        with contextlib.suppress(Exception):
            action()


def _is_command():
    """Whether Python was started as `charlm`, or as `python -m charlm` or one of its modules."""
    first, *_ = argv = getattr(sys, "argv", None) or [""]
    if first != "-m":  # which it is until the module itself has been found
        return os.path.basename(first) == "charlm"
    module = sys.orig_argv[-len(argv)]
    if module.startswith("-"):  # python -mcharlm, python -Imcharlm
        module = module.partition("m")[2]
    return module.partition(".")[0] == "charlm"


def leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Ends the process at once. A signal's handler."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _act()
    if _stderr is not None:
        with contextlib.suppress(OSError):
            os.write(_stderr, LINE)
    os._exit(CODE)


def last_handler(number: int) -> Callable | int:
    """What answers a signal that shall end the process at once."""
    return leave if number == signal.SIGINT and _stderr is not None else signal.SIG_DFL


def _unwind(number, frame):
    """Raises KeyboardInterrupt, but ends the process at once within an import."""
    global _asked
    signal.signal(signal.SIGINT, leave)  # a second Ctrl-C does not wait for what tidies up
    if _importing(frame):
        leave()
    _asked = True
    raise KeyboardInterrupt


def _importing(frame):
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Within it Ctrl-C is a KeyboardInterrupt again, except in imports."""
    ours = signal.getsignal(signal.SIGINT) is leave
    if ours:
        signal.signal(signal.SIGINT, _unwind)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, leave)


@contextlib.contextmanager
def before_leaving(action: Callable[[], object]) -> Iterator[None]:
    """Within it `action` is done before Ctrl-C or SIGTERM ends the process, to remove files."""
    _actions.append(action)
    ours = _stderr is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:  # only here, for Python's handlers wait for the end of a call into a library
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        _actions.remove(action)
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def asked() -> bool:
    """Whether Ctrl-C was pressed: libraries may raise another error for the KeyboardInterrupt."""
    return _asked


def finish() -> int:
    """Says that the command was interrupted, and ends the process if it is the command's.

    Python's own end would first wait for threads, such as one that compiles.
    """
    if signal.getsignal(signal.SIGINT) is leave:
        leave(signal.SIGINT, None)
    print(LINE.decode(), end="", file=sys.stderr)
    return CODE


def disregard() -> None:
    """Ctrl-C changes nothing any more: the command is done, and its exit code is known."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
