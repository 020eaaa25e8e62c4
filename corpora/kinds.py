"""Kinds of files: text whose byte order mark names its encoding, other text, binary data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corpora import detection
from corpora.document import Corpus, CorpusError, title

if TYPE_CHECKING:
    from corpora.files import File

HEAD = 2**14  # bytes of a file by which its kind is detected
SHOWN = 3  # names in a note


def of_kinds(name: str, files: Sequence["File"], alone: bool = True) -> Corpus:
    """Returns a corpus of files, in the encodings of their byte order marks, without binary files.

    Args:
        name: of the corpus.
        files: to choose from.
        alone: keep a binary file, because it was named itself; it is refused when it is read.

    Raises:
        CorpusError: all files are binary.
    """
    found, binary = [], []
    marked: dict[str, list[str]] = {}
    marks: dict[str, int] = {}
    for file in files:
        head = file.head(HEAD)
        encoding = detection.of_mark(head, file.encoding)
        if encoding != file.encoding:
            marked.setdefault(encoding, []).append(title(file.name))
        elif not alone and detection.is_binary(head, encoding):
            binary.append(file.name)
            continue
        found.append(replace(file, encoding=encoding, marks=marks))
    if not found:
        raise CorpusError(
            f"expected text in {name}, found only binary data ({_some(binary)}); name files of text"
        )
    notes = [
        f"NOTE: read {_some(names)} as {encoding} because of its byte order mark"
        for encoding, names in marked.items()
    ]
    if binary:
        notes.append(
            f"NOTE: skipped {len(binary):,} of {len(files):,} files, which are binary: "
            f"{_some(binary)}"
        )
    documents: Any = tuple(found)  # which are read as documents are
    return Corpus(name, documents, tuple(notes), marks)


def _some(names):
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
