"""Selects the documents that `charlm evaluate` measures, and those that a run was trained on."""

from collections.abc import Iterable
from typing import TypeVar

from charlm.errors import InputError
from charlm.text.encode import fingerprint
from charlm.text.encoded_text import Text, characters_in
from charlm.text.ids import Ids
from charlm.text.split import Ends
from charlm.text.tokens import TokenVocab
from charlm.text.vocab import Vocab
from corpora import Corpus
from corpora.document import Document
from corpora.records import parts_of


def held_out(corpus: Corpus, own: Text, most: int) -> list[tuple[str | None, Ids]]:
    """Returns (name, ids) of each held-out (validation) part of a run's own text.

    Args:
        corpus: the run's text.
        own: the same text as ids.
        most: number of characters to measure, 0 for all. If fewer than all are measured, they come
            from stretches that may span documents, and the names are None; so are those of an
            encoded text.

    Raises:
        InputError: nothing is held out.
    """
    if not len(own.held_out):
        raise InputError(
            "cannot measure: no part of the run's text is held out, because the text is too short; "
            "give another text with --corpus"
        )
    documents = own.to_measure(most)
    if corpus.encoded or 0 < most < own.held_out_characters:
        names: list[str | None] = [None] * len(documents)
    else:
        names = [d.name for d, n, cut in parts(corpus) if n > cut]
    return list(zip(names, documents, strict=True))


Name = TypeVar("Name")


def measurable(documents: Iterable[tuple[Name, Ids]], vocab: Vocab) -> tuple[list[Name], list[Ids]]:
    """Returns names (or what stands for them) and ids of documents that can be measured.

    These have a character after their first id.

    Raises:
        InputError: there are none.
    """
    kept = [(name, ids) for name, ids in documents if characters_in(ids[1:], vocab)]
    if not kept:
        what = "tokens" if isinstance(vocab, TokenVocab) else "characters"
        raise InputError(f"expected two {what} or more to measure, found fewer")
    names, ids = zip(*kept, strict=True)
    return list(names), list(ids)


def parts(corpus: Corpus) -> list[tuple[Document, int, int]]:
    """Returns (document, its characters, how many of them are trained on), without empty ones."""
    ends, found = Ends(), []
    for d in corpus.documents:
        begin = ends.at
        for piece, inside in parts_of(d):
            ends.add(len(piece), inside)
        if ends.at > begin:
            ends.end_document()
            found.append((d, begin, ends.at))
    split = ends.split()
    return [(d, end - begin, split.trained(begin, end)) for d, begin, end in found]


def sha256(corpus: Corpus) -> str:
    """Returns the fingerprint that a run trained on this text stores."""
    return fingerprint("".join(d.pieces()) for d in corpus.documents)
