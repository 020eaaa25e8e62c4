"""Units of text, as the setting `tokens` names them: characters, byte pairs or words."""

from dataclasses import dataclass
from typing import Literal, TypeGuard

Kind = Literal["bpe", "words"]
CHARACTERS = "characters"
BYTES = 256  # tokens of one byte, which every vocabulary of tokens has
MAX_TOKENS = 2**16
EXPECTED = (
    f"{CHARACTERS}, bpe:N with N from {BYTES} to {MAX_TOKENS}, or words:N with N from 1 to "
    f"{MAX_TOKENS - BYTES}"
)


@dataclass(frozen=True)
class CharactersPerToken:
    """Mean numbers of characters that an id of a text stands for; 1 for characters."""

    training: float = 1.0
    held_out: float = 1.0


def is_valid(units: str) -> bool:
    """Returns whether this names units."""
    kind, _, number = units.partition(":")
    if not (is_kind(kind) and number.isascii() and number.isdigit() and len(number) < 10):
        return units == CHARACTERS
    least, most = (BYTES, MAX_TOKENS) if kind == "bpe" else (1, MAX_TOKENS - BYTES)
    return least <= int(number) <= most


def is_kind(kind: object) -> TypeGuard[Kind]:
    """Returns whether this names a kind of tokens."""
    return kind in ("bpe", "words")


def parse(units: str) -> tuple[Kind, int] | None:
    """Returns the kind and the number of tokens that valid units name; None for characters."""
    kind, _, number = units.partition(":")
    return (kind, int(number)) if is_kind(kind) else None
