"""Vocabularies: characters to ids and back."""

import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from charlm.errors import InputError
from charlm.text.units import CHARACTERS

Decoder = Callable[[ArrayLike], str]


class UnknownCharacterError(InputError):
    """A text has a character that is not in the vocabulary."""


class Vocab:
    """The distinct characters of a text, sorted by code point; a character's id is its place.

    `charlm.text.tokens.TokenVocab` has tokens of several characters instead.

    Args:
        characters: a string of distinct characters in code point order.

    >>> vocab = Vocab.of(["to be"])
    >>> vocab.characters
    ' beot'
    >>> vocab.decode(vocab.encode("boot"))
    'boot'
    """

    def __init__(self, characters: str):
        self._codes = _code_points(characters)
        if np.any(np.diff(self._codes.astype(np.int64)) <= 0):
            raise InputError("expected a vocabulary of distinct characters in order, found others")
        self.characters = characters
        V = len(characters)
        self.dtype = np.min_scalar_type(max(V - 1, 0))
        """The smallest integer type that holds every id."""
        self.lengths = np.ones(V, np.int64)
        """(V,), the number of characters that each id stands for."""
        # ids by code point, V where there is none; the last entry serves all higher code points
        self._ids = np.full(self._codes[-1] + 2 if V else 1, V, np.min_scalar_type(V))
        self._ids[self._codes] = np.arange(V)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocab":
        """Returns the vocabulary of all these texts."""
        characters = Characters()
        for text in texts:
            characters.add(text)
        return characters.vocab()

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def setting(self) -> str:
        """The setting `tokens` for such a vocabulary."""
        return CHARACTERS

    def __str__(self):
        return f"{len(self)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.characters == other.characters

    def __hash__(self):
        return hash(self.characters)

    def __contains__(self, character: str) -> bool:
        return character in self.characters

    def encode(self, text: str, dtype: DTypeLike = np.int32) -> np.ndarray:
        """Returns the ids (n,) of the n characters of `text`.

        Raises:
            UnknownCharacterError: a character has no id; names the first, and its position.
        """
        ids = self._ids.take(_code_points(text), mode="clip")
        if len(ids) and ids.max() == len(self):
            at = int(np.argmax(ids == len(self)))
            raise UnknownCharacterError(
                f"expected characters of the vocabulary ({len(self)} of them), found "
                f"{text[at]!r} (U+{ord(text[at]):04X}) at position {at}{self._hint(text)}"
            )
        return ids.astype(dtype, copy=False)

    def _hint(self, text):
        """Returns what to add to an error, if another Unicode form of the text is known."""
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text)
            if other != text and self.known(other) == other:
                return (
                    f"; in the Unicode form {form} it has only known characters: give it in that "
                    "form, or train with --normalize nfc, which brings texts and prompts into one"
                )
        return ""

    def decode(self, ids: ArrayLike) -> str:
        """Returns the text of ids (n,)."""
        codes = self._codes[np.asarray(ids, dtype=np.int64)].astype("<u4")
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def require_characters(self, what: str) -> None:
        """Raises InputError if the ids stand for tokens.

        Args:
            what: what needs characters, after "cannot".
        """

    def shown(self, k: int) -> str:
        """Returns the text of an id, as Python writes it."""
        return repr(self.characters[k])

    @property
    def texts(self) -> Sequence[str] | None:
        """The text of each id; None if each is a character."""
        return None

    @property
    def pieces(self) -> Sequence[str] | None:
        """The text of each id for counting repetitions; None if each is a character."""
        return None

    def decoder(self) -> Decoder:
        """Returns a function that decodes a text's ids in parts, one call after another."""
        return self.decode

    def stored(self) -> Any:
        """Returns the vocabulary for JSON."""
        return self.characters

    def with_separator(self, separator: str | None) -> "Vocab":
        """Returns the vocabulary for a text whose records end with this."""
        return self

    def known(self, text: str) -> str:
        """Returns `text` without the characters that have no id."""
        return "".join(c for c in text if c in self.characters)


class Characters:
    """Collects the distinct characters of a text that comes in pieces."""

    def __init__(self):
        self._found = np.zeros(sys.maxunicode + 1, bool)

    def add(self, piece: str) -> None:
        """Adds the characters of `piece`."""
        codes = _code_points(piece)
        if not self._found.take(codes).all():  # several times faster than setting them again
            self._found[codes] = True

    def vocab(self) -> Vocab:
        """Returns the vocabulary of all pieces."""
        return Vocab("".join(map(chr, np.flatnonzero(self._found))))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
