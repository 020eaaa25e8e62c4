"""Generates texts from a prompt, piece by piece, with the sampler or by beam search."""

from collections.abc import Iterator, Sequence

import numpy as np

from charlm.generation import sampler
from charlm.generation.beam_search import beam_search
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.healing import begin, heal
from charlm.reference.network import Network
from charlm.text.tokens import TokenVocab
from charlm.text.vocab import Vocab

MAX_TEXTS = 10_000  # drawn together, in memory
MAX_BYTES = 4  # of a character in UTF-8
ROWS = 4  # texts in a matrix product of NumPy: see `_Groups`
Machine = tuple[sampler.Step, sampler.GenerateBlock | None]  # see `stepper`


def texts(
    network: Network,
    vocab: Vocab,
    prompt: str,
    length: int,
    temperatures: Sequence[float],
    seed: sampler.Seed,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
    stops: Sequence[str] = (),
    min_length: int = 0,
    separator: str | None = None,
    machine: Machine | None = None,
) -> Iterator[list[str]]:
    """Yields the next characters of each of N texts that continue `prompt`.

    The last word of a prompt of tokens is drawn again, see `charlm.generation.healing`.

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
        machine: the result of `stepper`, if it was called before.

    Raises:
        UnknownCharacterError: a character of the prompt is not in the vocabulary.
    """
    stops = record_stops(stops, separator)
    step, block = machine or stepper(network)
    start = begin(vocab, prompt, separator)
    ends = [_End(stops, min_length, length, start.taken_back) for _ in temperatures]
    decoders, of_tokens = [vocab.decoder() for _ in temperatures], isinstance(vocab, TokenVocab)
    going = np.ones(len(ends), bool) if stops or of_tokens else None

    def cut(drawn):
        pieces = [
            "" if end.reached else end.cut(decode(ids))
            for end, decode, ids in zip(ends, decoders, drawn, strict=True)
        ]
        if going is not None:
            going[:] = [not end.reached for end in ends]
        return pieces

    states, ids, before = network.initial_states(1), start.ids, None
    if start.healing:
        for k in ids[:-1, None]:
            _, states = step(k, states)
        first, states = heal(step, states, int(ids[-1]), start.healing, temperatures, seed, rules)
        before = [np.append(ids, x) for x in first]
        ids = np.array([x[-1:] for x in first])
        yield cut(first)
    longest = MAX_BYTES * length if of_tokens else length  # a token may be a byte
    for drawn in sampler.generate(
        step, states, ids, longest, temperatures, seed, rules, block, going, before, vocab.pieces
    ):
        yield cut(drawn.T)


def whole_texts(
    network: Network,
    vocab: Vocab,
    length: int,
    temperatures: Sequence[float],
    seed: sampler.Seed,
    separator: str | None = None,
    prompt: str = "",
    machine: Machine | None = None,
) -> list[str]:
    """Returns a whole text for each temperature. Args: see `texts`."""
    pieces = texts(
        network, vocab, prompt, length, temperatures, seed, separator=separator, machine=machine
    )
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

    With tokens, the nats are those of all that was searched: the last word of the prompt, the text,
    and the rest of its last token. Args: see `texts` and `beam_search`.

    Raises:
        UnknownCharacterError: a character of the prompt is not in the vocabulary.
    """

    def read(ids):
        end = _End(stops, min_length, length, start.taken_back)
        return end.cut(vocab.decoder()(ids)), end.reached

    def ended(ids):
        if of_tokens:
            return read(ids)[1]
        if not stops or len(ids) < min_length:
            return False
        return vocab.decode(ids[-longest:]).endswith(tuple(stops))

    stops, of_tokens = record_stops(stops, separator), isinstance(vocab, TokenVocab)
    longest = max(map(len, stops), default=1)
    start, states = begin(vocab, prompt, separator), network.initial_states(width)
    most = MAX_BYTES * (length + len(start.taken_back)) if of_tokens else length
    allowed = start.healing.allowed if start.healing else None
    found = beam_search(network.step, states, start.ids, most, width, ended, vocab.lengths, allowed)
    texts: dict[str, float] = {}  # different tokens may give the same text; the best are first
    for ids, nats in found:
        texts.setdefault(read(ids)[0], nats)
    return [*texts.items()]


def record_stops(stops: Sequence[str], separator: str | None) -> Sequence[str]:
    """Returns the stop sequences: those given or, in a model of records, the separator."""
    return stops or (() if separator is None else (separator,))


class _End:
    """Finds the end of a text that arrives in pieces: a stop sequence, or `length` characters.

    The text begins with the end of the prompt if that was taken back.
    """

    def __init__(self, stops, min_length, length, taken_back):
        self.stops, self.min_length, self.reached = stops, min_length, False
        self.length, self.skipped = length, len(taken_back)
        self.tail, self.read = "", 0  # possible beginning of a stop sequence; characters so far
        self.overlap = max(map(len, stops), default=1) - 1

    def cut(self, piece):
        """Returns the piece up to the end of the text; empty after the end."""
        if self.reached:
            return ""
        skipped = min(self.skipped, len(piece))
        piece, self.skipped = piece[skipped:], self.skipped - skipped
        text = self.tail + piece
        first = self.read - len(self.tail)  # position of text[0]
        ends = [end for stop in self.stops for end in self._ends(text, stop, first)]
        self.read += len(piece)
        if self.read >= self.length:
            ends.append(self.length - first)
        if ends:
            self.reached = True
            return piece[: min(ends) - len(self.tail)]
        self.tail = text[len(text) - min(len(text), self.overlap) :]
        return piece

    def _ends(self, text, stop, first):
        """Returns the end of the first `stop` in `text` after `min_length`, in a list, or []."""
        at = text.find(stop, max(0, self.min_length - first - len(stop)))
        return [at + len(stop)] if at >= 0 else []


def stepper(network: Network) -> Machine:
    """Returns a network's step function and the block function that agrees with it, if any.

    Both are machine code, unless Numba is missing or there is none for the network. Which are used
    depends on nothing else, because machine code and NumPy round differently.
    """
    try:
        from charlm.kernels.generate import Drawing

        drawing = Drawing(network)
        return drawing.step, drawing
    except ImportError:
        return _Groups(network).step, None


class _Groups:
    """A network's step in NumPy, in groups of `ROWS` texts; the last group is padded.

    A matrix product of 5 rows may round differently from one of 6. Here all products have the same
    shape, so a text does not depend on batch size. Compiled kernels compute each row by itself.
    """

    def __init__(self, network):
        self.network = network

    def step(self, ids, states):
        """Computes `Network.step` for N texts."""
        N = len(ids)
        groups = np.resize(np.arange(N), (-(-N // ROWS), ROWS))
        found = [self.network.step(ids[rows], sampler.select_rows(states, rows)) for rows in groups]
        logits, after = zip(*found, strict=True)
        layers = zip(*after, strict=True)
        return np.concatenate(logits)[:N], [
            tuple(np.concatenate(x)[:N] for x in zip(*layer, strict=True)) for layer in layers
        ]
