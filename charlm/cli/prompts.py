"""The prompt of `charlm sample`: given on the command line, in a file or on standard input."""

from pathlib import Path
from typing import Literal

from charlm import cli
from charlm.errors import InputError
from charlm.runs.untrusted import check_size, file_bytes
from charlm.text.vocab import Vocab
from corpora.files import read_piped

MAX_PROMPT = 2**24  # bytes of a file: minutes of reading


def read(
    prompt: str | None, file: Path | None, unknown: Literal["refuse", "skip"], vocab: Vocab
) -> str:
    """Returns the prompt, in characters that the model knows.

    Args:
        prompt: the text, or None.
        file: a UTF-8 file with the text instead, "-" for standard input.
        unknown: refuse or skip characters that are not in the vocabulary.
        vocab: the model's vocabulary.

    Raises:
        InputError: the file cannot be read, or a character is unknown.
    """
    text = (prompt or "") if file is None else _file_text(file)
    if unknown == "skip":
        return vocab.known(text)
    try:
        vocab.encode(text)
    except InputError as error:
        raise InputError(f"prompt: {error}; --unknown skip leaves such characters out") from None
    return text


def _file_text(path):
    piped = path == Path("-")
    what = f"UTF-8 text in {'standard input' if piped else path}"
    try:
        text = (_piped(what) if piped else file_bytes(path, what, MAX_PROMPT)).decode()
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot read {what}: {error}; --prompt takes the text itself") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as a corpus is read


def _piped(what):
    cli.note_terminal()
    data = read_piped(MAX_PROMPT + 1)
    check_size(what, len(data), MAX_PROMPT)
    return data
