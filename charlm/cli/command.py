"""Runs a command: parses its options and turns errors into one line and an exit code."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import tyro

from charlm import interrupt, notes, paths
from charlm.cli import help_page, usage
from charlm.cli.terminal import Output
from charlm.errors import CharlmError, InputError, NonFiniteLossError, Stopped, in_words
from charlm.notes import CONTROLS, detailed
from charlm.training import allocator

HELP = {"-h", "--help"}
MOST = 1000  # characters of an error's line
BAD_INPUT, FAILED = InputError.exit_code, CharlmError.exit_code


def parse(kind: type, prog: str, argv: list[str], default: Any = None, **options: Any) -> Any:
    """Parses `argv` into dataclass `kind`; `default` has the values that `argv` leaves out.

    Raises:
        InputError: an option is unknown or malformed; the message is one line.
        SystemExit: 0, after --help.
    """
    if options.setdefault("add_help", True) and HELP & set(argv):
        print(help_page.page(kind, prog, default), end="", flush=True)
        raise SystemExit(0)
    if default is not None:
        options["default"] = default
    markers: tuple[Any, ...] = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    if default is not None:  # a flag whose default is True must still be there to be given
        markers = markers[:1]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            found = tyro.cli(
                kind,
                prog=prog,
                args=argv,
                config=markers,
                **options,
            )
    except SystemExit:
        line = usage.one_line(errors.getvalue(), kind, argv)
        raise InputError(f"{line}; see {prog} --help") from None
    for flag in [] if "return_unknown_args" in options else usage.overridden(kind, argv):
        notes.note(f"NOTE: {flag} is given more than once; the last one counts")
    return found


def parse_part(kind: type, prog: str, argv: list[str]) -> Any:
    """Parses only some of a command's options, when the defaults of the others are not known yet.

    Raises:
        InputError: one of these options is malformed.
    """
    part, _ = parse(kind, prog, argv, return_unknown_args=True, add_help=False)
    return part


def run(command: Callable[[list[str]], int | None], argv: list[str] | None) -> int:
    """Calls `command(argv)` and returns the process's exit code.

    The code is 0 for success, 1 for a failure, 2 for bad input, 130 or 143 after a signal. If the
    reader of a pipe (`| head`) goes away, the command ends without a message.
    """
    code = _run(command, sys.argv[1:] if argv is None else argv)
    interrupt.disregard()
    return code


def _run(command, argv):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are raised as exceptions, too
    allocator.ask_for_reuse(os.environ)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a character
    try:
        paths.cache_folder()  # wrong variables are refused before anything is made
        output: Any = Output(sys.stdout)
        quiet = notes.without_progress("--quiet" in argv)
        wanted = detailed("--debug" in argv)
        with interrupt.unwinding(), contextlib.redirect_stdout(output), quiet, wanted:
            code = command(argv)
            sys.stdout.flush()
        return code or 0
    except NonFiniteLossError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return error.exit_code
    except CharlmError as error:
        return _say(error, error.exit_code, argv)
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # the output itself failed
            _discard_output()
        return _say(in_words(error), FAILED, argv, error)
    except Stopped as stopped:  # a training, which has printed a message
        return 128 + stopped.number
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:  # a bug, or a limit of the machine; still one line
        what = (str(error).strip().splitlines() or [""])[0][:300]
        hint = "" if "--debug" in argv else " (--debug shows where)"
        return _say(f"{type(error).__name__}: {what}{hint}", FAILED, argv, error)


def _interrupted():
    with contextlib.suppress(OSError, ValueError):  # the output so far
        sys.stdout.flush()
    return interrupt.finish()


def _discard_output():
    """Discards unwritten output, which Python would report as an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message, code, argv, error=None):
    if interrupt.asked():  # a library has turned it into this error
        return _interrupted()
    if "--debug" in argv:
        traceback.print_exception(error or message)
    line = " ".join(str(message).split()).translate(CONTROLS)
    if len(line) > MOST:  # it may begin with a long path, and its end says what to do
        line = f"{line[: MOST // 2]} ... {line[-MOST // 2 :]}"
    print(f"error: {line}", file=sys.stderr)
    return code
