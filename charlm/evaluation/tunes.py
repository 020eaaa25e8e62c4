"""Measures tunes in ABC notation: how many are right, and how much of them is copied."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from charlm.evaluation.novelty import TrainingTextIndex
from charlm.music.bars import check
from charlm.text.vocab import Vocab

NGRAM = 12  # characters
EMPTY_LINES = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True)
class Shares:
    """Shares of a set of tunes, from 0 to 1."""

    of: str
    """The set of tunes, in words."""
    tunes: int
    """Their number."""
    parses: float
    """Share that can be read."""
    adds_up: float
    """Share in which all bars have the length of the metre; see `charlm.music.bars`."""
    strict: float
    """Share that is right in every way that is checked."""
    new: float | None = None
    """Share of their 12-grams of characters that are not in the training tunes."""
    read: float | None = None
    """Characters that the network computed for each one that was kept, if rules were followed."""
    temperature: float | None = None
    """Sampling temperature of drawn tunes."""

    def to_dict(self) -> dict:
        """Returns the figures that there are."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def split(text: str) -> list[str]:
    """Returns the tunes of a text, which end with empty lines; others are left out."""
    return [tune for tune in EMPTY_LINES.split(text.strip()) if re.search("^K:", tune, re.M)]


def shares(
    of: str,
    tunes: Sequence[str],
    required: str,
    known: tuple[TrainingTextIndex, Vocab] | None = None,
    read: float | None = None,
    temperature: float | None = None,
) -> Shares:
    """Measures tunes.

    Args:
        of: what they are, in words.
        tunes: at least one.
        required: fields that a strict tune must have.
        known: the training tunes, and the vocabulary of their ids.
        read: see `Shares`.
        temperature: see `Shares`.
    """
    verdicts = [check(tune, required) for tune in tunes]
    new = None
    if known is not None:
        index, vocab = known
        new = index.novel_ngram_share([vocab.encode(tune) for tune in tunes], NGRAM)
    parses, adds_up, strict = (
        sum(getattr(v, name) for v in verdicts) / len(verdicts)
        for name in ("parses", "adds_up", "strict")
    )
    return Shares(of, len(tunes), parses, adds_up, strict, new, read, temperature)


def table(rows: Sequence[Shares]) -> list[str]:
    """Returns the lines of a table."""
    width = max(len(row.of) for row in rows)
    lines = [f"{'':{width}}  tunes  parse  bars add up  strict  new 12-grams  characters read"]
    for row in rows:
        new = "" if row.new is None else f"{row.new:.1%}"
        read = "" if row.read is None else f"x {row.read:.2f}"
        lines.append(
            f"{row.of:{width}}  {row.tunes:5}  {row.parses:5.1%}  {row.adds_up:11.1%}  "
            f"{row.strict:6.1%}  {new:>12}  {read:>15}".rstrip()
        )
    return lines
