"""Token healing: continues a prompt of tokens that ends within a token.

The prompt "The Presid" has other tokens than the beginning of "The President", and a model has
rarely seen what follows those. So the tokens of the prompt's last word are removed and drawn again,
together with the first token after them. Of all sequences of tokens whose bytes begin with the
word, each is drawn with its probability among them. Only the `KEPT` most probable beginnings are
followed. Top-k and top-p select among these sequences; the repetition penalty does not apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.generation.constraints import SamplingConstraints, draw, filter_top_k_top_p
from charlm.generation.sampler import Seed, Step, random_numbers, select_rows
from charlm.reference.loss import log_softmax
from charlm.text import tokenizing
from charlm.text.tokens import TokenVocab, begins_character
from charlm.text.vocab import Vocab

KEPT = 64  # unfinished sequences
MOST = 32  # bytes that are removed
RANDOM = 2**32  # beyond every index: the random numbers of healing


@dataclass(frozen=True)
class Start:
    """The ids that a text continues."""

    ids: np.ndarray
    """(P,), at least 1."""
    healing: "Healing | None" = None
    """Constraint on the first ids of the text."""

    @property
    def taken_back(self) -> str:
        """The end of the prompt that is drawn again."""
        return self.healing.taken_back.decode() if self.healing else ""


class Healing:
    """The ids that a text may consist of until it has certain bytes.

    Args:
        vocab: the V tokens.
        taken_back: the bytes, the end of the prompt.
    """

    def __init__(self, vocab: TokenVocab, taken_back: bytes):
        self.vocab, self.taken_back = vocab, taken_back
        self._found: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def agreeing(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns (V,) booleans twice: which ids may follow these, and which complete the bytes."""
        rest = self.taken_back[len(self.vocab.joined(ids)) :]
        if rest not in self._found:
            tokens = self.vocab.bytes
            complete = np.array([token.startswith(rest) for token in tokens])
            begin = np.array([rest.startswith(token) for token in tokens])
            self._found[rest] = begin | complete, complete
        return self._found[rest]

    def allowed(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Returns (N, V) booleans, which ids may follow each of N texts."""
        return np.stack([self.agreeing(ids)[0] for ids in texts])


def begin(vocab: Vocab, prompt: str, separator: str | None = None) -> Start:
    """Encodes a prompt, after the separator of records if there is one.

    A model needs a first id: without a prompt and a separator, it is a newline.
    """
    first = "\n" if "\n" in vocab else vocab.characters[0]
    ids = vocab.encode((separator or "") + prompt or first)
    if not isinstance(vocab, TokenVocab):
        return Start(ids)
    word = tokenizing.last_word(prompt, vocab.separator).encode()
    if not word:
        return Start(ids)
    size, taken_back, n = min(MOST, len(word)), b"", len(ids)
    while len(taken_back) < size or not begins_character(taken_back[0]):
        n -= 1
        taken_back = vocab.bytes[ids[n]] + taken_back
    return Start(ids[:n] if n else vocab.encode(first), Healing(vocab, taken_back))


def heal(
    step: Step,
    states: Any,
    last: int,
    healing: Healing,
    temperatures: Sequence[float],
    seed: Seed,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
) -> tuple[list[list[int]], Any]:
    """Draws the first ids of each of N texts.

    Args:
        step: the step function.
        states: the states (1 row) before `last` is read.
        last: the id before the texts.
        healing: the bytes that each must begin with.
        temperatures: N numbers.
        seed: random seed, or one for each text.
        rules: of which top_k and top_p are used.

    Returns:
        The ids of each text, and the states (N rows) before the last of them is read.
    """
    sequences = {t: _Sequences(step, states, last, healing, t, rules) for t in {*temperatures}}
    found = [
        sequences[t].drawn(random_numbers(seed, n, RANDOM).random())
        for n, t in enumerate(temperatures)
    ]
    rows = [rows for _, rows in found]
    return [ids for ids, _ in found], _stacked(rows)


class _Sequences:
    """The sequences of ids whose bytes begin with those removed, with their probabilities."""

    def __init__(self, step, states, last, healing, temperature, rules):
        self.paths, self.rows, self.ends, weights = [], [], [], []
        paths: list[list[int]] = [[]]
        log_p, ids = np.zeros(1), np.array([last])
        while paths:
            logits, states = step(ids, states)
            total = log_p[:, None] + log_softmax(logits.astype(np.float64) / (temperature or 1.0))
            going = []
            for row, path in enumerate(paths):
                allowed, complete = healing.agreeing(path)
                ends = np.flatnonzero(complete)
                self.paths.append(path)
                self.rows.append(select_rows(states, np.array([row])))
                self.ends.append(ends)
                weights.append(total[row, ends])
                going += [(total[row, k], row, k) for k in np.flatnonzero(allowed & ~complete)]
            going = sorted(going, key=lambda x: (-x[0], x[1], x[2]))[:KEPT]
            kept = np.array([row for _, row, _ in going], np.intp)
            paths = [[*paths[row], int(k)] for _, row, k in going]
            log_p, ids = np.array([x[0] for x in going]), np.array([x[2] for x in going])
            states = select_rows(states, kept)
        joined = np.concatenate(weights)
        p = np.exp(joined - joined.max())[None]
        top_k = rules.top_k if temperature else 1
        some = top_k or rules.top_p < 1
        self.p = filter_top_k_top_p(p, top_k, rules.top_p) if some else p
        self.places = [(k, end) for k, ends in enumerate(self.ends) for end in ends.tolist()]

    def drawn(self, uniform):
        """Returns the ids of a sequence, and the states before its last id is read."""
        k, end = self.places[int(draw(self.p, np.array([uniform]))[0])]
        return [*self.paths[k], end], self.rows[k]


def _stacked(rows):
    """Joins nested lists and tuples of arrays of one row each."""
    first = rows[0]
    if isinstance(first, (list, tuple)):
        return type(first)(_stacked(x) for x in zip(*rows, strict=True))
    return None if first is None else np.concatenate(rows)
