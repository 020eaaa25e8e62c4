"""Finds in which context a text is most probable: Bayes' rule over a run's contexts."""

import numpy as np

from charlm.evaluation import losses as scoring
from charlm.reference.contexts import ConditionedNetwork
from charlm.text.ids import Ids


def losses(network: ConditionedNetwork, ids: Ids) -> np.ndarray:
    """Computes the loss of a text in each context, of all its ids but the first.

    Args:
        network: with C contexts.
        ids: (n,).

    Returns:
        (C,) sums in nats, in the order of the contexts' numbers.
    """
    C, most = len(network.added) - 1, scoring.MAX_SIDE_BY_SIDE
    plain, found = np.asarray(ids, np.int64), []
    for first in range(1, C + 1, most):  # a text of a thousand contexts is long
        numbers = range(first, min(first + most, C + 1))
        group = scoring.stateful_losses(network, [network.read_in(plain, c) for c in numbers])
        found += [x.sum(dtype=np.float64) for x in group]
    return np.array(found)


def probabilities(nats: np.ndarray) -> np.ndarray:
    """Returns each context's probability (..., C) given a text, if all are as probable before.

    P(context | text) = P(text | context) / the sum of these over all contexts.

    Args:
        nats: (..., C), the text's loss in each context.
    """
    odds = np.exp(nats.min(axis=-1, keepdims=True) - nats)
    return odds / odds.sum(axis=-1, keepdims=True)
