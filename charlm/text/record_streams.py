"""Lets streams of training text start from a zero state where a record begins, if one is near.

stream:   T : t w o ␤ ␤ T : t h r e e ␤ ␤ T : f o u r
reset here:   ^     |               reads on from here: the separator, then a whole record

Where the next record is farther than half of what a stream reads between resets, the stream starts
where it is. Otherwise it would come to the same long record again and again, and read only its
beginning.
"""

import numpy as np

from charlm.text.ids import Ids

FIRST_LOOK = 2**10  # characters; as long as a short record
MAX_SKIP = 2**16  # characters; a stream that finds no record in so many starts where it is


class RecordStreams:
    """Says when streams are reset, and how many characters they have skipped so far.

    Args:
        ids: (n,), treated as a ring.
        separator: (L,) ids that end each record.
        begin: (B,), where each stream starts.
        window: T, characters in a step.
        restart_every: windows after which a stream is reset; 0 for only before the first.
        rng: chooses the first window, for each stream another.
        own: the streams to look at, among the B.
    """

    def __init__(
        self,
        ids: Ids,
        separator: np.ndarray,
        begin: np.ndarray,
        window: int,
        restart_every: int,
        rng: np.random.Generator,
        own: slice = slice(None),
    ):
        self.ids, self.separator, self.begin, self.window = ids, separator, begin[own], window
        self.every = restart_every
        stretch = len(ids) // len(begin)  # that a stream reads between resets
        if restart_every:
            stretch = min(stretch, restart_every * window)
        self.max_skip = min(stretch // 2, MAX_SKIP)
        self.phases = rng.integers(max(1, restart_every), size=len(begin))[own]
        self.found: dict[int, int] = {}  # characters to skip, by the place of the reset

    def restarts(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which streams are reset before some steps, and the characters skipped by then.

        Args:
            step: (...) numbers of steps.

        Returns:
            (..., B) booleans and (..., B) integers.
        """
        step = np.broadcast_to(step[..., None], (*step.shape, len(self.begin)))
        last = np.zeros_like(step)  # the step of the last reset
        if self.every:
            last = np.maximum(step - (step - self.phases) % self.every, 0)
        places, which = np.unique(self.begin + last * self.window, return_inverse=True)
        skipped = np.array([self._to_next(p) for p in places.tolist()])
        return step == last, skipped[which].reshape(step.shape)

    def _to_next(self, place):
        """Returns how far it is from a place to the separator before the next record."""
        if place not in self.found:
            self.found[place] = self._search(place)
        return self.found[place]

    def _search(self, place):
        n, size = len(self.ids), FIRST_LOOK
        most = min(self.max_skip + 2 * len(self.separator) + 1, n)  # what `separators` looks at
        while True:
            size = min(size, most)
            ids = self.ids[np.arange(place, place + size) % n]
            ends = separators(ids, self.separator)
            if len(ends):
                return int(ends[0]) if ends[0] <= self.max_skip else 0
            if size == most:
                return 0
            size *= 8


def separators(ids: np.ndarray, separator: np.ndarray) -> np.ndarray:
    """Returns where separators are in ids (n,) that no other separator follows.

    Args:
        ids: a stretch of text. Its end is not looked at: a separator may go on after it.
        separator: (L,) ids.
    """
    L = len(separator)
    if len(ids) <= L:
        return np.zeros(0, np.int64)
    is_one = (np.lib.stride_tricks.sliding_window_view(ids, L) == separator).all(axis=1)
    unit = L if (separator != separator[0]).any() else 1  # a newline more is the same end
    following = np.append(is_one[unit:], [False] * unit)[: len(is_one)]
    places = np.flatnonzero(is_one & ~following)
    return places[places + L + unit <= len(ids)]
