"""Draws and scores what a request asks for, piece by piece. Knows no HTTP."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from charlm.errors import InputError
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.sampler import Step, select_rows
from charlm.reference.loss import log_softmax
from charlm.runs.checkpoint import Checkpoint
from charlm.serving.fields import RequestError
from charlm.serving.request import Completion
from charlm.text.vocab import Vocab
from corpora.normalizing import normalized

Finish = Literal["stop", "length"]


class Left(Exception):
    """Raised by the work for a client that has left."""


@dataclass(frozen=True)
class Token:
    """A character and its log-probability in nats, at temperature 1 and without constraints."""

    character: str
    logprob: float | None
    """None for the first character of a text, because nothing was read before it."""
    top: dict[str, float] | None
    """The most probable characters and this one; None without `logprob`."""


@dataclass(frozen=True)
class Piece:
    """The next characters of a choice."""

    choice: int
    text: str
    tokens: list[Token] = field(default_factory=list)
    """One for each character of `text`, if log-probabilities are wanted."""
    finish: Finish | None = None
    """Why the choice ends with this piece."""
    drawn: int = 0
    """Characters drawn in all, those of the stop sequence included; in the last piece only."""


class Writer:
    """A model that answers requests, one at a time.

    Args:
        saved: the run.
        name: of the model.
    """

    def __init__(self, saved: Checkpoint, name: str):
        saved.vocab.require_characters("serve this run")
        self.name = name
        self._vocab, self._data = saved.vocab, saved.config.data
        self._network = saved.to_network()
        self._machine = generate.stepper(self._network)  # compiles it, if necessary

    def prepared(self, c: Completion) -> Completion:
        """Returns a request with its seed, and its texts in the Unicode form of the run's text.

        Raises:
            RequestError: it names another model, or a character of a prompt is unknown.
        """
        if c.model not in (None, self.name):
            message = f"expected the model {self.name!r}, found {c.model!r}"
            raise RequestError(message, "model", "model_not_found", 404)
        prompts, stops = (
            tuple(normalized(x, self._data.normalize) for x in texts)
            for texts in (c.prompts, c.stop)
        )
        for prompt in prompts:
            try:
                self._vocab.encode(prompt)
            except InputError as error:
                raise RequestError(f"prompt: {error}", "prompt", "unknown_character") from None
        seed = secrets.randbits(32) if c.seed is None else c.seed
        return replace(c, prompts=prompts, stop=stops, seed=seed)

    def pieces(self, c: Completion, going: Callable[[], bool] = lambda: True) -> Iterator[Piece]:
        """Yields the pieces of all choices; choice n k + j is text j of prompt k.

        Text j is text j of `charlm sample -n` with the same seed and options, without the stop
        sequence at its end.

        Args:
            c: a request that was `prepared`.
            going: called between characters; once it returns false, the work ends.

        Raises:
            Left: `going` returned false.
            RequestError: a log-probability is not finite.
        """

        def step(ids, states):
            if not going():
                raise Left
            return self._machine[0](ids, states)

        for k, prompt in enumerate(c.prompts):
            for piece in self._continued(c, prompt, k * c.n, (step, self._machine[1])):
                if not going():
                    raise Left
                yield piece

    def _continued(self, c, prompt, first, machine):
        """Yields the pieces of the choices of one prompt, the first of which has index `first`."""
        readers = None if c.logprobs is None else self._read(c, prompt, machine[0])
        if c.echo:
            tokens = readers[0] if readers else []
            end = ("length", 0) if c.max_tokens == 0 else (None, 0)
            yield from (Piece(first + j, prompt, tokens, *end) for j in range(c.n))
        if c.max_tokens == 0:
            return
        # constraints keep the most probable character, so at temperature 0 they change nothing
        rules = SamplingConstraints(c.top_k, c.top_p) if c.temperature else SamplingConstraints()
        separator = self._data.separator
        texts = generate.texts(
            self._network, self._vocab, prompt, c.max_tokens, [c.temperature] * c.n, c.seed, rules,
            c.stop, 0, separator, machine,
        )  # fmt: skip
        stops = generate.record_stops(c.stop, separator)
        shown = [_Shown(stops, c.max_tokens) for _ in range(c.n)]
        for new in texts:
            read = readers[1].read(new) if readers else [[] for _ in new]
            for j, (choice, text, tokens) in enumerate(zip(shown, new, read, strict=True)):
                text, tokens, finish = choice.add(text, tokens)
                if text or finish:
                    yield Piece(first + j, text, tokens, finish, choice.drawn if finish else 0)

    def _read(self, c, prompt, step):
        """Returns the tokens of a prompt, and a reader for the texts that continue it.

        The prompt is read from its first character, as `charlm score` does. A text is drawn after
        what `generate.begin` puts before the prompt, and that is what the reader has read.
        """
        begin = self._vocab.decode(generate.begin(self._vocab, prompt, self._data.separator).ids)
        reader = _Reader(step, self._network.initial_states(1), self._vocab, c.logprobs)
        tokens = reader.read([prompt])[0] if c.echo else []
        if c.max_tokens and (begin != prompt or not c.echo):
            reader = _Reader(step, self._network.initial_states(1), self._vocab, c.logprobs)
            reader.skip(begin)
        return tokens, reader.repeated(c.n)


class _Reader:
    """Reads N texts, and keeps the log-probabilities of what comes next in each."""

    def __init__(self, step: Step, states: Any, vocab: Vocab, count: int):
        self.step, self.states, self.vocab = step, states, vocab
        self.count = min(count, len(vocab))
        self.log_p: np.ndarray | None = None  # (N, V)

    def repeated(self, n):
        """Returns this reader of one text, for n texts that begin with it."""
        rows = np.zeros(n, np.intp)
        self.states = select_rows(self.states, rows)
        self.log_p = None if self.log_p is None else self.log_p[rows]
        return self

    def skip(self, text: str) -> None:
        """Reads one text without its tokens."""
        for i in self.vocab.encode(text):
            self._next(np.array([i]))

    def read(self, texts: Sequence[str]) -> list[list[Token]]:
        """Reads the next characters of each text and returns their tokens.

        A text that is shorter than the others has ended; its states are not used any longer.
        """
        ids = np.zeros((len(texts), max(map(len, texts))), np.intp)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = self.vocab.encode(text)
        found: list[list[Token]] = [[] for _ in texts]
        for k, column in enumerate(ids.T):
            for j, (text, tokens) in enumerate(zip(texts, found, strict=True)):
                if k < len(text):
                    tokens.append(self._token(text[k], int(column[j]), j))
            self._next(column)
        return found

    def _next(self, ids):
        logits, self.states = self.step(ids, self.states)
        self.log_p = log_softmax(logits)

    def _token(self, character, at, row):
        if self.log_p is None:
            return Token(character, None, None)
        log_p = self.log_p[row]
        if not np.isfinite(log_p).all():
            raise RequestError(
                "expected finite log-probabilities, found others: the model's states become "
                "infinite on this text; leave logprobs out",
                "logprobs",
            )
        best = np.argsort(-log_p, kind="stable")[: self.count]
        top = {self.vocab.characters[k]: float(log_p[k]) for k in best}
        return Token(character, float(log_p[at]), top | {character: float(log_p[at])})


class _Shown:
    """A text without its stop sequence: holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str], length: int):
        self.stops, self.length, self.drawn = stops, length, 0
        self.ended, self.text = False, ""  # text and tokens that are held back
        self.tokens: list[Token] = []

    def add(self, text: str, tokens: list[Token]) -> tuple[str, list[Token], Finish | None]:
        """Takes new characters; returns those to show, and why the text ends with them, if so."""
        if self.ended:
            return "", [], None
        self.drawn += len(text)
        self.text, self.tokens = self.text + text, self.tokens + tokens
        # a text is drawn up to its first stop sequence, so one can only be at its end
        stop = max((x for x in self.stops if self.text.endswith(x)), key=len, default="")
        finish: Finish | None = None
        if stop:
            held, finish = len(stop), "stop"
        elif self.drawn == self.length:
            held, finish = 0, "length"
        else:
            held = self._beginning()
        self.ended = finish is not None
        shown = len(self.text) - held
        found = self.text[:shown], self.tokens[:shown], finish
        self.text, self.tokens = self.text[shown:], self.tokens[shown:]
        return found

    def _beginning(self):
        """Returns the length of the longest beginning of a stop sequence that ends the text."""
        longest = max(map(len, self.stops), default=1) - 1
        return next((k for k in range(min(longest, len(self.text)), 0, -1)
                     if any(x.startswith(self.text[-k:]) for x in self.stops)), 0)  # fmt: skip
