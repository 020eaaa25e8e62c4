"""What all commands share: dataclass to command line, errors to one line and an exit code."""

import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

import corpora
from charlm import interrupt, notes, paths
from charlm.cli import usage
from charlm.config import NO_TEXT, DataConfig
from charlm.errors import InputError, in_words
from charlm.notes import CONTROLS, note
from charlm.text.encode import Text, fingerprint, read
from charlm.training import allocator
from corpora import Corpus, CorpusError, CorpusNotFound

if TYPE_CHECKING:  # not every command reads a run
    from charlm.runs.checkpoint import Checkpoint

MOST = 1000  # characters of an error's line
SILENCE = 2.0  # seconds after which a person should see that something is being done
BAD_INPUT, FAILED = 2, 1


def parse(kind: type, prog: str, argv: list[str], default=None, **options):
    """An instance of dataclass `kind` from `argv`; `default` fills what argv leaves out.

    Raises:
        InputError: an option that is unknown or malformed, in one line.
        SystemExit: 0, after --help.
    """
    if default is not None:
        options["default"] = default
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    if default is not None:  # a flag whose default is True must still be there to be given
        markers = markers[:1]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                kind,
                prog=prog,
                args=argv,
                config=markers,
                **options,
            )
    except SystemExit as exit_:
        if exit_.code:
            line = usage.one_line(errors.getvalue(), kind, argv)
            raise InputError(f"{line}; see {prog} --help") from None
        sys.stdout.flush()  # the help, or Python would complain at exit
        raise


def parse_part(kind: type, prog: str, argv: list[str]):
    """One part of a command's options, by itself: the others' defaults are not known yet.

    Raises:
        InputError: an option of this part that is malformed.
    """
    part, _ = parse(kind, prog, argv, return_unknown_args=True, add_help=False)
    return part


def run(command, argv: list[str] | None) -> int:
    """Calls `command(argv)` and returns the process's exit code, its own or that of its error.

    0 done; 1 failed; 2 bad input; 130 or 143 stopped by a signal. A reader that goes away
    (`| head`) ends it quietly.
    """
    code = _run(command, sys.argv[1:] if argv is None else argv)
    interrupt.disregard()
    return code


def _run(command, argv):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong comes as an exception
    allocator.ask_for_reuse(os.environ)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a character
    try:
        paths.cache_folder()  # wrong variables are refused before anything is made
        with interrupt.unwinding(), contextlib.redirect_stdout(_Output(sys.stdout)):
            code = command(argv)
            sys.stdout.flush()
        return code or 0
    except InputError as error:
        return _say(error, BAD_INPUT, argv)
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # it was the output itself
            _discard_output()
        return _say(in_words(error), FAILED, argv, error)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:  # a bug, or the machine's limits: a line for the user all the same
        what = (str(error).strip().splitlines() or [""])[0][:300]
        hint = "" if "--debug" in argv else " (--debug shows where)"
        return _say(f"{type(error).__name__}: {what}{hint}", FAILED, argv, error)


class _OutputError(OSError):
    """Standard output cannot be written."""

    def __str__(self):
        return f"cannot write to standard output: {self.strerror}"


