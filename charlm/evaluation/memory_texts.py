"""Texts that test memory: the last characters depend on characters before a gap.

    recall     Bqjxkcv?B         a letter, a gap, and the same letter after the question mark
    copy       dacb=dacb         letters, and the same letters after the sign
    brackets   ([{{}}])          brackets that are nested as deep as the gap, and how they close

"I am French ... I speak French" is the first of them: a country, a gap, and what follows from it.
"""

from dataclasses import dataclass

import numpy as np

LETTERS, FILLERS = "ABCDEFGH", "abcdefghijklmnopqrstuvwxyz"
OPENING, CLOSING = "([{", ")]}"
ASK, AGAIN = "?", "="
TASKS = {"recall": len(LETTERS), "copy": len(LETTERS), "brackets": len(OPENING)}
"""The number of answers that are possible, by task: chance is one in as many."""
VOCABULARY = "".join(sorted(LETTERS + FILLERS + OPENING + CLOSING + ASK + AGAIN + "\n"))
_ID = {character: k for k, character in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Texts:
    """Texts of the same length."""

    ids: np.ndarray
    """(B, n), places in `VOCABULARY`."""
    answers: int
    """Number of characters at the end to predict."""
    distance: int
    """Steps from the character that decides the last answer to the one before that answer."""

    def lines(self) -> str:
        """Returns the texts, one in a line."""
        return "".join("".join(VOCABULARY[k] for k in row) + "\n" for row in self.ids)


def made(task: str, gap: int, count: int, rng: np.random.Generator) -> Texts:
    """Makes texts.

    Args:
        task: a name in `TASKS`.
        gap: recall: characters between the letter and its repetition; copy: letters; brackets:
            depth. 1 or more.
        count: B, the number of texts.
        rng: source of random numbers.
    """
    if task == "recall":
        letters = _drawn(LETTERS, (count, 1), rng)
        between = _drawn(FILLERS, (count, gap - 1), rng)
        return Texts(np.hstack([letters, between, _same(ASK, count), letters]), 1, gap)
    if task == "copy":
        letters = _drawn(LETTERS, (count, gap), rng)
        return Texts(np.hstack([letters, _same(AGAIN, count), letters]), gap, gap)
    kinds = rng.integers(len(OPENING), size=(count, gap))
    opening, closing = (np.array([_ID[c] for c in x]) for x in (OPENING, CLOSING))
    return Texts(np.hstack([opening[kinds], closing[kinds[:, ::-1]]]), gap, 2 * gap - 2)


def _drawn(characters, shape, rng):
    return np.array([_ID[c] for c in characters])[rng.integers(len(characters), size=shape)]


def _same(character, count):
    return np.full((count, 1), _ID[character])
