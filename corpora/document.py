"""What a corpus is: documents in order, and which of their text is held out from training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

HELD_OUT_EVERY, HELD_OUT_AT = 10, 5  # position modulo 10 is 5: spread over the whole corpus
FAIR_SHARE = 0.03, 0.3
HELD_OUT_TAIL = 0.1  # share of a document's end, where documents are too few for whole ones
PIPED = "-"  # the name of standard input
PIECE = 2**18  # characters, or bytes of a file: small beside memory, large beside a call


class CorpusError(ValueError):
    """A corpus that cannot be read; the message is one line a user can act on."""


class CorpusNotFound(CorpusError):
    """A corpus that is not there."""


def title(name: str) -> str:
    """What messages call a corpus or document of this name."""
    return "standard input" if name == PIPED else name


@dataclass(frozen=True)
class Document:
    """One text, with what is known of it."""

    name: str
    text: str

    identity = None
    """Of a file: what tells whether it is still the same, without reading it."""

    @property
    def size(self) -> int:
        """About its bytes."""
        return len(self.text)

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """The text in order, in strings of `PIECE` characters or fewer, none of them empty.

        Args:
            tell: called with the number of bytes whenever some were read.
        """
        for k in range(0, len(self.text), PIECE):
            yield self.text[k : k + PIECE]


@dataclass(frozen=True)
class Speech(Document):
    """A speech, with its year and speaker."""

    year: int
    president: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order. Those without text do not count."""

    name: str
    documents: tuple[Document, ...]

    @property
    def title(self) -> str:
        """What messages call it."""
        return title(self.name)


@dataclass(frozen=True)
class LowerCase:
    """A `Document` in lower case."""

    document: Document

    identity = None  # its text is not what the file holds

    @property
    def name(self) -> str:
        """The document's."""
        return self.document.name

    @property
    def size(self) -> int:
        """See `Document.size`."""
        return self.document.size

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`."""
        return (piece.lower() for piece in self.document.pieces(tell))


def lower_case(corpus: Corpus) -> Corpus:
    """The same documents in lower case."""
    return replace(corpus, documents=tuple(map(LowerCase, corpus.documents)))


def cuts(lengths: Sequence[int]) -> list[int]:
    """How much of each document is to train on, from its first character; the rest is held out.

    Documents whose position is 5 modulo 10 are held out whole; but where they are not a fair share
    of the text (too few documents, or of very different lengths), the last tenth of each is.

    Args:
        lengths: of the documents, in characters.
    """
    share = sum(lengths[HELD_OUT_AT::HELD_OUT_EVERY]) / sum(lengths)
    if FAIR_SHARE[0] <= share <= FAIR_SHARE[1]:
        return [0 if k % HELD_OUT_EVERY == HELD_OUT_AT else n for k, n in enumerate(lengths)]
    return [n - int(n * HELD_OUT_TAIL) for n in lengths]
