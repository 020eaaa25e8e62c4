"""Corpora: finds, downloads, verifies and decodes texts, and splits them into documents.

Nothing here depends on ids or models. `load` is the entry point:

>>> corpus = load("pydoc")
>>> corpus.documents[0].name
'assert'
"""

from corpora import files, inaugural, python_text, state_union
from corpora.document import Corpus, CorpusError, CorpusNotFound, Document, title

DEFAULT = "state_union"
FALLBACK = "pydoc"  # part of every CPython, so it is available offline

NAMED = {
    "state_union": state_union.load,
    "state_union_original": state_union.load_original,
    "inaugural": inaugural.load,
    "pydoc": python_text.load_pydoc,
    "stdlib": python_text.load_stdlib,
}


def load(name: str = DEFAULT, encoding: str = "utf-8") -> Corpus:
    """Loads a corpus by name, or a file, folder, glob pattern or `-` (standard input).

    Args:
        name: one of `NAMED`, else a path, a folder (every file below it), a glob pattern or `-`.
        encoding: of files and standard input; the named corpora have their own.

    Raises:
        CorpusNotFound: there is no such corpus; the message says where it was looked for.
        CorpusError: it is damaged or cannot be read. Text that is not valid in `encoding` is
            detected later, when it is read.
    """
    return NAMED[name]() if name in NAMED else files.load(name, encoding)


def load_stored(name: str, encoding: str) -> Corpus:
    """Loads a corpus, file or folder that an untrusted file names.

    Raises:
        CorpusError: there is no such text; see `corpora.files.load_stored`.
    """
    return NAMED[name]() if name in NAMED else files.load_stored(name, encoding)


__all__ = [
    "DEFAULT",
    "FALLBACK",
    "NAMED",
    "Corpus",
    "CorpusError",
    "CorpusNotFound",
    "Document",
    "load",
    "load_stored",
    "title",
]
