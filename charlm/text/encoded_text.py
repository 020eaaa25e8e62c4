"""A corpus as ids: its vocabulary, its fingerprint, its training part and its held-out part."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from charlm.text import mapped_ids
from charlm.text.mapped_ids import MappedIds
from charlm.text.overlap import Overlap
from charlm.text.vocab import Vocab
from charlm.text.windows import MAX_STREAMS, VALIDATION_WINDOW

MAX_COUNTED = 2**22  # characters that `log_shares` counts


@dataclass(frozen=True)
class Text:
    """A corpus as ids of type `vocab.dtype`, in memory or mapped from a file."""

    vocab: Vocab
    sha256: str
    """Fingerprint of the whole text and of where its documents begin."""
    training: np.ndarray | MappedIds
    """(n,), the training parts of the documents, concatenated."""
    held_out: np.ndarray | MappedIds
    """(m,), the held-out parts of the documents, concatenated."""
    held_out_lengths: list[int]
    """Lengths of the held-out parts."""
    overlap: Overlap = field(default_factory=Overlap)

    def to_measure(self, limit: int = 0) -> list[np.ndarray | MappedIds]:
        """Returns the held-out text to measure on.

        Args:
            limit: the most characters, 2 or more; 0 for no limit.

        Returns:
            All of it, one array per document; or, if it is longer than `limit`, stretches of equal
            length that are spread evenly over it.
        """
        m = len(self.held_out)
        if not limit or m <= limit:
            ends = itertools.accumulate(self.held_out_lengths, initial=0)
            return [mapped_ids.part(self.held_out, *places) for places in itertools.pairwise(ends)]
        return _stretches(self.held_out, limit)

    def log_shares(self, vocab: Vocab) -> np.ndarray:
        """Returns the log frequency of each character in the training text, with add-one smoothing.

        In a long text, `MAX_COUNTED` characters are counted, spread evenly over it.

        Args:
            vocab: the V characters; some may not occur in the text.

        Returns:
            (V,) float32.
        """
        ids = self.training
        parts = [ids] if len(ids) <= MAX_COUNTED else _stretches(ids, MAX_COUNTED)
        counts: Any = sum(np.bincount(part, minlength=len(self.vocab)) for part in parts)
        of = dict(zip(self.vocab.characters, counts, strict=True))
        counts = np.array([of.get(character, 0) + 1 for character in vocab.characters])
        return np.log(counts / counts.sum()).astype(np.float32)

    def translated(self, vocab: Vocab) -> "Text":
        """Returns the same text in ids of another vocabulary, in memory.

        Raises:
            UnknownCharacterError: the text has a character that is not in `vocab`.
        """
        if vocab == self.vocab:
            return self
        ids = vocab.encode(self.vocab.characters, vocab.dtype)
        training, held_out = (ids[np.asarray(x)] for x in (self.training, self.held_out))
        return replace(self, vocab=vocab, training=training, held_out=held_out)


def _stretches(ids, limit):
    """Returns at most `limit` of the ids, in stretches of equal length, spread evenly."""
    count = min(MAX_STREAMS, -(-limit // VALIDATION_WINDOW))
    size = limit // count
    starts = np.linspace(0, len(ids) - size, count).astype(int)
    return [ids[k : k + size] for k in starts]
