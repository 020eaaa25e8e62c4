"""What a corpus is: documents in order, and which of their text is held out from training."""

import hashlib
from dataclasses import dataclass, replace

HELD_OUT_EVERY, HELD_OUT_AT = 10, 5  # position modulo 10 is 5: spread over the whole corpus
FAIR_SHARE = 0.03, 0.3
HELD_OUT_TAIL = 0.1  # share of a document's end, where documents are too few for whole ones


class CorpusError(ValueError):
    """A corpus that cannot be read; the message is one line a user can act on."""


class CorpusNotFound(CorpusError):
    """A corpus that is not there."""


@dataclass(frozen=True)
class Document:
    """One text, with what is known of it."""

    name: str
    text: str


@dataclass(frozen=True)
class Speech(Document):
    """A speech, with its year and speaker."""

    year: int
    president: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order."""

    name: str
    documents: tuple[Document, ...]

    def __post_init__(self):
        if not any(d.text for d in self.documents):
            raise CorpusError(f"expected text in corpus {self.name!r}, found none (empty)")

    def split(self) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
        """(training documents, held-out documents); no character is in both.

        Those whose position is 5 modulo 10 are held out whole; but where they are not a fair share
        of the text (too few documents, or of very different lengths), the last tenth of each is.
        """
        held = self.documents[HELD_OUT_AT::HELD_OUT_EVERY]
        share = sum(len(d.text) for d in held) / sum(len(d.text) for d in self.documents)
        if FAIR_SHARE[0] <= share <= FAIR_SHARE[1]:
            kept = tuple(
                d for k, d in enumerate(self.documents) if k % HELD_OUT_EVERY != HELD_OUT_AT
            )
            return kept, held
        cuts = [len(d.text) - int(len(d.text) * HELD_OUT_TAIL) for d in self.documents]
        pairs = list(zip(self.documents, cuts, strict=True))
        return (
            tuple(replace(d, text=d.text[:cut]) for d, cut in pairs),
            tuple(replace(d, text=d.text[cut:]) for d, cut in pairs),
        )

    def sha256(self) -> str:
        """A fingerprint of all the text and of where documents begin."""
        digest = hashlib.sha256()
        for d in self.documents:
            data = d.text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()
