"""A user's own text: a file, a folder, a glob or standard input; one document a file."""

import codecs
import glob
import os
import stat
import sys
from pathlib import Path

from corpora.document import Corpus, CorpusError, CorpusNotFound, Document


def load(name: str, encoding: str = "utf-8") -> Corpus:
    """`name` as a corpus. See `corpora.load` for Args and Raises."""
    try:
        b"x".decode(encoding, "replace")  # what is no text encoding, such as rot13, fails here
    except (LookupError, UnicodeError):
        raise CorpusError(
            f"expected a text encoding Python knows, found {encoding!r}; try utf-8, latin-1, cp1252"
        ) from None
    if name == "-":
        if sys.stdin is None:
            raise CorpusError("expected text on standard input, found it closed")
        return Corpus("-", (Document("-", decode(sys.stdin.buffer.read(), "-", encoding)),))
    documents = (Document(str(p), decode(_read(p), str(p), encoding)) for p in _paths(name))
    return Corpus(name, tuple(d for d in documents if d.text))


def decode(data: bytes, name: str, encoding: str) -> str:
    r"""Text of `data`, `\r\n` and `\r` as `\n`, without a byte order mark.

    Raises:
        CorpusError: binary data, or bytes that are not `encoding`, with the offset.
    """
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if not wide and b"\0" in data:
        offset = data.index(b"\0")
        raise CorpusError(
            f"expected text in {name}, found binary data (a zero byte at offset {offset}); "
            "if it is UTF-16, give --encoding utf-16"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        found = data[error.start : error.end][:8].hex(" ")
        raise CorpusError(
            f"expected {encoding} text in {name}, found byte {found} at offset {error.start}; "
            "give --encoding, for example latin-1 or cp1252"
        ) from None
    except UnicodeError as error:  # some codecs give no offset
        raise CorpusError(f"expected {encoding} text in {name}, found: {error}") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _paths(name: str) -> list[Path]:
    path = Path(os.path.expanduser(name))
    if name and path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
        if not paths:
            raise CorpusError(f"expected text files in folder {name}, found none")
        return paths
    if name and os.path.exists(path):
        return [path]
    paths = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p))
    if not paths:
        raise CorpusNotFound(
            f"expected a corpus name, a file, a folder or a glob, found {name!r}, which is none "
            f"of them (looked in {Path.cwd()}); names: state_union, state_union_original, pydoc, "
            "stdlib"
        )
    return paths


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO or /dev/zero would never end
            raise CorpusError(
                f"expected a regular file, found {path}, which is not; use - for pipes"
            )
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"expected to read {path}, found: {error.strerror}") from error
