"""An n-gram model of characters: what can be known of the next from the few before it.

Interpolated by Witten and Bell's rule. With C(h) the number of times that context h was followed by
anything, T(h) the number of different characters that followed it, and h' the context less its
first character,

    p(x | h) = (C(h x) + T(h) p(x | h')) / (C(h) + T(h))

from p(x) = 1 / V below the empty context upward. Sources: Witten and Bell 1991, "The zero-frequency
problem", method C; Chen and Goodman 1999, "An empirical study of smoothing techniques for language
modeling", section 2.5.
"""

import numpy as np

from charlm.text.mapped_ids import Ids

LARGEST = 2**62  # of the numbers that stand for n characters in a row


class NGram:
    """Counts of a text.

    Args:
        ids: (n,), the text. vocab_size: V. order: characters that are looked at at most, the next
            one among them; lowered where V^order would not fit into 62 bits.
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
        """For k = 0, 1 ...: a number for each k + 1 characters in a row, (n - k,)."""
        ids = np.asarray(ids, np.int64)
        codes = ids
        for k in range(self.order):
            if k:
                codes = codes[:-1] * self.V + ids[k:]
            yield codes

    def losses(self, ids: Ids, order: int | None = None) -> np.ndarray:
        """-log p of each character but the first after those before it, in nats: (n - 1,).

        Args:
            order: to look at fewer characters than were counted.
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
    """The value of each key, 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
