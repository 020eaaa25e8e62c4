"""The passage of a run's held-out text that the page shows and that training may record."""

import numpy as np

from charlm.text.ids import Ids
from charlm.text.vocab import Vocab

LENGTH = 5000  # characters
LOOKED_AT = 110_000  # characters of the held-out text, from its beginning


def of_held_out(ids: Ids, vocab: Vocab) -> str:
    """Returns a passage from the second half, in which cells are scored; it begins with a line.

    Args:
        ids: the held-out text, `LOOKED_AT` characters of it or fewer.
        vocab: of the run.
    """
    text = vocab.decode(np.asarray(ids[len(ids) // 2 :]))
    begin = text.find("\n", 0, LENGTH) + 1 if len(text) > 2 * LENGTH else 0
    return text[begin : begin + LENGTH]
