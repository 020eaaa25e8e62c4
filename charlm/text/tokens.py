"""Vocabularies of tokens: byte pairs or words instead of characters.

A token is a string of bytes of UTF-8. All 256 single bytes are tokens, so every text has ids, and
decoding them gives the text back exactly. Hugging Face's `tokenizers` splits texts; it is loaded
when a text is encoded.

Sources: byte pair encoding, Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare
Words with Subword Units", section 3.2; on bytes, Radford et al. 2019, "Language Models are
Unsupervised Multitask Learners", section 2.2.
"""

import codecs
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from charlm.errors import InputError
from charlm.text import tokenizing
from charlm.text.tokenizing import MAX_TOKEN, NAMES
from charlm.text.units import BYTES, MAX_TOKENS, Kind, is_kind
from charlm.text.vocab import Decoder, UnknownCharacterError, Vocab

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_OF = {name: byte for byte, name in enumerate(NAMES)}
KEYS = "kind", "tokens", "merges", "separator"
MAX_SEPARATOR = 1000  # characters


class TokenVocab(Vocab):
    """V tokens; a token's id is its place. A text is cut into parts, and tokens stay within them.

    Args:
        kind: "bpe": a text's tokens are found by merging pairs. "words": each word is a token, and
            an unknown one is spelled in the longest tokens from its beginning on.
        names: of the V tokens: their bytes as `tokenizing.NAMES`, among them all single ones.
        merges: of "bpe", the pairs of ids that are merged, the first ones first.
        separator: text that ends a record; no token reaches over its ends.

    Raises:
        InputError: the tokens do not fit together.
    """

    def __init__(
        self,
        kind: Kind,
        names: Sequence[str],
        merges: Sequence[tuple[int, int]] = (),
        separator: str | None = None,
    ):
        _check(kind, names, merges, separator)
        self.kind, self.names, self.separator = kind, tuple(names), separator
        self.merges = tuple(merges)
        self.bytes = [bytes(BYTE_OF[c] for c in name) for name in self.names]
        self.dtype = np.min_scalar_type(len(self.names) - 1)
        counts = (sum(map(begins_character, token)) for token in self.bytes)
        self.lengths = np.fromiter(counts, np.int64, len(self.names))

    @classmethod
    def learned(
        cls,
        kind: Kind,
        count: int,
        texts: Iterable[str],
        separator: str | None = None,
        exact: bool = True,
    ) -> "TokenVocab":
        """Learns a vocabulary from texts. Args, errors: see `tokenizing.learn`."""
        names, merges = tokenizing.learn(kind, count, texts, separator, exact)
        return cls(kind, names, merges, separator)

    @property
    def setting(self) -> str:
        """The setting `tokens` that gives so many tokens."""
        return f"{self.kind}:{len(self) - BYTES * (self.kind == 'words')}"

    def require_characters(self, what: str) -> None:
        """Raises InputError: these are not characters."""
        raise InputError(
            f"cannot {what}: this needs a run of characters, and this run has {self}; train one "
            "without --tokens"
        )

    @property
    def characters(self) -> str:
        """Raises InputError: these are not characters."""
        self.require_characters("do this")
        return ""

    @characters.setter
    def characters(self, value: str) -> None:
        raise AttributeError("tokens are not characters")

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self):
        return f"{len(self):,} {'byte pairs' if self.kind == 'bpe' else 'words and bytes'}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenVocab) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return self.kind, self.names, self.merges, self.separator

    def __contains__(self, text: str) -> bool:
        return self.known(text) == text

    def stored(self) -> dict[str, Any]:
        """Returns the vocabulary for JSON; `from_stored` reads it."""
        merges = " ".join(f"{left} {right}" for left, right in self.merges)
        values = self.kind, " ".join(self.names), merges, self.separator
        return dict(zip(KEYS, values, strict=True))

    def with_separator(self, separator: str | None) -> "TokenVocab":
        """Returns the same tokens for a text whose records end with this."""
        return TokenVocab(self.kind, self.names, self.merges, separator)

    def known(self, text: str) -> str:
        """Returns `text` without lone surrogates, which have no bytes."""
        return text.encode("utf-8", "ignore").decode()

    def encode(self, text: str, dtype: DTypeLike = np.int32) -> np.ndarray:
        """Returns the ids (m,) of a text's tokens.

        Raises:
            UnknownCharacterError: the text has a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnknownCharacterError(
                f"expected Unicode text, found {text[error.start]!r} at position {error.start}, "
                "an unpaired surrogate"
            ) from None
        return np.fromiter(tokenizing.encode(self.tokenizer, text, self.separator), dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Returns the text of ids (n,); bytes that are no UTF-8 become U+FFFD."""
        return self.joined(ids).decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """Returns a function that decodes a text's ids in parts.

        It keeps the first bytes of a character until the others come.
        """
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda ids: decode(self.joined(ids))

    @functools.cached_property
    def texts(self) -> Sequence[str]:
        """The text of each token; bytes that are a part of a character are shown as \\xff."""
        return [token.decode("utf-8", "backslashreplace") for token in self.bytes]

    @functools.cached_property
    def pieces(self) -> Sequence[str]:
        """The text of each token, in which a byte of a part of a character is one character."""
        return [token.decode("utf-8", "surrogateescape") for token in self.bytes]

    def shown(self, k: int) -> str:
        """Returns the text of an id as Python writes it, or its bytes if it is no text."""
        try:
            return repr(self.bytes[k].decode())
        except UnicodeDecodeError:
            return repr(self.bytes[k])

    def joined(self, ids: ArrayLike) -> bytes:
        """Returns the bytes of ids (n,)."""
        return b"".join(self.bytes[k] for k in np.asarray(ids).tolist())

    @functools.cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of Hugging Face's library. Raises InputError if that is missing."""
        return tokenizing.tokenizer(self.kind, self.names, self.merges, self.separator)