class _Output:
    """Standard output, whose errors can be told from those of files."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        return self._attempt(self._stream.write, text)

    def flush(self):
        self._attempt(self._stream.flush)

    def _attempt(self, do, *args):
        try:
            return do(*args)
        except BrokenPipeError:  # the reader went away, which is no error
            raise
        except OSError as error:
            raise _OutputError(error.errno, error.strerror) from error


def _interrupted():
    with contextlib.suppress(OSError, ValueError):  # what was written so far
        sys.stdout.flush()
    return interrupt.finish()


def _discard_output():
    """What is still to be written goes nowhere, or Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def visible(text: str) -> str:
    """Text for standard output: a terminal shows control characters and does not obey them."""
    return text.translate(CONTROLS) if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Prints at once; a reader that has gone away or a full disk behind it does not end a run."""
    with contextlib.suppress(OSError):
        print(visible(text), flush=True)


def corpus(data: DataConfig, saved: "Checkpoint | None" = None, again: str = "") -> Corpus:
    """The text that the settings name; if they name none, that of a saved run.

    Without either it is the default corpus, or Python's documentation where that is missing.

    Args:
        saved: the run.
        again: the command that was given, in case it has to be given again with --corpus.

    Raises:
        InputError: the run's text is not where its weights file says, or it has none.
        CorpusError: there is no text, or it cannot be read.
    """
    if data.corpus is None and saved is not None:
        return _stored_corpus(replace(data, corpus=saved.config.data.corpus), again)
    if data.corpus == "-":
        note_terminal()
    try:
        return corpora.load(corpora.DEFAULT if data.corpus is None else data.corpus, data.encoding)
    except CorpusNotFound as error:
        if data.corpus is not None:
            raise
        note(
            f"NOTE: no State of the Union corpus, so this reads {corpora.FALLBACK!r} instead "
            f"({error})"
        )
        return corpora.load(corpora.FALLBACK)


def note_terminal() -> None:
    """Says what standard input waits for, if it is a terminal."""
    if sys.stdin is not None and sys.stdin.isatty():
        note("reading text from the terminal, up to Ctrl-D at the beginning of a line")


def _stored_corpus(data, again):
    """The text that a weights file names. It may be a stranger's file, so not all is opened."""
    if data.corpus is None:
        return corpus(data)
    if data.corpus == NO_TEXT:
        raise InputError(
            "expected the name of a text, found '', which names none; a run that was imported "
            "without a text is trained on with --init-from RUN --corpus FILE, and measured with "
            "--corpus FILE alone"
        )
    if data.corpus == "-":
        advice = f"; pipe it in again: cat FILE | {again} --corpus -" if again else ""
        raise InputError(f"expected the run's text, found that it came from standard input{advice}")
    try:
        return corpora.load_stored(data.corpus, data.encoding)
    except CorpusError as error:
        raise InputError(
            f"expected the run's text where its weights file says, found: {error}; give --corpus "
            "if it lies elsewhere or is several files"
        ) from error


def text(corpus: Corpus) -> Text:
    """A corpus as ids. What takes long is told on standard error.

    Raises:
        InputError: it has but one distinct character.
        CorpusError, OSError: see `charlm.text.encode.read`.
    """
    found = read(corpus, note)
    if len(found.vocab) < 2:
        raise InputError(
            f"expected at least 2 distinct characters in the corpus, found {len(found.vocab)} "
            f"({found.vocab.characters!r}); there is nothing to predict"
        )
    return found


def documents(
    corpus: Corpus, saved: "Checkpoint", unknown: Literal["refuse", "skip"]
) -> list[tuple[str, np.ndarray]]:
    """(name, ids of a model's vocabulary) of each document, all in memory.

    Says what is skipped, and whether it is the text that the model was trained on.

    Raises:
        InputError: a character that the model does not know, unless they are to be skipped.
    """
    texts = [(d.name, "".join(d.pieces())) for d in corpus.documents]
    found, skipped = [], 0
    for name, text in texts:
        known = saved.vocab.known(text) if unknown == "skip" else text
        skipped += len(text) - len(known)
        try:
            found.append((name, saved.vocab.encode(known, saved.vocab.dtype)))
        except InputError as error:
            raise InputError(
                f"{corpora.title(name)}: {error}; give --unknown skip to leave such out"
            ) from None
    if skipped:
        total = sum(len(text) for _, text in texts)
        note(f"NOTE: left out {skipped:,} of {total:,} characters, which the model does not know")
    learned_from = saved.corpus_sha256, *saved.learned_before
    if fingerprint(text for _, text in texts) in learned_from:
        note(
            f"NOTE: the run was trained on most of {corpus.title}, so these figures say how well "
            "it remembers; charlm evaluate without --corpus measures on what was held out"
        )
    return found


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
def quiet_stderr():
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


def _say(message, code, argv, error=None):
    if interrupt.asked():  # of which a library has made this error
        return _interrupted()
    if "--debug" in argv:
        traceback.print_exception(error or message)
    line = " ".join(str(message).split()).translate(CONTROLS)
    if len(line) > MOST:  # it may begin with a long path, and ends with what to do
        line = f"{line[: MOST // 2]} ... {line[-MOST // 2 :]}"
    print(f"error: {line}", file=sys.stderr)
    return code
