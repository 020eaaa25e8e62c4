"""Tunes in ABC notation with chosen fields only, as the text to train on."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from charlm.music.bars import measures
from charlm.music.fields import header, only_fields
from charlm.music.notation import read
from charlm.music.symbols import NUMBER
from charlm.music.tune import AbcError, tunes
from corpora.document import Corpus, CorpusError, Wrapper, title

KEY = re.compile("^K:", re.MULTILINE)
VOICE = re.compile(r"^V:|\[V:", re.MULTILINE)


@dataclass(frozen=True)
class Tunes(Wrapper):
    """A `Document` of tunes, each with some fields of its header and without ornaments."""

    fields: str
    """Letters of the fields; see `charlm.music.fields.only_fields`."""

    @property
    def identity(self) -> list | None:
        """See `Document.identity`."""
        found: Any = self.document.identity
        return found and [*found, "abc", self.fields]

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`: a piece is a tune. The file is in memory.

        Tunes with several voices are left out.

        Raises:
            CorpusError: there are no tunes.
        """
        found = False
        for tune in tunes("".join(self.document.pieces(tell))):
            if KEY.search(tune) and not VOICE.search(tune):
                found = True
                yield only_fields(tune, self.fields) + "\n"
        if not found:
            raise CorpusError(
                f"expected tunes in ABC notation, which begin with X: and have K:, in "
                f"{title(self.name)}, found none; leave out --abc-fields (the preset tunes sets it)"
            )


def upbeat(tune: str) -> str:
    r"""Returns the metre of a tune and the length of its upbeat; "" if no notes can be read.

    >>> upbeat("M:6/8\nK:D\nA|def fed|d3 d2:|\n"), upbeat("M:C\nK:D\nd4 f4|d8|]\n")
    ('6/8 1/8', 'C 0')
    """
    try:
        first, *_ = measures(read(tune))
    except (AbcError, ValueError):
        return ""
    short = first.whole is not None and first.length < first.whole
    return f"{header(tune).get('M', 'none')} {first.length if short else 0}"


def are_tunes(document: Any) -> bool:
    """Returns whether a document, or the one that it wraps, is read as tunes."""
    while isinstance(document, Wrapper) and not isinstance(document, Tunes):
        document = document.document
    return isinstance(document, Tunes)


def has_tunes(corpus: Corpus) -> bool:
    """Returns whether a document has a line that begins with X:, as a tune does."""
    return any(NUMBER.search("".join(d.pieces())) for d in corpus.documents)


def of_corpus(corpus: Corpus, fields: str | None) -> Corpus:
    """Returns the corpus with these fields of its tunes; None leaves it as it is."""
    if fields is None:
        return corpus
    documents: Any = (Tunes(document, fields) for document in corpus.documents)
    return replace(corpus, documents=tuple(documents))