def begins_character(byte: int) -> bool:
    """Returns whether a byte of UTF-8 begins a character; else it continues one."""
    return byte & 0b11_000000 != 0b10_000000


def from_stored(stored: Any) -> Vocab:
    """Reads the result of `stored` of either kind of vocabulary, which is untrusted.

    Raises:
        InputError: it is something else.
    """
    if isinstance(stored, str):
        return Vocab(stored)
    ok = isinstance(stored, Mapping) and stored.keys() == {*KEYS}
    if not ok or not all(isinstance(stored[x], str) for x in ("tokens", "merges")):
        raise InputError("expected a vocabulary of characters or of tokens, found something else")
    ids = stored["merges"].split()
    if len(ids) % 2 or not all(x.isascii() and x.isdigit() and len(x) < 6 for x in ids):
        raise InputError("expected merges as pairs of ids, found something else")
    numbers = [int(x) for x in ids]
    merges = [*zip(numbers[::2], numbers[1::2], strict=True)]
    return TokenVocab(stored["kind"], stored["tokens"].split(" "), merges, stored["separator"])


def _check(kind, names, merges, separator):
    """Raises InputError unless these are tokens that fit together."""
    if not is_kind(kind):
        raise InputError(f"expected tokens of kind bpe or words, found {kind!r:.40}")
    if not BYTES <= len(names) <= MAX_TOKENS:
        raise InputError(f"expected {BYTES} to {MAX_TOKENS:,} tokens, found {len(names):,}")
    for name in names:
        if not (0 < len(name) <= MAX_TOKEN and BYTE_OF.keys() >= {*name}):
            raise InputError(f"expected the bytes of tokens, found {name!r:.40}")
    known = {*names}
    if len(known) < len(names) or not {*NAMES} <= known:
        raise InputError("expected distinct tokens, all single bytes among them, found others")
    if merges and kind != "bpe":
        raise InputError("expected merges of byte pairs only, found some of words")
    for pair in merges:
        if not all(0 <= k < len(names) for k in pair):
            raise InputError(f"expected merges of the {len(names):,} tokens, found {pair!r:.40}")
        if (merged := names[pair[0]] + names[pair[1]]) not in known:
            raise InputError(f"expected each merge to form a token, found {merged!r:.40}")
    if separator is None:
        return
    ok = isinstance(separator, str) and 0 < len(separator) <= MAX_SEPARATOR
    if not ok or separator.encode("utf-8", "ignore").decode() != separator:
        raise InputError(f"expected a separator of records or none, found {separator!r:.40}")
