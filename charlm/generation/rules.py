"""Draws a text that follows a rule: the rule is asked at each character, and wrong ones are undone.

A rule is a grammar that reads a text character by character, such as balanced brackets. After each
character it says how many of the last characters are still open. If the next character is wrong,
these are undone and drawn again with new random numbers: the sampler goes back to the state, which
it has kept, at their beginning. So what was open has the model's probabilities under the condition
that it is right (rejection sampling). If nothing is open, only the wrong character is excluded and
another one drawn; then the text has not quite these probabilities.

An earlier choice may turn out to be a dead end. So after each `TRIES` failures in which the text
did not become longer than before, the sampler backtracks by one place more. After `MOST` failures
it gives up.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from charlm.errors import InputError, require
from charlm.generation.constraints import (
    SamplingConstraints,
    draw,
    filter_top_k_top_p,
    probabilities,
)
from charlm.generation.generate import Machine, stepper
from charlm.generation.healing import begin
from charlm.generation.sampler import random_numbers
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

TRIES = 20  # failures without progress, after which one place more is drawn again
MOST = 1000  # failures in a text

State = TypeVar("State")


class Rule(Protocol[State]):
    """A grammar that reads a text character by character. States are never changed."""

    def begin(self) -> State:
        """Returns the state before the text."""

    def read(self, state: State, character: str) -> State | None:
        """Returns the state after a character; None if the text is wrong with it."""

    def unfinished(self, state: State) -> int:
        """Returns the number of characters at the end that are drawn again if the next is wrong."""

    def missing(self, state: State) -> int:
        """Returns the number of characters, at least, after which the text can end; 0 for now."""

    def is_finished(self, state: State) -> bool:
        """Returns whether nothing can follow."""

    def place(self, state: State) -> str:
        """Returns the place in the text in words, for an error: "line 3"."""


class RuleError(InputError):
    """No text that follows the rule was found in `MOST` attempts.

    Args:
        failures: number of attempts.
        place: the place where most of them failed.
        characters_read: see `RuledText`.
    """

    def __init__(self, failures: int, place: str, characters_read: int):
        super().__init__(
            f"no text that follows the rule in {failures:,} attempts; most of them failed at "
            f"{place}"
        )
        self.failures, self.place, self.characters_read = failures, place, characters_read


@dataclass(frozen=True)
class RuledText:
    """A text that follows a rule."""

    text: str
    """The text, without its prompt."""
    characters_read: int
    """Number of characters that the network computed, with those that were undone."""
    failures: int
    """Number of times that the sampler went back."""


@dataclass
class _Place(Generic[State]):
    """The sampler before a character."""

    state: State
    """The rule's state."""
    logits: np.ndarray
    states: Any
    """The network's states."""
    excluded: set[int] = field(default_factory=set)


def check_rules(rules: SamplingConstraints) -> None:
    """Raises InputError if constraints cannot be combined with a rule."""
    ok = rules.repetition_penalty == 1
    require(ok, "repetition_penalty", "left out with a rule", rules.repetition_penalty)


def state_after(rule: Rule[State], text: str) -> State:
    """Returns the rule's state after a text.

    Raises:
        ValueError: the text is wrong; the argument is the place of the first wrong character.
    """
    state = rule.begin()
    for k, character in enumerate(text):
        following = rule.read(state, character)
        if following is None:
            raise ValueError(k)
        state = following
    return state


