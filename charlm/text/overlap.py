"""Reasons why held-out text is an unfair measure: copies of training text, unseen characters."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from charlm.text.vocab import Vocab

SHOWN = 10  # characters in a note
FEW = 8  # characters that are searched for one by one


@dataclass(frozen=True)
class Overlap:
    """Figures about a text's split into a training and a held-out part."""

    repeated: int = 0
    """Held-out documents that also stand in the training text."""
    repeated_characters: int = 0
    """Their length in all."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Characters that occur only in held-out text, and how often."""

    def notes(self, documents: int, characters: int) -> list[str]:
        """Returns a line for copies and a line for unseen characters, if there are any.

        Args:
            documents: number of held-out documents.
            characters: number of their characters.
        """
        found, of = [], f"of {characters:,} held-out characters"
        if self.repeated:
            found.append(
                f"NOTE: {self.repeated:,} of {documents:,} held-out documents "
                f"({self.repeated_characters:,} {of}) also stand in the training text, so the "
                "held-out loss is too low; remove the copies"
            )
        if self.unseen:
            shown = sorted(self.unseen, key=lambda c: (-self.unseen[c], c))[:SHOWN]
            more = " and more" if len(self.unseen) > SHOWN else ""
            found.append(
                f"NOTE: distinct characters that occur only in held-out text: "
                f"{len(self.unseen):,} ({''.join(shown)!r}{more}), {sum(self.unseen.values()):,} "
                f"{of}; the model cannot learn them"
            )
        return found


def repeated(contents: Sequence[int], lengths: Sequence[int], cuts: Sequence[int]) -> dict:
    """Counts the documents that are held out as a whole and stand in the training text, too.

    Parts of documents are not compared: copies are cut at the same place.

    Args:
        contents: a hash of each document.
        lengths: characters of each.
        cuts: how many of them are trained on, see `corpora.document.cuts`.

    Returns:
        The values for `Overlap`.
    """
    rows = [*zip(contents, lengths, cuts, strict=True)]
    training = {(content, n) for content, n, cut in rows if cut}
    copies = [n for content, n, cut in rows if not cut and (content, n) in training]
    return {"repeated": len(copies), "repeated_characters": sum(copies)}


class Unseen:
    """Counts the characters that occur only in held-out text.

    Args:
        vocab: the V characters of both parts.
    """

    def __init__(self, vocab: Vocab):
        self.vocab, self.seen = vocab, np.zeros(len(vocab), bool)
        self.unseen = np.arange(len(vocab))
        self.held_out = np.zeros(len(vocab), np.int64)

    def add(self, training: np.ndarray, held_out: np.ndarray) -> None:
        """Adds ids of both parts, (n,) and (m,)."""
        if len(self.unseen) <= FEW:  # faster than to look up every id
            self.seen[[k for k in self.unseen if (training == k).any()]] = True
        elif not self.seen.take(training).all():  # faster than to set them again
            self.seen[training] = True
        self.unseen = np.flatnonzero(~self.seen)
        if len(held_out):
            self.held_out += np.bincount(held_out, minlength=len(self.vocab))

    def counts(self) -> dict[str, int]:
        """Returns the characters, and how often each occurs."""
        return {self.vocab.characters[k]: int(self.held_out[k]) for k in self.unseen}
