"""Unicode normalization of texts: one form for letters that can be written in several ways."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from corpora.document import Corpus, Wrapper

NONE = "none"  # the form that leaves a text as it is
# Characters that never change or join what stands before them, in any form: all below the first
# combining mark, and the ideographs of Chinese, which may run for long without any other.
APART = re.compile("[\0-\u02ff\u4e00-\u9fff]")


def normalized(text: str, form: str) -> str:
    """Returns a text in the Unicode form nfc, nfd or nfkc; "none" leaves it as it is.

    >>> len(normalized("\\u00e9", "nfd"))
    2
    """
    return text if form == NONE else unicodedata.normalize(form.upper(), text)  # type: ignore


def in_pieces(pieces: Iterable[str], form: str) -> Iterator[str]:
    """Normalizes a text that comes in pieces, to the same text as if it came whole."""
    rest = ""
    for piece in pieces:
        rest += piece
        if cut := _last_apart(rest):
            yield normalized(rest[:cut], form)
            rest = rest[cut:]
    if rest:
        yield normalized(rest, form)


def _last_apart(text):
    """Returns the place of the last character that joins nothing before it; 0 for none."""
    return next((k for k in range(len(text) - 1, 0, -1) if APART.match(text[k])), 0)


@dataclass(frozen=True)
class Normalized(Wrapper):
    """A `Document` in a Unicode form."""

    form: str

    @property
    def identity(self) -> list | None:
        """See `Document.identity`."""
        found: Any = self.document.identity
        return found and [*found, self.form]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces())

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`."""
        return in_pieces(self.document.pieces(tell), self.form)


def normalize(corpus: Corpus, form: str) -> Corpus:
    """Returns the corpus in a Unicode form; "none" leaves it as it is."""
    if form == NONE:
        return corpus
    documents: Any = (Normalized(document, form) for document in corpus.documents)
    return replace(corpus, documents=tuple(documents))
