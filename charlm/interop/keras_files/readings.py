"""Ways to read a model's ids as characters, and a text with them.

The ids of a model are numbers; which characters they stand for is in no file of weights. Programs
number the characters of their text by code point or, as Keras's Tokenizer, by how often they occur.
Many lower the text's case first, and Keras's layers and Tokenizer keep id 0 for no character.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab
from corpora import Corpus
from corpora.document import lower_case

Progress = Callable[[str, int, str], AbstractContextManager]
CODEPOINT, FREQUENCY = ORDERS = "codepoint", "frequency"


@dataclass(frozen=True)
class Reading:
    """One way to read a model's ids."""

    vocab: Vocab
    ids: np.ndarray
    """(n,), the model's id of each character of `vocab`."""
    text: Text | None = None
    """In ids of `vocab`, not the model's."""
    lower: bool = False
    """Whether the text is read in lower case."""

    def notes(self, V: int) -> list[str]:
        """What is not as a reader of the text would expect it, in words.

        Args:
            V: ids that the model has.
        """
        found = []
        if self.lower:
            found.append("the text is read in lower case, in which its characters fit")
        if unused := sorted({*range(V)} - {*self.ids.tolist()}):
            listed = ", ".join(map(str, unused))
            found.append(
                f"ids {listed} are left out, for they stand for no character"
                if len(unused) > 1
                else f"id {listed} is left out, for it stands for no character"
            )
        return found


def of_characters(
    characters: dict[int, str], text: Text | None = None, lower: bool = False
) -> Reading:
    """That of a given {id: character}."""
    ids = sorted(characters, key=characters.__getitem__)
    vocab = Vocab("".join(characters[k] for k in ids))
    return Reading(vocab, np.array(ids), text and text.translated(vocab), lower)


class TextReadings:
    """Those that a text leaves open: as it is or in lower case, with id 0 for a character or none.

    Args:
        corpus: the text that a model was trained on. V: ids that the model has.
        read: makes ids of a corpus.
        progress: (what, total, unit), shows how far counting is; see `charlm.cli.progress`.
    """

    def __init__(self, corpus: Corpus, V: int, read: Callable[[Corpus], Text], progress: Progress):
        self.corpus, self.V, self.read, self.text = corpus, V, read, read(corpus)
        self.progress = progress

    def in_order(self, order: str) -> list[Reading]:
        """Those that have V ids, with the characters in this one of `ORDERS`."""
        found = []
        for corpus, text in self._variants(lambda characters: self.V - len(characters) in (0, 1)):
            named = text.vocab.characters if order == CODEPOINT else self._by_frequency(corpus)
            characters = dict(enumerate(named, self.V - len(named)))
            found.append(of_characters(characters, text, corpus is not self.corpus))
        return found

    def of(self, characters: dict[int, str]) -> Reading | None:
        """That of a given {id: character}, None if the text has other characters."""
        for corpus, text in self._variants({*characters.values()}.issuperset):
            return of_characters(characters, text, corpus is not self.corpus)
        return None

    def _by_frequency(self, corpus):
        size = sum(document.size for document in corpus.documents)
        with self.progress(f"counting the characters of {corpus.title}", size, "B") as tell:
            return by_frequency(corpus, tell)

    def _variants(self, fits):
        """The text as it is and in lower case, if its characters then fit."""
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
    """The characters of a text, the most frequent first; of two as frequent that which came first.

    Keras's `Tokenizer(char_level=True)` numbers them in this order, from 1.

    Args:
        tell: see `Document.pieces`.
    """
    counts: Counter[str] = Counter()
    for document in corpus.documents:
        for piece in document.pieces(tell):
            counts.update(piece)
    return "".join(character for character, _ in counts.most_common())
