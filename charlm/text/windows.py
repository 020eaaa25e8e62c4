"""Cuts ids into windows: B streams read the text in parallel, T characters at a time.

For B = 2, T = 3 the text "abcdefghijklmnop" becomes

    stream 0:  a b c | d e f |        ids of a window; the targets are one character later:
    stream 1:  i j k | l m n |        b c d | e f g
               step 0  step 1

Every position is a target, and the state at the end of a window is the initial state of the next
window of the same stream.
"""

from collections.abc import Sequence

import numpy as np

from charlm.errors import InputError
from charlm.text.contexts import Stretches
from charlm.text.ids import Ids, Streams
from charlm.text.record_streams import RecordStreams

VALIDATION_WINDOW = 512  # characters per step; long, because no gradient is kept
MAX_STREAMS = 64  # held-out streams in parallel
MAX_PIECE = 2**14  # characters of a held-out document in one piece; longer ones are cut
WARM_UP = 512  # characters read before a piece that starts within a document
RECORDS = 2**32  # beyond every step: the random numbers of restarts in a text of records
MAX_POSITIONS = 2**13  # in a step of all streams; each has a row of logits
MAX_LOGITS = 2**23  # of a step


def check_training(n: int, batch_size: int, window: int, what: str = "characters") -> None:
    """Raises InputError if n characters, or tokens, are too few to train on."""
    needed = batch_size * window + 1
    if n < needed:
        raise InputError(
            f"expected at least {needed:,} {what} to train on (--batch-size {batch_size} x "
            f"--window {window} + 1), found {n:,}; give more text or smaller numbers"
        )


def check_held_out(lengths: Sequence[int], what: str = "characters") -> None:
    """Raises InputError if no held-out document is long enough to measure a prediction."""
    longest = max(lengths, default=0)
    if longest < 2:
        raise InputError(
            f"expected 2 {what} or more in a held-out part (the last tenth of a text, or every "
            f"tenth document), found {longest}; give more text"
        )


class TrainingWindows:
    """Windows of the training text; their order is a pure function of (seed, epoch).

    The text is treated as a ring. Each epoch starts at a random offset in it, so windows, stream
    starts and the few characters left over are different in each epoch.

    Args:
        ids: (n,) integers, in memory or mapped from a file (`MappedIds`).
        batch_size: B.
        window: T.
        seed: of the offsets and restarts.
        restart_every: windows after which, on average, a stream's state is reset; 0 for never.
        epoch: of the first pass; `set_epoch` selects another.
        first: the first step of every pass, for a run that is resumed within an epoch.
        separator: (L,) ids that end each record; None for a text without records.
        contexts: the context of each place; None for none.
        own: the streams that this process reads, among the B of all; others are not read.

    In a text of records, a stream whose state is reset goes on at the separator before the next
    record, if that is near (`RecordStreams`): what a model reads from a zero state is a separator,
    then a record. Each stream is reset every `restart_every` windows, from a random one on.

    Each item is ((ids (B, T), fresh (B,)), next ids (B, T)); fresh is 1 for a stream whose state is
    reset before the window, else 0. With contexts, the first are ids and contexts (B, T, 2): the
    context is that of the next id, so what ends a record is read in the context of the next one.
    Indexing with K steps gives K windows, on a first axis.

    Raises:
        InputError: the text is too short for one window per stream; for an item: it is damaged.
    """

    def __init__(
        self,
        ids: Ids,
        batch_size: int,
        window: int,
        seed: int,
        restart_every: int = 0,
        epoch: int = 0,
        first: int = 0,
        separator: np.ndarray | None = None,
        contexts: Stretches | None = None,
        own: slice = slice(None),
    ):
        check_training(len(ids), batch_size, window)
        self.ids, self.window, self.seed, self.first = ids, window, seed, first
        self.restart_every, self.separator, self.contexts = restart_every, separator, contexts
        self.length = len(ids) // batch_size  # of a stream
        self.starts, self.own = np.arange(batch_size) * self.length, own
        self.set_epoch(epoch)

    @property
    def steps(self) -> int:
        """Number of windows in a whole epoch."""
        return self.length // self.window

    def __len__(self):
        return self.steps - self.first

    def set_epoch(self, epoch: int) -> None:
        """Selects the windows of an epoch."""
        self.epoch = epoch
        self.offset = np.random.default_rng([self.seed, epoch]).integers(len(self.ids))
        begin = self.offset + self.starts
        self.streams = Streams(self.ids, begin[self.own])
        if self.separator is not None:
            rng = np.random.default_rng([self.seed, epoch, RECORDS])
            self.records = RecordStreams(
                self.ids, self.separator, begin, self.window, self.restart_every, rng, self.own
            )

    def __getitem__(self, step):
        step = np.asarray(step) + self.first  # (...)
        skipped: np.ndarray | int = 0
        if self.separator is None:
            fresh = self._restarts(step)
        else:
            fresh, skipped = self.records.restarts(step)
        rows = step * self.window, self.window + 1, skipped
        ids = self.streams.rows(*rows).astype(np.int32)  # (..., B, T+1)
        inputs, following = ids[..., :-1], ids[..., 1:]
        if self.contexts is not None:
            places = self.streams.places(*rows)[..., 1:]
            inputs = _with_contexts(inputs, self.contexts.at(places))
        return (inputs, fresh.astype(np.float32)), following

    def _restarts(self, step):
        """Returns (..., B), which streams are reset before these steps: some, at random."""
        share = 1 / self.restart_every if self.restart_every else 0.0
        odds = [
            np.random.default_rng([self.seed, self.epoch, k]).random(len(self.starts))
            for k in step.ravel().tolist()
        ]
        shape = *step.shape, len(self.starts)
        fresh = (np.reshape(odds, shape) < share) | (step == 0)[..., None]
        return fresh[..., self.own]


