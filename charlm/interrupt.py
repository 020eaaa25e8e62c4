"""Handles Ctrl-C in the process of a command: prints "interrupted" and exits with code 130.

A `KeyboardInterrupt` does not work while modules are imported: an extension module may turn it into
an ImportError, print a traceback or lose it. So before a command starts, and during every import
after that, the signal's handler ends the process itself.

If charlm is used as a library, signals are not handled.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

CODE = 128 + signal.SIGINT
LINE = b"interrupted\n"

printing = threading.Lock()  # held by a thread that prints progress, in the end by `leave`
if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=lambda: globals().update(printing=threading.Lock()))

_stderr = None  # the original standard error, because quiet_stderr redirects file descriptor 2
_asked = False
_actions: list[Callable[[], object]] = []


def begin() -> None:
    """Handles Ctrl-C from here on, if this is the process of a command.

    If the parent ignores SIGINT (nohup, a background job), it stays ignored.
    """
    global _stderr
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(OSError):  # it may be closed
            _stderr = os.dup(2)
        signal.signal(signal.SIGINT, leave)


def _terminate(number, frame):
    """Ends the process by SIGTERM after removing unfinished files."""
    _act()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _act():
    for action in _actions:
        with contextlib.suppress(Exception):
            action()


def is_command() -> bool:
    """Whether Python was started as `charlm`, or as `python -m charlm` or one of its modules."""
    first, *_ = argv = getattr(sys, "argv", None) or [""]
    if first != "-m":  # it is "-m" until Python has found the module
        return os.path.basename(first).removesuffix(".exe") == "charlm"
    module = sys.orig_argv[-len(argv)]
    if module.startswith("-"):  # python -mcharlm, python -Imcharlm
        module = module.partition("m")[2]
    return module.partition(".")[0] == "charlm"


def leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Ends the process at once; a signal handler."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _act()
    printing.acquire(timeout=1)  # never released, so this is the last line; a pipe may be stalled
    if _stderr is not None:
        with contextlib.suppress(OSError):
            os.write(_stderr, LINE)
    os._exit(CODE)


def last_handler(number: int) -> Callable | int | None:
    """Returns the handler that ends a command's process at once, None in other processes."""
    if _stderr is None:
        return None
    return leave if number == signal.SIGINT else signal.SIG_DFL


def _unwind(number, frame):
    """Raises KeyboardInterrupt, but ends the process at once within an import."""
    global _asked
    signal.signal(signal.SIGINT, leave)  # a second Ctrl-C does not wait for clean-up
    if _would_be_lost(frame):
        leave()
    _asked = True
    raise KeyboardInterrupt


def _would_be_lost(frame):
    """Whether an exception raised here would not reach the command."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        if frame.f_globals.get("__name__", "").startswith("llvmlite."):
            return True  # a callback of LLVM's, where Python ignores exceptions
        frame = frame.f_back
    return False


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Makes Ctrl-C raise a KeyboardInterrupt within the context, except in imports."""
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
    """Calls `action` before Ctrl-C or SIGTERM ends the process within the context."""
    _actions.append(action)
    ours = _stderr is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:  # only here, because Python's handlers wait for library calls
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        _actions.remove(action)
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def asked() -> bool:
    """Whether Ctrl-C was pressed; libraries may replace the KeyboardInterrupt by another error."""
    return _asked


def finish() -> int:
    """Prints that the command was interrupted, and ends the process if it is the command's.

    Python's normal exit would first wait for threads, such as one that compiles.
    """
    if signal.getsignal(signal.SIGINT) is leave:
        leave(signal.SIGINT, None)
    print(LINE.decode(), end="", file=sys.stderr)
    return CODE


def disregard() -> None:
    """Ignores Ctrl-C from here on, because the command is done and its exit code is known."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
