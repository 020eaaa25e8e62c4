"""Characters around the sampler: a prompt in, texts out, piece by piece."""

from collections.abc import Iterator, Sequence

import numpy as np

from charlm.generation import sampler
from charlm.generation.beam_search import beam_search
from charlm.generation.constraints import SamplingConstraints
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

MAX_TEXTS = 10_000  # drawn together, in memory
ROWS = 4  # texts in a product: see `_Groups`


def texts(
    network: Network,
    vocab: Vocab,
    prompt: str,
    length: int,
    temperatures: Sequence[float],
    seed: int,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
    stops: Sequence[str] = (),
    min_length: int = 0,
) -> Iterator[list[str]]:
    """Yields pieces: of each of N texts the next characters after `prompt`.

    A text depends on the seed, its place, its temperature and the rules, to the last character; not
    on the number of texts beside it.

    Args:
        length: characters of each, at most. temperatures: N numbers, one a text.
        seed, rules: see `sampler.generate`.
        stops: a text ends with the first of these that ends after `min_length` characters or more.

    Raises:
        UnknownCharacterError: in the prompt.
    """
    N, ids = len(temperatures), begin(vocab, prompt)
    groups = _Groups(network, N)
    prompts = np.broadcast_to(ids, (N, len(ids)))
    drawn = sampler.generate(
        groups.step,
        groups.zeros(),
        prompts,
        length,
        temperatures,
        seed,
        rules,
        groups.compiled_block,
    )
    ends = [_End(stops, min_length) for _ in range(N)]
    for block in drawn:
        yield [end.cut(vocab.decode(ids)) for end, ids in zip(ends, block.T, strict=True)]
        if all(end.reached for end in ends):
            return


def whole_texts(
    network: Network, vocab: Vocab, length: int, temperatures: Sequence[float], seed: int
) -> list[str]:
    """Returns a whole text for each temperature, without a prompt. Args: see `texts`."""
    pieces = texts(network, vocab, "", length, temperatures, seed)
    return ["".join(text) for text in zip(*pieces, strict=True)]


def beam_search_text(
    network: Network,
    vocab: Vocab,
    prompt: str,
    length: int,
    width: int,
    stops: Sequence[str] = (),
    min_length: int = 0,
) -> list[tuple[str, float]]:
    """The likeliest continuations of a prompt, by beam search: (text, nats a character).

    Args: see `texts` and `beam_search`.

    Raises:
        UnknownCharacterError: in the prompt.
    """

    def ended(ids):
        if not stops or len(ids) < min_length:
            return False
        return vocab.decode(ids[-longest:]).endswith(tuple(stops))

    longest = max(map(len, stops), default=1)
    states = network.initial_states(width)
    ids = begin(vocab, prompt)
    found = beam_search(network.step, states, ids, length, width, ended)
    return [(vocab.decode(ids), nats) for ids, nats in found]


def begin(vocab: Vocab, prompt: str) -> np.ndarray:
    """Ids of a prompt; where there is none, of a line's end: a model has to be told something."""
    return vocab.encode(prompt or ("\n" if "\n" in vocab else vocab.characters[0]))


class _End:
    """Where a text that comes in pieces ends."""

    def __init__(self, stops, min_length):
        self.stops, self.min_length, self.reached = stops, min_length, False
        self.tail, self.read = "", 0  # what may be the beginning of a stop; all characters so far
        self.overlap = max(map(len, stops), default=1) - 1

    def cut(self, piece):
        """The piece, to its end or the text's; what comes after the end is empty."""
        if self.reached:
            return ""
        text = self.tail + piece
        first = self.read - len(self.tail)  # the place of text[0]
        ends = [end for stop in self.stops for end in self._ends(text, stop, first)]
        self.read += len(piece)
        if ends:
            self.reached = True
            return piece[: min(ends) - len(self.tail)]
        self.tail = text[len(text) - min(len(text), self.overlap) :]
        return piece

    def _ends(self, text, stop, first):
        """Where in `text` the first of this stop ends that is not too soon."""
        at = text.find(stop, max(0, self.min_length - first - len(stop)))
        return [at + len(stop)] if at >= 0 else []


class _Groups:
    """A network's step for N texts, always of `ROWS` of them at a time, filled up with idle ones.

    A library's product of 5 rows may round otherwise than that of 6. All that are multiplied here
    have the same shape, so that a text is the same whatever is drawn beside it; machine code works
    row by row.
    """

    def __init__(self, network, N):
        self.network, self.N = network, N
        self.starts = range(0, N, ROWS)

    def zeros(self):
        """The states of every group."""
        return [self.network.initial_states(ROWS) for _ in self.starts]

    def step(self, ids, states):
        """As `Network.step` of all."""
        ids = np.resize(ids, len(self.starts) * ROWS)
        found = [
            self.network.step(ids[k : k + ROWS], group)
            for k, group in zip(self.starts, states, strict=True)
        ]
        logits, after = zip(*found, strict=True)
        return (logits[0] if len(logits) == 1 else np.concatenate(logits))[: self.N], list(after)

    def compiled_block(self):
        """A block of text in machine code, or None where there is none for the network."""
        draw = load_compiled_block(self.network)
        if draw is None:
            return None

        def block(ids, states, temperatures, uniform):
            if states and isinstance(states[0], list):  # of groups
                layers = zip(*states, strict=True)
                states = [
                    tuple(np.concatenate(x)[: self.N] for x in zip(*layer, strict=True))
                    for layer in layers
                ]
            return draw(ids, states, temperatures, uniform)

        return block


def load_compiled_block(network: Network) -> sampler.GenerateBlock | None:
    """The network's block of text in machine code, or None where there is none for it."""
    try:
        from charlm.kernels.generate import Drawing

        return Drawing(network)
    except ImportError:  # no Numba, or such a network
        return None
