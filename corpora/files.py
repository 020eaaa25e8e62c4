"""A user's own text: a file, a folder, a glob or standard input; one document a file.

A file is read when its text is asked for, piece by piece, for it may be larger than memory.
"""

import codecs
import errno
import glob
import io
import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpora.document import PIECE, PIPED, Corpus, CorpusError, CorpusNotFound, title

NO_TEXTS = "proc", "sys"  # what looks like files there is made by the system, some without end
MAX_STORED = 10_000  # names in a folder that a weights file names; they are listed in a second


@dataclass(frozen=True)
class File:
    """A `Document` in a file."""

    name: str
    path: Path
    encoding: str
    stamp: tuple[int, ...]
    """Size, times of change and inode when the corpus was loaded."""
    lasting: bool = True
    """Whether the next process finds it, too."""

    @property
    def identity(self) -> list | None:
        """See `Document.identity`."""
        return [os.path.abspath(self.path), self.encoding, *self.stamp] if self.lasting else None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp[0]

    @property
    def text(self) -> str:
        """All of it at once."""
        return "".join(self.pieces())

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`.

        Raises:
            CorpusError: not text in `encoding`, not readable, or changed since it was loaded.
        """
        return decoded(self._chunks(tell), title(self.name), self.encoding)

    def _chunks(self, tell):
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(0)  # where /dev/fd gives the open file itself
                while data := file.read(PIECE):
                    yield data
                    if tell:
                        tell(len(data))
                if _stamp(os.fstat(file.fileno()))[:2] != self.stamp[:2]:
                    raise CorpusError(
                        f"expected {title(self.name)} to stay as it is while it is read, found it "
                        "changed; start again"
                    )
        except OSError as error:
            raise _unreadable(self.path, error) from error


def load(name: str, encoding: str = "utf-8") -> Corpus:
    """`name` as a corpus. See `corpora.load` for Args and Raises."""
    _check_encoding(encoding)
    if name == PIPED:
        return Corpus(PIPED, (_piped(encoding),))
    return Corpus(name, tuple(_file(path, encoding) for path in _paths(name)))


def load_stored(name: str, encoding: str) -> Corpus:
    """Loads the text that a weights file names.

    The file may come from a stranger, so no pattern is expanded, no pipe or device opened, and no
    folder of very many names searched. Empty files are skipped: those in /proc may never end.

    Raises:
        CorpusError: it is no regular file, and no folder of them that is small enough.
    """
    _check_encoding(encoding)
    try:
        path = Path(os.path.expanduser(name))
    except ValueError:  # a zero byte
        path = Path(name)
    if os.path.isdir(path):
        paths = sorted(filter(_is_file, _below(path, MAX_STORED)))
    else:
        paths = [path] * os.path.isfile(path)
    found = [file for p in paths if (file := _file(p, encoding)).size]
    if not found:
        where = "" if path.is_absolute() else f" (looked in {_here()})"
        raise CorpusNotFound(
            f"{name!r:.200}, which is no file and no folder with text in it{where}"
        )
    return Corpus(name, tuple(found))


def decoded(chunks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    r"""Text of `chunks` one after another, `\r\n` and `\r` as `\n`, without a byte order mark.

    Raises:
        CorpusError: binary data, or bytes that are not `encoding`, with the offset.
    """
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    begun, end = False, 0
    for data in itertools.chain(chunks, [b""]):  # the last says that nothing follows
        begin, end = end, end + len(data)
        if not wide and b"\0" in data:
            raise CorpusError(
                f"expected text in {name}, found binary data (a zero byte at offset "
                f"{begin + data.index(0)}); if it is UTF-16, give --encoding utf-16"
            )
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            found = error.object[error.start : error.end][:8].hex(" ")
            offset = end - len(error.object) + error.start  # it has bytes of chunks before, too
            raise CorpusError(
                f"expected {encoding} text in {name}, found byte {found} at offset {offset}; "
                "give --encoding, for example latin-1 or cp1252"
            ) from None
        except UnicodeError as error:  # some codecs give no offset
            raise CorpusError(f"expected {encoding} text in {name}, found: {error}") from None
        if text and not begun:
            text, begun = text.removeprefix("\ufeff"), True
        if text := newlines.decode(text, final=not data):
            yield text


def _check_encoding(encoding):
    try:
        b"x".decode(encoding, "replace")  # what is no text encoding, such as rot13, fails here
    except (LookupError, ValueError):
        raise CorpusError(
            f"expected a text encoding Python knows, found {encoding!r:.100}; try utf-8, latin-1, "
            "cp1252"
        ) from None


def _piped(encoding):
    """Standard input, put into a file that is gone with the process: text is read twice."""
    with tempfile.TemporaryFile() as file:
        while data := read_piped(PIECE):
            file.write(data)
        file.flush()
        number = os.dup(file.fileno())  # open to the end
    return File(PIPED, Path(f"/dev/fd/{number}"), encoding, _stamp(os.fstat(number)), lasting=False)


def read_piped(size: int) -> bytes:
    """The next bytes of standard input, `size` of them or all that are left.

    Raises:
        CorpusError: it is closed or cannot be read.
    """
    if sys.stdin is None:
        raise CorpusError("expected text on standard input, found it closed")
    try:
        return sys.stdin.buffer.read(size)
    except OSError as error:  # it is a folder, or open for writing only
        raise CorpusError(
            f"expected text on standard input, found: {error.strerror}; pipe a file into it"
        ) from error


def _file(path, encoding):
    try:
        about = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(about.st_mode):  # a FIFO or /dev/zero would never end
        raise CorpusError(f"expected a regular file, found {path}, which is not; use - for pipes")
    return File(str(path), path, encoding, _stamp(about))


def _stamp(about):
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def _unreadable(path, error):
    return CorpusError(
        f"expected to read {path}, found: {error.strerror}; make it readable, or give a corpus "
        "without it"
    )


def _paths(name: str) -> list[Path]:
    path = Path(os.path.expanduser(name))
    if name and os.path.isdir(path):
        paths = sorted(filter(_is_file, _below(path)))
        if not paths:
            raise CorpusError(f"expected text files in folder {name}, found none")
        return paths
    if name and os.path.exists(path):
        return [path]
    paths = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p))
    if not paths:
        raise CorpusNotFound(
            f"expected a corpus name, a file, a folder or a glob, found {name!r}, which is none "
            f"of them (looked in {_here()}); names: state_union, state_union_original, pydoc, "
            "stdlib"
        )
    return paths


def _below(folder: Path, most: int | None = None) -> Iterator[Path]:
    """What lies in a folder and in those below it, but for hidden names; no links to folders are
    followed.

    Raises:
        CorpusError: a folder that may not be read or is the system's own, or more than `most`
            names.
    """
    _refuse_system(folder)
    waiting, seen = [folder], 0
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    seen += 1
                    if most and seen > most:
                        raise CorpusError(f"a folder of more than {most:,} names")
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        yield Path(entry.path)
        except OSError as error:
            raise _unreadable(place, error) from error


def _refuse_system(folder):
    real = os.path.realpath(folder)
    _root, *names = Path(real).parts
    if not names or names[0] in NO_TEXTS:
        raise CorpusError(
            f"expected a folder of texts, found {real}, which holds the system's own files; give "
            "a folder that holds only texts"
        )


def _is_file(path):
    """Whether it is a regular file; a link to nowhere is none."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise _unreadable(path, error) from error


def _here():
    try:
        return Path.cwd()
    except OSError:
        return "a folder that is gone"
