"""Characters to ids and back."""

from collections.abc import Iterable

import numpy as np

from charlm.errors import InputError


class UnknownCharacterError(InputError):
    """A text holds a character the vocabulary lacks."""


class Vocab:
    """The distinct characters of a text, sorted by code point; a character's id is its place.

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

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocab":
        """The vocabulary of all these texts together."""
        return cls("".join(sorted(set().union(*map(set, texts)))))

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other) -> bool:
        return isinstance(other, Vocab) and self.characters == other.characters

    def __hash__(self):
        return hash(self.characters)

    def __contains__(self, character: str) -> bool:
        return character in self.characters

    def encode(self, text: str) -> np.ndarray:
        """Ids (n,) int32 of the n characters of `text`.

        Raises:
            UnknownCharacterError: names the first character that has no id, and its position.
        """
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes).astype(np.int32)
        ids[ids == len(self)] = 0
        wrong = np.flatnonzero(self._codes[ids] != codes) if len(self) else np.arange(len(codes))
        if wrong.size:
            at = int(wrong[0])
            raise UnknownCharacterError(
                f"expected characters of the vocabulary ({len(self)} of them), found "
                f"{text[at]!r} (U+{ord(text[at]):04X}) at position {at}"
            )
        return ids

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids (n,)."""
        codes = self._codes[np.asarray(ids, dtype=np.int64)].astype("<u4")
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def known(self, text: str) -> str:
        """`text` without the characters that have no id."""
        return "".join(c for c in text if c in self.characters)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
