"""Characters around the sampler: a prompt in, texts out, piece by piece."""

from collections.abc import Iterator

import numpy as np

from charlm import sampler
from charlm.reference.network import Network
from charlm.vocab import Vocab


def texts(
    network: Network, vocab: Vocab, prompt: str, length: int, temperatures, seed: int
) -> Iterator[list[str]]:
    """Yields pieces: of each of N texts the next characters after `prompt`, `length` in all.

    Args:
        temperatures: N numbers, one a text. seed: see `sampler.generate`.

    Raises:
        UnknownCharacterError: in the prompt.
    """
    N = len(temperatures)
    # Where there is no prompt, the model is told that a line ended; it has to be told something.
    ids = vocab.encode(prompt or ("\n" if "\n" in vocab else vocab.characters[0]))
    states = network.initial_states(N)
    prompts = np.broadcast_to(ids, (N, len(ids)))
    drawn = sampler.generate(
        network.step, states, prompts, length, temperatures, seed, lambda: machine_code(network)
    )
    for block in drawn:
        yield [vocab.decode(ids) for ids in block.T]


def machine_code(network: Network) -> sampler.Block | None:
    """The network's block of text in machine code, or None where there is none for it."""
    try:
        from charlm.compiled.sampling import Drawing

        return Drawing(network)
    except ImportError:  # no Numba, or such a network
        return None
