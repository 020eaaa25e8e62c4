"""Texts that are part of every CPython, so that there is always something to train on."""

import sysconfig
import tokenize
from pathlib import Path

from corpora.document import Corpus, CorpusNotFound, Document


def load_pydoc() -> Corpus:
    """Loads the documentation topics behind `help("topics")`, one document per topic."""
    from pydoc_data.topics import topics

    return Corpus("pydoc", tuple(Document(name, topics[name]) for name in sorted(topics)))


def load_stdlib() -> Corpus:
    """Loads the modules of the standard library (no packages), one document per source file."""
    folder = Path(sysconfig.get_path("stdlib"))
    documents = []
    for path in sorted(folder.glob("*.py")):
        with tokenize.open(path) as file:  # honours the file's coding line
            documents.append(Document(path.name, file.read()))
    if not documents:
        raise CorpusNotFound(f"expected Python source files in {folder}, found none")
    return Corpus("stdlib", tuple(documents))
