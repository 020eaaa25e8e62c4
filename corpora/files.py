"""A user's own text: a file, a folder, a glob or standard input; one document a file."""

import codecs
import glob
import os
import stat
import sys
from pathlib import Path

from corpora.document import Corpus, CorpusError, CorpusNotFound, Document

BINARY_SAMPLE = 65536  # bytes looked at for NUL, which no text encoding but UTF-16/32 has


def load(name: str, encoding: str = "utf-8") -> Corpus:
    """`name` as a corpus. See `corpora.load` for Args and Raises."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise CorpusError(
            f"expected a text encoding Python knows, found {encoding!r}; try utf-8, latin-1, cp1252"
        ) from None
    if name == "-":
        return Corpus("-", (Document("-", decode(sys.stdin.buffer.read(), "-", encoding)),))
    documents = (Document(str(p), decode(_read(p), str(p), encoding)) for p in _paths(name))
    return Corpus(name, tuple(d for d in documents if d.text))


def decode(data: bytes, name: str, encoding: str) -> str:
    r"""Text of `data`, `\r\n` and `\r` as `\n`, without a byte order mark.

    Raises:
        CorpusError: binary data, or bytes that are not `encoding`, with the offset.
    """
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if not wide and b"\0" in data[:BINARY_SAMPLE]:
        offset = data.index(b"\0")
        raise CorpusError(
            f"expected text in {name}, found binary data (a zero byte at offset {offset}); "
            "if it is UTF-16, give --encoding utf-16"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        found = data[error.start : error.end].hex(" ")
        raise CorpusError(
            f"expected {encoding} text in {name}, found byte {found} at offset {error.start}; "
            "give --encoding, for example latin-1 or cp1252"
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _paths(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        if not paths:
            raise CorpusError(f"expected text files in folder {name}, found none")
        return paths
    if path.exists():
        return [path]
    paths = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p))
    if not paths:
        raise CorpusNotFound(
            f"expected a corpus name, a file, a folder or a glob, found {name!r}, which is none "
            f"of them (looked in {Path.cwd()}); names: state_union, state_union_original, pydoc, "
            "stdlib"
        )
    return paths


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO or /dev/zero would never end
            raise CorpusError(
                f"expected a regular file, found {path}, which is not; use - for pipes"
            )
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"expected to read {path}, found: {error.strerror}") from error
