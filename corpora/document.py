"""Corpora and documents, and the split of their text into training and held-out parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charlm.errors import InputError

ENCODED = "charlm-text.json"  # the file by which the folder of an encoded text is known
FIRST_ENCODED = "00000.ids"  # the first of its other files
HELD_OUT_EVERY, HELD_OUT_AT = 10, 5  # position modulo 10 is 5: spread over the whole corpus
FAIR_SHARE = 0.03, 0.3  # of held-out text, for a split by whole documents
HELD_OUT_TAIL = 0.1  # of the end of each document, if a split by whole documents is too uneven
PIPED = "-"  # the name of standard input
PIECE = 2**18  # characters, or bytes of a file: little memory, and few calls


class CorpusError(InputError):
    """A corpus cannot be read."""


class CorpusNotFound(CorpusError):
    """A corpus does not exist."""


def title(name: str) -> str:
    """Returns the name of a corpus or document for messages."""
    return "standard input" if name == PIPED else name


@dataclass(frozen=True)
class Document:
    """A text and its name."""

    name: str
    text: str

    identity = None
    """For a file: values that change when the file changes, so that it need not be read."""

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the document by field, for --context."""
        return {}

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return len(self.text)

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """Yields the text in strings of 1 to `PIECE` characters.

        Args:
            tell: called with the number of bytes after each read.
        """
        for k in range(0, len(self.text), PIECE):
            yield self.text[k : k + PIECE]


@dataclass(frozen=True)
class Speech(Document):
    """A speech, with its year, its speaker and the speaker's party."""

    year: int
    president: str
    party: str

    @property
    def facts(self) -> dict[str, str]:
        """See `Document.facts`."""
        decade = f"{self.year // 10 * 10}s"
        return {
            "president": self.president, "party": self.party, "year": str(self.year),
            "decade": decade,
        }  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order; empty ones are ignored."""

    name: str
    documents: tuple[Document, ...]
    notes: tuple[str, ...] = ()
    """Lines for the user about how it was read: files skipped, encodings detected."""
    marks: dict[str, int] = field(default_factory=dict, compare=False)
    """Byte order marks removed from within documents, by name; known once they were read."""
    encoded: Path | None = None
    """The folder of a text that `charlm encode` has encoded; then there are no documents."""

    @property
    def title(self) -> str:
        """The name for messages."""
        return title(self.name)


@dataclass(frozen=True)
class Wrapper:
    """Base class of documents that read another document in some way."""

    document: Any  # a `Document`, or what is read as one

    @property
    def name(self) -> str:
        """The name of the document."""
        return self.document.name

    @property
    def facts(self) -> dict[str, str]:
        """See `Document.facts`."""
        return self.document.facts

    @property
    def size(self) -> int:
        """See `Document.size`."""
        return self.document.size


@dataclass(frozen=True)
class LowerCase(Wrapper):
    """A `Document` in lower case."""

    identity = None  # its text differs from the file's

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`."""
        return (piece.lower() for piece in self.document.pieces(tell))


def lower_case(corpus: Corpus) -> Corpus:
    """Returns the corpus in lower case."""
    documents: Any = map(LowerCase, corpus.documents)  # which are read as documents are
    return replace(corpus, documents=tuple(documents))


def is_fair(held_out: int, total: int) -> bool:
    """Whether so many characters are a fair share to hold out."""
    return FAIR_SHARE[0] <= held_out / total <= FAIR_SHARE[1]


def cuts(lengths: Sequence[int]) -> list[int]:
    """Splits documents into a training part and a held-out part.

    Documents whose position is 5 modulo 10 are held out as a whole. If that split would be too
    uneven (few documents, or very different lengths), the last tenth of each is held out instead.

    Args:
        lengths: characters of each document.

    Returns:
        For each document, the number of its first characters to train on; the rest is held out.
    """
    if is_fair(sum(lengths[HELD_OUT_AT::HELD_OUT_EVERY]), sum(lengths)):
        return [0 if k % HELD_OUT_EVERY == HELD_OUT_AT else n for k, n in enumerate(lengths)]
    return [n - int(n * HELD_OUT_TAIL) for n in lengths]
