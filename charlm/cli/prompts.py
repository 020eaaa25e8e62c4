"""The prompt of `charlm sample`: given on the command line, in a file or on standard input."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from charlm import cli
from charlm.errors import InputError
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.untrusted import check_size, file_bytes
from charlm.text.vocab import UnknownCharacterError
from corpora import detection
from corpora.decoding import MARK
from corpora.files import read_piped
from corpora.normalizing import normalized

MAX_PROMPT = 2**24  # bytes of a file: minutes of reading


def read(
    prompt: str | None,
    file: Path | None,
    unknown: Literal["refuse", "skip"],
    saved: Checkpoint,
    what: str = "prompt",
) -> str:
    """Returns the prompt in characters that the model knows, in the Unicode form of its text.

    Args:
        prompt: the text, or None.
        file: a UTF-8 file with the text instead, "-" for standard input.
        unknown: refuse or skip characters that are not in the vocabulary.
        saved: the run.
        what: the text, for messages.

    Raises:
        InputError: the file cannot be read, or a character is unknown.
    """
    text = normalized(
        (prompt or "") if file is None else _file_text(file), saved.config.data.normalize
    )
    if unknown == "skip":
        return saved.vocab.known(text)
    try:
        saved.vocab.encode(text)
    except UnknownCharacterError as error:
        raise InputError(f"{what}: {error}; --unknown skip leaves such characters out") from None
    return text


def stops(strings: Iterable[str], saved: Checkpoint) -> tuple[str, ...]:
    """Returns stop sequences in the Unicode form of the run's text.

    Raises:
        InputError: the model cannot write one.
    """
    found = tuple(normalized(stop, saved.config.data.normalize) for stop in strings)
    for stop in found:
        if saved.vocab.known(stop) != stop:
            raise InputError(
                f"expected --stop to have characters of the vocabulary only, found {stop!r}, "
                "which the model cannot write"
            )
    return found


def _file_text(path):
    piped = path == Path("-")
    what = f"UTF-8 text in {'standard input' if piped else path}"
    try:
        data = _piped(what) if piped else file_bytes(path, what, MAX_PROMPT)
    except ValueError as error:
        raise InputError(f"cannot read {what}: {error}; --prompt takes the text itself") from error
    try:
        text = data.decode(detection.of_mark(data, "utf-8")).removeprefix(MARK)
    except UnicodeDecodeError as error:
        wrong, likely = error.object[error.start], detection.likely(data)
        raise InputError(
            f"expected {what}, found byte {wrong:02x} at offset {error.start}"
            + (f"; it looks like {' or '.join(likely)}" if likely else "")
            + "; save it as UTF-8, or give the text itself with --prompt"
        ) from None
    if b"\0" in data and detection.of_mark(data, "utf-8") == "utf-8":
        likely = detection.likely(data) or ["binary data"]
        raise InputError(
            f"expected {what}, found a zero byte at offset {data.index(0)}; it looks like "
            f"{likely[0]}; save it as UTF-8, or give the text itself with --prompt"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as a corpus is read


def _piped(what):
    cli.note_terminal()
    data = read_piped(MAX_PROMPT + 1)
    check_size(what, len(data), MAX_PROMPT)
    return data
