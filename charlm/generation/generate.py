"""Generates texts from a prompt, piece by piece, with the sampler or by beam search."""

from collections.abc import Iterator, Sequence

import numpy as np

from charlm.generation import sampler
from charlm.generation.beam_search import beam_search
from charlm.generation.constraints import SamplingConstraints
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

MAX_TEXTS = 10_000  # drawn together, in memory
ROWS = 4  # texts in a matrix product: see `_Groups`


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
    separator: str | None = None,
) -> Iterator[list[str]]:
    """Yields the next characters of each of N texts that continue `prompt`.

    A text depends only on the seed, its index, its temperature and the rules, to the last
    character; not on batch size or `length`.

    Args:
        network: the model.
        vocab: its vocabulary.
        prompt: text to continue.
        length: maximum number of characters of each text.
        temperatures: N numbers, one for each text.
        seed: see `sampler.generate`.
        rules: see `sampler.generate`.
        stops: stop sequences; a text ends with the first of them.
        min_length: a stop sequence that ends before so many characters has no effect.
        separator: of a model of records: a text begins after it, and is its stop sequence if there
            is no other.

    Raises:
        UnknownCharacterError: a character of the prompt is not in the vocabulary.
    """
    N, ids = len(temperatures), begin(vocab, prompt, separator)
    stops = record_stops(stops, separator)
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
    network: Network,
    vocab: Vocab,
    length: int,
    temperatures: Sequence[float],
    seed: int,
    separator: str | None = None,
    prompt: str = "",
) -> list[str]:
    """Returns a whole text for each temperature. Args: see `texts`."""
    pieces = texts(network, vocab, prompt, length, temperatures, seed, separator=separator)
    return ["".join(text) for text in zip(*pieces, strict=True)]


def beam_search_text(
    network: Network,
    vocab: Vocab,
    prompt: str,
    length: int,
    width: int,
    stops: Sequence[str] = (),
    min_length: int = 0,
    separator: str | None = None,
) -> list[tuple[str, float]]:
    """Returns the most probable continuations of a prompt, as (text, nats per character).

    Args: see `texts` and `beam_search`.

    Raises:
        UnknownCharacterError: a character of the prompt is not in the vocabulary.
    """

    def ended(ids):
        if not stops or len(ids) < min_length:
            return False
        return vocab.decode(ids[-longest:]).endswith(tuple(stops))

    stops = record_stops(stops, separator)
    longest = max(map(len, stops), default=1)
    states = network.initial_states(width)
    ids = begin(vocab, prompt, separator)
    found = beam_search(network.step, states, ids, length, width, ended)
    return [(vocab.decode(ids), nats) for ids, nats in found]


def begin(vocab: Vocab, prompt: str, separator: str | None = None) -> np.ndarray:
    """Encodes a prompt, after the separator of records if there is one.

    A model needs a first id: if there is neither, it is a newline.
    """
    prompt = (separator or "") + prompt
    return vocab.encode(prompt or ("\n" if "\n" in vocab else vocab.characters[0]))


def record_stops(stops: Sequence[str], separator: str | None) -> Sequence[str]:
    """Returns the stop sequences: those given or, in a model of records, the separator."""
    return stops or (() if separator is None else (separator,))


class _End:
    """Finds the end of a text that arrives in pieces."""

    def __init__(self, stops, min_length):
        self.stops, self.min_length, self.reached = stops, min_length, False
        self.tail, self.read = "", 0  # possible beginning of a stop sequence; characters so far
        self.overlap = max(map(len, stops), default=1) - 1

    def cut(self, piece):
        """Returns the piece up to the end of the text; empty after the end."""
        if self.reached:
            return ""
        text = self.tail + piece
        first = self.read - len(self.tail)  # position of text[0]
        ends = [end for stop in self.stops for end in self._ends(text, stop, first)]
        self.read += len(piece)
        if ends:
            self.reached = True
            return piece[: min(ends) - len(self.tail)]
        self.tail = text[len(text) - min(len(text), self.overlap) :]
        return piece

    def _ends(self, text, stop, first):
        """Returns the end of the first `stop` in `text` after `min_length`, in a list, or []."""
        at = text.find(stop, max(0, self.min_length - first - len(stop)))
        return [at + len(stop)] if at >= 0 else []


class _Groups:
    """A network's step for N texts, in groups of `ROWS`; the last group is padded.

    A matrix product of 5 rows may round differently from one of 6. Here all products have the same
    shape, so a text does not depend on batch size. Compiled kernels compute each row by itself.
    """

    def __init__(self, network, N):
        self.network, self.N = network, N
        self.starts = range(0, N, ROWS)

    def zeros(self):
        """Returns zero states for every group."""
        return [self.network.initial_states(ROWS) for _ in self.starts]

    def step(self, ids, states):
        """Computes `Network.step` for all texts."""
        ids = np.resize(ids, len(self.starts) * ROWS)
        found = [
            self.network.step(ids[k : k + ROWS], group)
            for k, group in zip(self.starts, states, strict=True)
        ]
        logits, after = zip(*found, strict=True)
        return (logits[0] if len(logits) == 1 else np.concatenate(logits))[: self.N], list(after)

    def compiled_block(self):
        """Returns the compiled kernel for a block of text, or None if the network has none."""
        draw = load_compiled_block(self.network)
        if draw is None:
            return None

        def block(ids, states, temperatures, uniform):
            if states and isinstance(states[0], list):  # the states of groups
                layers = zip(*states, strict=True)
                states = [
                    tuple(np.concatenate(x)[: self.N] for x in zip(*layer, strict=True))
                    for layer in layers
                ]
            return draw(ids, states, temperatures, uniform)

        return block


def load_compiled_block(network: Network) -> sampler.GenerateBlock | None:
    """Returns the network's compiled kernel for a block of text, or None if it has none."""
    try:
        from charlm.kernels.generate import Drawing

        return Drawing(network)
    except ImportError:  # Numba is missing, or no kernel fits
        return None