def draw_text(
    rule: Rule,
    network: Network,
    vocab: Vocab,
    prompt: str,
    length: int,
    temperature: float,
    seed: int,
    n: int = 0,
    rules: SamplingConstraints = SamplingConstraints(),  # noqa: B008 - never changed
    stops: Sequence[str] = (),
    separator: str | None = None,
    machine: Machine | None = None,
    tell: Callable[[], object] = lambda: None,
) -> RuledText:
    """Draws a text that continues `prompt` and follows a rule together with it.

    It ends where the rule says that it is finished, after a stop sequence or after `length`
    characters, always at a place where the rule misses nothing.

    Args:
        rule: the rule.
        network: the model, of characters.
        vocab: its vocabulary.
        prompt: text to continue.
        length: maximum number of characters.
        temperature: sampling temperature.
        seed: random seed.
        n: index of the text among those of the seed.
        rules: constraints on the characters; no repetition penalty.
        stops: stop sequences.
        separator: of a model of records: the text begins after it.
        machine: the result of `stepper`, if it was called before.
        tell: called after each character that the network has read.

    Raises:
        RuleError: `MOST` attempts have failed, or no character is right at the beginning.
        ValueError: the prompt breaks the rule; see `state_after`.
    """
    step, _ = machine or stepper(network)
    states, logits = network.initial_states(1), np.empty(0)
    for k in begin(vocab, prompt, separator).ids[:, None]:
        logits, states = step(k, states)
    drawing = _Drawing(rule, step, vocab, length, tuple(stops), tell)
    drawing.places.append(_Place(state_after(rule, prompt), logits, states))
    random = random_numbers(seed, n)

    def choose(place):
        logits = place.logits.astype(np.float64)
        logits[:, [*place.excluded]] = -np.inf
        p = probabilities(logits, temperature)
        p = filter_top_k_top_p(p, rules.top_k, rules.top_p)
        return int(draw(p, random.random(1))[0])

    return drawing.run(choose)


@dataclass
class _Drawing:
    """A text that is being drawn."""

    rule: Any
    step: Callable
    vocab: Vocab
    length: int
    stops: tuple[str, ...]
    tell: Callable[[], object]
    places: list[_Place] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    read: int = 0
    failures: int = 0
    farthest: int = 0  # the last place that was gone back to
    stuck: int = 0  # failures since the text was longer than ever before
    failed: Counter[str] = field(default_factory=Counter)  # by place in words

    def run(self, choose):
        while not self.ended():
            place = self.places[-1]
            if len(place.excluded) == len(self.vocab):
                self.go_back(len(self.text) - 1)
                continue
            k = choose(place)
            character = self.vocab.characters[k]
            state = self.rule.read(place.state, character)
            if state is None or not self.fits(state, character):
                is_too_long = state is not None and not self.stopped(character)
                self.undo(place, k, is_too_long)
                continue
            logits, states = self.step(np.array([k]), place.states)
            self.read += 1
            self.tell()
            self.text.append(character)
            self.places.append(_Place(state, logits, states))
        return RuledText("".join(self.text), self.read, self.failures)

    def ended(self):
        state = self.places[-1].state
        if self.rule.is_finished(state) or len(self.text) == self.length:
            return True
        return self.stopped("")

    def stopped(self, character):
        """Returns whether the text ends with a stop sequence."""
        if not self.stops:
            return False
        longest = max(map(len, self.stops))
        return ("".join(self.text[-longest:]) + character).endswith(self.stops)

    def fits(self, state, character):
        """Returns whether a right text can still end in time."""
        missing = self.rule.missing(state)
        left = self.length - len(self.text) - 1
        return missing <= (0 if self.stopped(character) else left)

    def undo(self, place, k, is_too_long):
        """Goes back to the beginning of what is open before a wrong character k."""
        opened = self.rule.unfinished(place.state)
        target = max(0, len(self.text) - opened)  # of a prompt nothing is drawn again
        if opened == 0:
            place.excluded.add(k)
            return
        is_whole = target > 0 and self.rule.missing(self.places[target].state) == 0
        if is_too_long and is_whole and self.stuck + 1 >= TRIES:
            self.length = target  # a shorter text, which is complete
            self.failures += 1
            self.cut(target)
            return
        self.go_back(target)

    def go_back(self, target):
        """Goes back to a place; after many failures without progress, to places before it."""
        self.failures += 1
        if target > self.farthest:
            self.farthest, self.stuck = target, 0
        self.stuck += 1
        self.failed[self.rule.place(self.places[max(0, target)].state)] += 1
        if target < 0 or self.failures >= MOST:
            ((place, _),) = self.failed.most_common(1)
            raise RuleError(self.failures, place, self.read)
        for _ in range(self.stuck // TRIES):
            target = max(0, target - 1)
            target -= min(target, self.rule.unfinished(self.places[target].state))
        self.cut(target)

    def cut(self, target):
        del self.places[target + 1 :], self.text[target:]
