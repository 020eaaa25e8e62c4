"""Networks that are conditioned on contexts: rows of the first kernel, added in every step.

The rows follow those of the ids, and are multiplied by `context_scale`. Contexts have the numbers 1
to C; 0 means that it is unknown, and adds the mean of the rows.
"""

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.reference.network import Network, checked, layer_path, shapes
from charlm.text.ids import Ids


def in_context(
    weights: dict[str, np.ndarray],
    config: ModelConfig,
    vocab_size: int,
    context: int = 0,
) -> dict[str, np.ndarray]:
    """Returns the weights of a network without contexts that computes the same in one context.

    The context's row of the first kernel is added to the inputs of every step, so it can be added
    to the bias instead.

    Args:
        weights: of a network with contexts.
        config: its sizes and options.
        vocab_size: V.
        context: its number, from 1 on; 0 if it is unknown, for the mean of the rows.

    Raises:
        InputError: a sum is infinite.
    """
    first, bias = (f"{layer_path(config, 0)}/{n}" for n in (0, 2))
    kernel, added = weights[first], weights[bias].copy()
    # the bias of the inputs is the first one of a GRU with reset_after
    np.atleast_2d(added)[0] += _context_table(kernel, vocab_size, config)[context]
    if not np.isfinite(added).all():
        raise InputError("expected contexts of finite sums, found infinity")
    return weights | {first: kernel[:vocab_size].copy(), bias: added}


def _context_table(kernel, vocab_size, config):
    """Returns what each context adds, (C + 1, G*H): first the mean of all."""
    with np.errstate(over="ignore", invalid="ignore"):  # `in_context` refuses infinity
        rows = np.float32(config.context_scale) * kernel[vocab_size:]
        mean = rows.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return np.concatenate([mean, rows])


class ConditionedNetwork(Network):
    """A network that reads contexts. An id in context c is id + V c; plain ids are in context 0.

    Args: see `Network`; `contexts` is C. Only `step` reads contexts.
    """

    def __init__(
        self, weights: dict[str, np.ndarray], vocab_size: int, config: ModelConfig, contexts: int
    ):
        first = f"{layer_path(config, 0)}/0"
        shape = shapes(config, vocab_size, contexts)[first]
        table = _context_table(checked(weights, first, shape, np.float32), vocab_size, config)
        super().__init__(in_context(weights, config, vocab_size), vocab_size, config)
        self.vocab_size, self.added = vocab_size, table - table[0]

    def read_in(self, ids: Ids, contexts: int | np.ndarray) -> np.ndarray:
        """Returns ids (n,) to be read in one context, or in one for each (n,)."""
        return np.asarray(ids, np.int64) + self.vocab_size * contexts

    def first_inputs(self, ids: np.ndarray) -> np.ndarray:
        """See `Network.first_inputs`."""
        contexts, ids = np.divmod(ids, self.vocab_size)
        return super().first_inputs(ids) + self.added[contexts]

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """See `Network.targets`."""
        return ids % self.vocab_size
