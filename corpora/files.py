"""The user's own text: a file, a folder, a glob pattern or standard input; each file is a document.

A file is read only when its text is needed, and in pieces, because it may be larger than memory.
"""

import atexit
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from corpora.decoding import MARK, check_encoding, decoded
from corpora.document import (
    ENCODED,
    FIRST_ENCODED,
    PIECE,
    PIPED,
    Corpus,
    CorpusError,
    CorpusNotFound,
    title,
)
from corpora.kinds import of_kinds
from corpora.listing import files_below, here, is_file, paths_of, unreadable

OPEN_FILES = "/dev/fd"
MAX_STORED = 10_000  # names in a folder that a weights file names; listing them takes a second


@dataclass(frozen=True)
class File:
    """A `Document` in a file."""

    name: str
    path: Path
    encoding: str
    stamp: tuple[int, ...]
    """Size, mtime, ctime and inode when the corpus was loaded."""
    lasting: bool = True
    """Whether the file still exists after this process has ended."""
    marks: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """See `Corpus.marks`."""

    @property
    def identity(self) -> list | None:
        """See `Document.identity`."""
        return [os.path.abspath(self.path), self.encoding, *self.stamp] if self.lasting else None

    @property
    def facts(self) -> dict[str, str]:
        """See `Document.facts`."""
        if self.name == PIPED:
            return {}
        path = Path(os.path.abspath(self.path))
        return {"folder": path.parent.name, "file": path.stem}

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.stamp[0]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces())

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`. Removes byte order marks, which joined files have inside.

        Raises:
            CorpusError: the file is not text in `encoding`, cannot be read, or has changed.
        """
        removed = 0
        for piece in decoded(self._chunks(tell), title(self.name), self.encoding):
            text = piece.replace(MARK, "")
            removed += len(piece) - len(text)
            if text:
                yield text
        if removed:
            self.marks[title(self.name)] = removed

    def head(self, size: int) -> bytes:
        """Returns the first `size` bytes, fewer if it is shorter."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(0)
                return file.read(size) if self.size else b""
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _chunks(self, tell):
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(0)  # /dev/fd may give the open file itself, at its current position
                while data := file.read(PIECE):
                    yield data
                    if tell:
                        tell(len(data))
                if _stamp(os.fstat(file.fileno()))[:2] != self.stamp[:2]:
                    raise CorpusError(
                        f"cannot read {title(self.name)}: it changed while it was read; start again"
                    )
        except OSError as error:
            raise unreadable(self.path, error) from error


def load(name: str, encoding: str = "utf-8") -> Corpus:
    """Loads the file, folder, glob pattern or standard input `name`; see `corpora.load`."""
    check_encoding(encoding)
    if name == PIPED:
        return of_kinds(PIPED, [_piped(encoding)])
    if found := _encoded(name, Path(os.path.expanduser(name))):
        return found
    paths = paths_of(name)
    alone = paths == [Path(os.path.expanduser(name))]
    return of_kinds(name, [_file(path, encoding) for path in paths], alone)


def load_stored(name: str, encoding: str) -> Corpus:
    """Loads the text that a weights file names.

    The weights file may be malicious, so this expands no pattern, opens no pipe or device and
    searches no very large folder. It skips empty files, because files in /proc look empty and may
    never end.

    Raises:
        CorpusError: it is neither a regular file nor a folder of at most `MAX_STORED` names.
    """
    check_encoding(encoding)
    try:
        path = Path(os.path.expanduser(name))
    except ValueError:  # a zero byte
        path = Path(name)
    if found_encoded := _encoded(name, path):
        return found_encoded
    if os.path.isdir(path):
        paths = sorted(filter(is_file, files_below(path, MAX_STORED)))
    else:
        paths = [path] * os.path.isfile(path)
    found = [file for p in paths if (file := _file(p, encoding)).size]
    if not found:
        where = "" if path.is_absolute() else f" (looked in {here()})"
        raise CorpusNotFound(
            f"{name!r:.200}, which is neither a file nor a folder with text in it{where}"
        )
    return of_kinds(name, found, alone=not os.path.isdir(path))


def _encoded(name, folder):
    """Returns the corpus of an encoded text; None if the folder is something else."""
    if name and os.path.isfile(folder / ENCODED):
        return Corpus(name, (), encoded=folder)
    if name and os.path.isfile(folder / FIRST_ENCODED):
        raise CorpusError(
            f"expected a text, found {name}, in which charlm encode has not finished; start it "
            "again, which writes only what is missing"
        )
    return None


def _piped(encoding):
    """Copies standard input to a temporary file, because the text is read twice."""
    with _temporary() as file:
        while data := read_piped(PIECE):
            file.write(data)
        file.flush()
        if isinstance(file.name, str):
            path = Path(file.name)
        else:
            path = Path(OPEN_FILES, str(os.dup(file.fileno())))  # open until the process ends
        about = os.fstat(file.fileno())
    return File(PIPED, path, encoding, _stamp(about), lasting=False)


def _temporary():
    """Opens a temporary file; where open files have no paths (Windows), one that stays."""
    if os.path.isdir(OPEN_FILES):
        return tempfile.TemporaryFile()
    number, path = tempfile.mkstemp(prefix="charlm-")
    os.close(number)
    atexit.register(os.unlink, path)
    return open(path, "w+b")


def read_piped(size: int) -> bytes:
    """Reads `size` bytes of standard input, or all that are left.

    Raises:
        CorpusError: standard input is closed or cannot be read.
    """
    if sys.stdin is None:
        raise CorpusError("cannot read standard input: it is closed; pipe a file into it")
    try:
        return sys.stdin.buffer.read(size)
    except OSError as error:  # it is a folder, or open for writing only
        raise CorpusError(
            f"cannot read standard input: {error.strerror}; pipe a file into it"
        ) from error


def _file(path, encoding):
    try:
        about = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(about.st_mode):  # a FIFO or /dev/zero would never end
        raise CorpusError(f"expected a regular file, found {path}, which is not; use - for pipes")
    return File(str(path), path, encoding, _stamp(about))


def _stamp(about):
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino
