"""Text in: find, fetch, verify, decode, repair, split into documents.

Nothing here knows of ids or models. `load` is the one door:

>>> corpus = load("pydoc")
>>> corpus.documents[0].name
'assert'
"""

from corpora import files, python_text, state_union
from corpora.document import Corpus, CorpusError, CorpusNotFound, Document, title

DEFAULT = "state_union"
FALLBACK = "pydoc"  # comes with every CPython, so it is there offline

NAMED = {
    "state_union": state_union.load,
    "state_union_original": state_union.load_original,
    "pydoc": python_text.load_pydoc,
    "stdlib": python_text.load_stdlib,
}


def load(name: str = DEFAULT, encoding: str = "utf-8") -> Corpus:
    """A corpus by name, or a file, folder, glob or `-` (standard input).

    Args:
        name: one of `NAMED`, else a path, a folder (every file below it), a glob pattern or `-`.
        encoding: of files and standard input; the named corpora know their own.

    Raises:
        CorpusNotFound: nothing of that name; the message says where it looked.
        CorpusError: there, but damaged or not to be read; that a file is not text in `encoding`
            is found when its text is asked for.
    """
    return NAMED[name]() if name in NAMED else files.load(name, encoding)


def load_stored(name: str, encoding: str) -> Corpus:
    """`load` for a name from a file that may be a stranger's: a corpus, a file or a folder.

    Raises:
        CorpusError: none of those; see `corpora.files.load_stored`.
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
