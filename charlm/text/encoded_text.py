"""A corpus as ids: its vocabulary, its fingerprint, its training part and its held-out part."""

import functools
import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from charlm.errors import InputError
from charlm.notes import progress
from charlm.text import token_ids, units
from charlm.text.contexts import Contexts, KnownContexts
from charlm.text.ids import Ids, slice_of
from charlm.text.overlap import Overlap
from charlm.text.sharded_ids import ShardedIds
from charlm.text.tokens import TokenVocab
from charlm.text.vocab import Vocab
from charlm.text.windows import MAX_STREAMS, VALIDATION_WINDOW
from corpora import Corpus

# scripts without spaces between words
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
MAX_COUNTED = 2**22  # ids that `log_shares` counts
MAX_LEARNED = 2**24  # characters that a vocabulary of tokens is learned from
PIECE = 2**20  # ids that are counted at a time


@dataclass(frozen=True)
class Text:
    """A corpus as ids of type `vocab.dtype`, in memory or mapped from a file."""

    vocab: Vocab
    sha256: str
    """Fingerprint of the whole text and of where its documents begin."""
    training: Ids
    """(n,), the training parts of the documents, concatenated."""
    held_out: Ids
    """(m,), the held-out parts of the documents, concatenated."""
    held_out_lengths: list[int]
    """Numbers of ids of the held-out parts."""
    overlap: Overlap = field(default_factory=Overlap)
    contexts: Contexts | None = None
    """Contexts of all parts of the text, if the model is conditioned on them."""

    def to_measure(self, limit: int = 0) -> list[Ids]:
        """Returns the held-out text to measure on.

        Args:
            limit: about the most characters, 2 or more; 0 for no limit.

        Returns:
            All of it, one array per document; or, if it is longer than `limit`, stretches of equal
            length that are spread evenly over it.
        """
        return [slice_of(self.held_out, *places) for places in self._places(limit)]

    def contexts_to_measure(self, limit: int = 0) -> list[np.ndarray] | None:
        """Returns the context of the id after each one of `to_measure`; None without contexts.

        The last id of an array, after which nothing is measured, has its own.
        """
        if self.contexts is None:
            return None
        held_out, places = self.contexts.held_out, self._places(limit)
        return [held_out.at(np.minimum(np.arange(a, b) + 1, b - 1)) for a, b in places]

    @property
    def known_contexts(self) -> KnownContexts | None:
        """The contexts of the training text; None without contexts."""
        return self.contexts.known if self.contexts else None

    def _places(self, limit):
        """Returns where each array of `to_measure` begins and ends in the held-out text."""
        m = len(self.held_out)
        if not limit or self.held_out_characters <= limit:
            return [*itertools.pairwise(itertools.accumulate(self.held_out_lengths, initial=0))]
        stretches = _stretches(m, max(2, limit * m // self.held_out_characters))
        if not isinstance(self.vocab, TokenVocab):
            return stretches
        begins = [self.vocab.lengths[self.held_out[a:b]] > 0 for a, b in stretches]
        return [  # from a whole character on
            (a + int(first.argmax()), b) for (a, b), first in zip(stretches, begins, strict=True)
        ]

    @functools.cached_property
    def training_characters(self) -> int:
        """The number of characters of the training parts."""
        return characters_in(self.training, self.vocab)

    @functools.cached_property
    def held_out_characters(self) -> int:
        """The number of characters of the held-out parts."""
        return characters_in(self.held_out, self.vocab)

    def log_shares(self, vocab: Vocab) -> np.ndarray:
        """Returns the log frequency of each character in the training text, with add-one smoothing.

        In a long text, `MAX_COUNTED` characters are counted, spread evenly over it.

        Args:
            vocab: the V characters; some may not occur in the text.

        Returns:
            (V,) float32.
        """
        ids = self.training
        parts = _parts(ids, MAX_COUNTED)
        counts: Any = sum(np.bincount(part, minlength=len(self.vocab)) for part in parts)
        if vocab == self.vocab:
            return np.log((counts + 1) / (counts + 1).sum()).astype(np.float32)
        of = dict(zip(self.vocab.characters, counts, strict=True))
        counts = np.array([of.get(character, 0) + 1 for character in vocab.characters])
        return np.log(counts / counts.sum()).astype(np.float32)

    def translated(self, vocab: Vocab) -> "Text":
        """Returns the same text in ids of another vocabulary.

        Args:
            vocab: of tokens; or of characters, if the text's own one is.

        Raises:
            UnknownCharacterError: the text has a character that is not in `vocab`.
            InputError: it is in many files, and may be too large for memory.
        """
        if vocab == self.vocab:
            return self
        if isinstance(vocab, TokenVocab):
            return self._tokenized(vocab)
        if isinstance(self.training, ShardedIds):
            raise InputError(
                "cannot use an encoded text (made by charlm encode) with a run that has other "
                "characters, because it may be too large for memory; name the original files"
            )
        ids = vocab.encode(self.vocab.characters, vocab.dtype)
        training, held_out = (ids[np.asarray(x)] for x in (self.training, self.held_out))
        return replace(self, vocab=vocab, training=training, held_out=held_out)

    def _tokenized(self, vocab):
        parts = [self.training, *self.to_measure()]
        ids, lengths = token_ids.encoded(parts, self.vocab, vocab, self.sha256)
        n = lengths[0]
        training, held_out = slice_of(ids, 0, n), slice_of(ids, n, len(ids))
        contexts = self.contexts
        if contexts is not None:
            contexts = replace(
                contexts,
                training=contexts.training.in_tokens(training, vocab),
                held_out=contexts.held_out.in_tokens(held_out, vocab),
            )
        return replace(
            self,
            vocab=vocab,
            training=training,
            held_out=held_out,
            held_out_lengths=lengths[1:],
            contexts=contexts,
        )

    def learned_vocab(self, tokens: str, separator: str | None = None, exact: bool = True) -> Vocab:
        """Returns the vocabulary for a setting of `tokens`, learned from the training text.

        Args:
            tokens: for example "bpe:1000", see `charlm.text.units`.
            separator: text that ends a record.
            exact: see `tokenizing.learn`.

        Raises:
            InputError: see `tokenizing.learn`; or these are words of a language without blanks.
        """
        wanted = units.parse(tokens)
        if wanted is None:
            return self.vocab
        kind, count = wanted
        if bad := [c for c in self.vocab.characters if "\ud800" <= c <= "\udfff"]:
            raise InputError(
                f"expected Unicode text for --tokens {tokens}, found {bad[0]!r}, an unpaired "
                "surrogate; remove it from the text"
            )
        if kind == "words":
            self._check_has_words(tokens)
        ids = self.training
        parts = _parts(ids, MAX_LEARNED)
        with progress(f"learning tokens ({tokens})"):
            pieces = (token_ids.texts(part, self.vocab, separator) for part in parts)
            texts = itertools.chain.from_iterable(pieces)
            return TokenVocab.learned(kind, count, texts, separator, exact)

    def _check_has_words(self, tokens):
        """Raises InputError if most letters are of scripts that put no blanks between words."""
        import regex  # here, because it takes 25 ms and few texts need it

        shares = np.exp(self.log_shares(self.vocab), dtype=np.float64)
        letters = np.array([c.isalpha() for c in self.vocab.characters])
        unspaced = np.array([regex.match(UNSPACED, c) is not None for c in self.vocab.characters])
        if shares[unspaced].sum() > shares[letters].sum() / 2:
            raise InputError(
                f"expected a text with blanks between its words for --tokens {tokens}, found one "
                "mostly in a script without them; give --tokens bpe:N, for example bpe:4000"
            )


def check_can_learn(vocab: Vocab, corpus: Corpus) -> None:
    """Raises InputError if a text has fewer than two distinct characters, or only blanks."""
    if len(vocab) < 2:
        raise InputError(
            f"expected at least 2 distinct characters in the corpus, found {len(vocab)} "
            f"({vocab.characters!r}); there is nothing to predict"
        )
    if vocab.characters.isspace():
        raise InputError(
            f"expected text in corpus {corpus.title!r}, found only spaces, newlines and the like; "
            "give a text with letters"
        )


def characters_in(ids: Ids, vocab: Vocab) -> int:
    """Returns the number of characters that ids (n,) stand for."""
    if not isinstance(vocab, TokenVocab):
        return len(ids)
    return sum(int(vocab.lengths[ids[k : k + PIECE]].sum()) for k in range(0, len(ids), PIECE))


def _parts(ids, limit):
    """Returns the ids, or at most `limit` of them, in stretches."""
    if len(ids) <= limit:
        return [ids]
    return [ids[begin:end] for begin, end in _stretches(len(ids), limit)]


def _stretches(n, limit):
    """Returns where stretches of equal length begin and end, spread evenly: of n, `limit` ids."""
    count = min(MAX_STREAMS, -(-limit // VALIDATION_WINDOW))
    size = limit // count
    return [(k, k + size) for k in np.linspace(0, n - size, count).astype(int).tolist()]
