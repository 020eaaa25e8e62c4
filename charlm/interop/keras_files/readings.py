"""Possible readings of a model's ids as characters, and a text encoded with them.

A weights file does not say which characters its ids stand for. Programs number the characters of
their text by code point or, as Keras's Tokenizer, by frequency. Many convert the text to lower case
first, and in Keras's layers and Tokenizer id 0 stands for no character.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charlm.notes import progress
from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab
from corpora import Corpus
from corpora.document import lower_case

CODEPOINT, FREQUENCY = ORDERS = "codepoint", "frequency"


@dataclass(frozen=True)
class Reading:
    """One way to read a model's ids."""

    vocab: Vocab
    ids: np.ndarray
    """(n,), the model's id of each character of `vocab`."""
    text: Text | None = None
    """The text in ids of `vocab`, not of the model."""
    lower: bool = False
    """Whether the text is read in lower case."""

    def notes(self, V: int) -> list[str]:
        """Lists what may surprise the user about this reading.

        Args:
            V: number of ids of the model.
        """
        found = []
        if self.lower:
            found.append("the text is read in lower case, because its characters then fit")
        if unused := sorted({*range(V)} - {*self.ids.tolist()}):
            listed = ", ".join(map(str, unused))
            found.append(
                f"ids {listed} are left out, because they stand for no character"
                if len(unused) > 1
                else f"id {listed} is left out, because it stands for no character"
            )
        return found


def of_characters(
    characters: dict[int, str], text: Text | None = None, lower: bool = False
) -> Reading:
    """Makes the reading of a given {id: character}."""
    ids = sorted(characters, key=characters.__getitem__)
    vocab = Vocab("".join(characters[k] for k in ids))
    return Reading(vocab, np.array(ids), text and text.translated(vocab), lower)


class TextReadings:
    """The possible readings for a text: as it is or in lower case, with or without an unused id 0.

    Args:
        corpus: the text that a model was trained on.
        V: number of ids of the model.
        read: encodes a corpus as ids.
    """

    def __init__(self, corpus: Corpus, V: int, read: Callable[[Corpus], Text]):
        self.corpus, self.V, self.read, self.text = corpus, V, read, read(corpus)

    def in_order(self, order: str) -> list[Reading]:
        """Returns the readings with V ids and the characters in this one of `ORDERS`."""
        found = []
        for corpus, text in self._variants(lambda characters: self.V - len(characters) in (0, 1)):
            named = text.vocab.characters if order == CODEPOINT else self._by_frequency(corpus)
            characters = dict(enumerate(named, self.V - len(named)))
            found.append(of_characters(characters, text, corpus is not self.corpus))
        return found

    def of(self, characters: dict[int, str]) -> Reading | None:
        """Returns the reading of a given {id: character}; None if the text has other characters."""
        for corpus, text in self._variants({*characters.values()}.issuperset):
            return of_characters(characters, text, corpus is not self.corpus)
        return None

    def _by_frequency(self, corpus):
        size = sum(document.size for document in corpus.documents)
        with progress(f"counting the characters of {corpus.title}", size) as tell:
            return by_frequency(corpus, tell)

    def _variants(self, fits):
        """Yields the text as it is and in lower case, in each case if its characters fit."""
        characters = self.text.vocab.characters
        if fits(characters):
            yield self.corpus, self.text
        lower = {*characters.lower()}
        if lower != {*characters} and fits(lower) and fits(self._lower[1].vocab.characters):
            yield self._lower

    @cached_property
    def _lower(self):
        corpus = lower_case(self.corpus)
        return corpus, self.read(corpus)


def by_frequency(corpus: Corpus, tell: Callable[[int], object] | None = None) -> str:
    """Returns the characters of a text, the most frequent first; ties by first occurrence.

    Keras's `Tokenizer(char_level=True)` numbers them in this order, from 1.

    Args:
        corpus: the text.
        tell: see `Document.pieces`.
    """
    counts: Counter[str] = Counter()
    for document in corpus.documents:
        for piece in document.pieces(tell):
            counts.update(piece)
    return "".join(character for character, _ in counts.most_common())
