"""In which context a text is most probable: Bayes' rule over a run's contexts."""

import numpy as np

from charlm.evaluation import losses as scoring
from charlm.runs.checkpoint import Checkpoint
from charlm.text.mapped_ids import Ids


def losses(saved: Checkpoint, ids: Ids) -> np.ndarray:
    """Computes the loss of a text in each context, of all its ids but the first.

    Args:
        saved: a run with C contexts.
        ids: (n,).

    Returns:
        (C,) sums in nats, in the order of the contexts' names.
    """
    assert saved.contexts is not None
    numbers = np.arange(1, len(saved.contexts.names) + 1)
    texts = [np.asarray(ids, np.int64) + len(saved.vocab) * c for c in numbers]
    found = scoring.stateful_losses(saved.to_network(), texts)
    return np.array([x.sum(dtype=np.float64) for x in found])


def probabilities(nats: np.ndarray) -> np.ndarray:
    """Returns each context's probability (..., C) given a text, if all are as probable before.

    P(context | text) = P(text | context) / the sum of these over all contexts.

    Args:
        nats: (..., C), the text's loss in each context.
    """
    odds = np.exp(nats.min(axis=-1, keepdims=True) - nats)
    return odds / odds.sum(axis=-1, keepdims=True)
