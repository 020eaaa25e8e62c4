"""An n-gram model of characters with Witten-Bell interpolation.

Let C(h) be the number of occurrences of context h with a next character, T(h) the number of
different next characters, and h' the context without its first character. Then

    p(x | h) = (C(h x) + T(h) p(x | h')) / (C(h) + T(h))

and below the empty context p(x) = 1 / V. Sources: Witten and Bell 1991, "The zero-frequency
problem", method C; Chen and Goodman 1999, "An empirical study of smoothing techniques for language
modeling", section 2.5.
"""

import numpy as np

from charlm.text.ids import Ids

LARGEST = 2**62  # of the numbers that stand for n characters in a row


class NGram:
    """The n-gram counts of a text.

    Args:
        ids: (n,), the text.
        vocab_size: V.
        order: n of the longest n-grams; lowered if V^order does not fit into 62 bits.
    """

    def __init__(self, ids: Ids, vocab_size: int, order: int = 6):
        self.V = vocab_size
        while order > 1 and self.V**order > LARGEST:
            order -= 1
        self.order, self.tables = order, []
        for codes in self._codes(ids):
            grams, counts = np.unique(codes, return_counts=True)
            contexts, first = np.unique(grams // self.V, return_index=True)
            totals = np.add.reduceat(counts, first)
            kinds = np.diff(np.append(first, len(grams)))
            self.tables.append((grams, counts, contexts, totals, kinds))

    def _codes(self, ids):
        """Yields codes of the n-grams of k + 1 characters, (n - k,), for k = 0, 1 ..."""
        ids = np.asarray(ids, np.int64)
        codes = ids
        for k in range(self.order):
            if k:
                codes = codes[:-1] * self.V + ids[k:]
            yield codes

    def losses(self, ids: Ids, order: int | None = None) -> np.ndarray:
        """Computes -log p of each character except the first, in nats: (n - 1,).

        Args:
            ids: (n,).
            order: a lower n than that of the counts.
        """
        p = np.full(len(ids), 1 / self.V)
        for k, codes in enumerate(self._codes(ids)):
            grams, counts, contexts, totals, kinds = self.tables[k]
            if k == order or not len(codes) or not len(grams):
                break
            count = _looked_up(grams, counts, codes)
            total, kind = (_looked_up(contexts, x, codes // self.V) for x in (totals, kinds))
            below = p[k:]
            p[k:] = np.where(total, (count + kind * below) / np.maximum(total + kind, 1), below)
        return -np.log(p[1:])


def _looked_up(keys, values, wanted):
    """Returns the value of each wanted key, 0 for missing keys."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
