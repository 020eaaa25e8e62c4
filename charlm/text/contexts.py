"""Contexts of a text, for --context: each part has one of C known values of a field, or none.

The known values have the numbers 1 to C, in alphabetical order; 0 means unknown.
"""

import hashlib
import json
import textwrap
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from charlm.errors import InputError
from charlm.notes import progress
from charlm.text.ids import Ids
from charlm.text.split import Split
from charlm.text.vocab import Vocab
from corpora import Corpus, contexts, records

MAX_CONTEXTS = 1000  # values; more are hardly those of a field that documents share
PIECE = 2**20  # ids whose places are looked at together
SHOWN, NAME = 300, 40  # characters of a list of values in a message, and of each


@dataclass(frozen=True)
class Stretches:
    """A number for each place of a text, the same over long stretches."""

    ends: np.ndarray
    """(R,) where each stretch ends, ascending."""
    numbers: np.ndarray
    """(R,)"""

    @classmethod
    def of(cls, lengths: np.ndarray, numbers: np.ndarray) -> "Stretches":
        """Returns stretches of these lengths, without those that are empty."""
        kept = lengths > 0
        return cls(np.cumsum(lengths[kept]), numbers[kept])

    def at(self, places: np.ndarray) -> np.ndarray:
        """Returns the numbers at places of any shape, which are taken modulo the text's length."""
        places = places % self.ends[-1]
        return self.numbers[np.searchsorted(self.ends, places, side="right")]

    def share(self, number: int) -> float:
        """Returns the share of the places with a number."""
        lengths = np.diff(self.ends, prepend=0)
        return float(lengths[self.numbers == number].sum() / max(1, lengths.sum()))

    def in_tokens(self, ids: Ids, vocab: Vocab) -> "Stretches":
        """Returns the same for the text in tokens: a token has its first character's number."""
        ends, at, k = np.zeros(len(self.ends), np.int64), 0, 0
        for begin in range(0, len(ids), PIECE):
            lengths = vocab.lengths[np.asarray(ids[begin : begin + PIECE])]
            ends_here = at + np.cumsum(lengths)
            starts = ends_here - lengths - (lengths == 0)  # bytes that continue a character
            at = int(ends_here[-1])
            k = int(np.searchsorted(self.ends, starts[0], side="right"))
            ends[k:] = begin + np.searchsorted(starts, self.ends[k:], side="left")
        return Stretches.of(np.diff(ends, prepend=0), self.numbers)


@dataclass(frozen=True)
class KnownContexts:
    """The contexts of a run's training text."""

    names: tuple[str, ...]
    """C values of the field, in alphabetical order."""
    sha256: str
    """Fingerprint of the values of all documents and records, and of where they begin and end."""
    counts: tuple[int, ...] = field(default=(), compare=False)
    """The number of training documents or records with each value; empty for a run that was stored
    by an earlier version."""

    @property
    def weights(self) -> np.ndarray:
        """(C,) how frequent each value is; all are alike where they were not counted."""
        return np.array(self.counts or [1] * len(self.names), float)

    def named(self, name: str) -> str:
        """Returns a context as it is written in `names`. Args, Raises: see `number`."""
        return self.names[self.number(name) - 1]

    def number(self, name: str) -> int:
        """Returns the number of a context by its name.

        Its case, and how accents are encoded, count only if names differ in nothing else.

        Raises:
            InputError: there is no such context.
        """
        name = " ".join(name.split())
        if name in self.names:
            return self.names.index(name) + 1
        alike = [k for k, x in enumerate(self.names, 1) if _folded(x) == _folded(name)]
        if len(alike) == 1:
            return alike[0]
        raise InputError(
            f"expected a context that the run was trained on, found {name!r}; give one of "
            f"{listed(self.names)}"
        )


def listed(names: Sequence[str]) -> str:
    """Returns names for a message; of many, the first ones."""
    cut = [name if len(name) <= NAME else f"{name[:NAME]}..." for name in names[:SHOWN]]
    return textwrap.shorten(", ".join(cut), SHOWN, placeholder=" ...")


def _folded(name):
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class Contexts:
    """The contexts of a text, for each of its places."""

    known: KnownContexts
    training: Stretches
    """In the training parts of the documents, concatenated."""
    held_out: Stretches
    """In the held-out parts."""
    unread: tuple[str, ...] = ()
    """Values that only held-out parts have."""

    def describe(self, field: str) -> list[str]:
        """Returns lines about the values, and about texts that count as unknown."""
        names = self.known.names
        lines = [f"{len(names)} contexts by {field}: {listed(names)}"]
        share = self.training.share(0)
        if share:
            lines.append(f"NOTE: {_percent(share)} of the training text has no known {field}")
        share = self.held_out.share(0)
        if share:
            of = f" ({listed(self.unread)})" if self.unread else ""
            lines.append(
                f"NOTE: {_percent(share)} of the held-out text is in contexts that training does "
                f"not read{of}, and is measured as unknown"
            )
        return lines


def _percent(share):
    return "less than 1%" if share < 0.01 else f"{share:.0%}"


def read(corpus: Corpus, field: str) -> Contexts:
    """Finds the contexts of a corpus. It is read once more for that.

    Args:
        corpus: as it is read for training.
        field: see `corpora.contexts.spans`.

    Raises:
        InputError: there is no such field; the training text has one value of it, or very many.
        CorpusError: a document cannot be read.
    """
    lengths, numbers = array("q"), array("l")
    number: dict[str, int] = {}  # of each value, in the order in which they come
    size = sum(d.size for d in corpus.documents)
    with progress(f"reading {field} of {corpus.title}", size) as tell:
        for length, value in contexts.spans(corpus, field, tell):
            lengths.append(length)
            numbers.append(number.setdefault(value, len(number)))
    ends = np.cumsum(np.asarray(lengths))
    split = Split(ends, bool(records.key(corpus.documents)))
    parts, _ = split.sections(0, int(ends[-1]))
    trained, held_out = parts[::2], parts[1::2]
    values, found = [*number], np.asarray(numbers)
    names = sorted({values[k] for k in np.unique(found[trained > 0])} - {""})
    _check(names, field, corpus.title)
    known = {name: k for k, name in enumerate(names, 1)}
    unread = sorted({values[k] for k in np.unique(found[held_out > 0])} - {"", *names})
    found = np.array([known.get(x, 0) for x in values], np.int32)[found]
    digest = hashlib.sha256(json.dumps(values).encode())
    digest.update(np.asarray(numbers).astype("<i8").tobytes() + ends.astype("<i8").tobytes())
    training, kept_back = (Stretches.of(part, found) for part in (trained, held_out))
    of_texts = Counter(found[trained > 0].tolist())
    counts = tuple(of_texts[known[name]] for name in names)
    names_of = KnownContexts(tuple(names), digest.hexdigest(), counts)
    return Contexts(names_of, training, kept_back, tuple(unread))


def _check(names, field, title):
    if not names:
        raise InputError(
            f"expected documents or records with {field!r} in {title}, found none; name another "
            "field with --context, or leave it out"
        )
    if len(names) == 1:
        raise InputError(
            f"expected two or more values of {field!r} in the training text of {title}, found only "
            f"{names[0]!r}; name another field with --context, or leave it out"
        )
    if len(names) > MAX_CONTEXTS:
        raise InputError(
            f"expected at most {MAX_CONTEXTS:,} values of {field!r} in {title}, found "
            f"{len(names):,} ({names[0]!r}, {names[1]!r} ...); name a field that texts share"
        )