class HeldOutWindows:
    """Windows of held-out documents; each character but a document's first is a target once.

    Documents are read from their beginning as parallel streams with carried state. Two limits keep
    the cost of a large held-out text low. A document longer than `piece` is cut into pieces; each
    first reads the `WARM_UP` characters before it, which are not measured again. If there are more
    than `MAX_STREAMS` pieces, a stream reads several in turn and carries its state from one to the
    next.

    Streams end at different times, so positions have weights: 1 for a target; 0 for padding, for
    characters measured before and for a document's first character. The weights are scaled to a
    mean of 1, so the mean loss over batches is the mean over targets.

    Args:
        documents: list of (n,) integer arrays.
        window: T, at most.
        piece: characters of a document in one piece, `MAX_PIECE` by default.
        vocab_size: V, which limits the window: a position has V logits.
        contexts: the context in which each id of each document is read; None for none.
        multiple_of: B is a multiple of it; the streams added to the others have no targets.

    Each item is ((ids (B, T), fresh (B,)), next ids (B, T), weights (B, T)). With contexts, the
    first are ids and contexts (B, T, 2). Indexing with K steps gives K windows, on a first axis.

    Raises:
        InputError: no document has two characters.
    """

    def __init__(
        self,
        documents: Sequence[Ids],
        window: int = VALIDATION_WINDOW,
        piece: int | None = None,
        vocab_size: int = 1,
        contexts: Sequence[np.ndarray] | None = None,
        multiple_of: int = 1,
    ):
        piece = piece or MAX_PIECE
        if contexts is not None:  # one number for both, until they are in their places
            pairs = zip(documents, contexts, strict=True)
            documents = [np.asarray(d) + vocab_size * c for d, c in pairs]
        pieces = [  # ids, and the number of first ids that are not targets
            (d[max(0, k - WARM_UP) : k + piece + 1], min(k, WARM_UP) + 1)
            for d in documents
            for k in range(0, len(d) - 1, piece)
        ]
        check_held_out([len(d) for d in documents])
        self.targets = sum(len(ids) - before for ids, before in pieces)
        shares = [pieces[k::MAX_STREAMS] for k in range(min(len(pieces), MAX_STREAMS))]
        shares += [[] for _ in range(-len(shares) % multiple_of)]
        longest = max(sum(len(ids) for ids, _ in share) for share in shares)
        positions = min(MAX_POSITIONS, max(len(shares), MAX_LOGITS // vocab_size))
        self.window = min(window, longest - 1, positions // len(shares))
        steps = -(-(longest - 1) // self.window)
        self.ids = np.zeros((len(shares), steps * self.window + 1), np.int32)
        counted = np.zeros(self.ids.shape, bool)
        for row, share in enumerate(shares):
            end = 0
            for ids, before in share:
                begin, end = end, end + len(ids)
                self.ids[row, begin:end] = ids
                counted[row, begin + before : end] = True
        self.contexts = None
        if contexts is not None:
            self.contexts, self.ids = np.divmod(self.ids, np.int32(vocab_size))
        self.weights = counted[:, 1:] * np.float32(counted[:, 1:].size / self.targets)

    def __len__(self):
        return self.weights.shape[1] // self.window

    def __getitem__(self, step):
        step = np.asarray(step)  # (...)
        columns = step[..., None] * self.window + np.arange(self.window)  # (..., T)
        ids, following, weights = (
            np.moveaxis(x, 0, -2)  # (..., B, T)
            for x in (self.ids[:, columns], self.ids[:, columns + 1], self.weights[:, columns])
        )
        if self.contexts is not None:
            ids = _with_contexts(ids, np.moveaxis(self.contexts[:, columns], 0, -2))
        fresh = np.repeat((step == 0)[..., None], len(self.ids), axis=-1)
        return (ids, fresh.astype(np.float32)), following, weights


def _with_contexts(ids, contexts):
    """Returns ids and contexts of a shape (...) together, (..., 2)."""
    return np.stack([ids, contexts.astype(np.int32)], axis=-1)
