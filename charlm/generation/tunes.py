"""Draws tunes in ABC notation with a trained model."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from charlm.errors import InputError
from charlm.generation import generate
from charlm.generation import rules as ruled
from charlm.generation.rules import RuledText
from charlm.generation.sampler import random_numbers
from charlm.music.fields import KNOWN, MUSICAL
from charlm.music.rule import END, HEADER, TuneRule
from charlm.runs.checkpoint import Checkpoint
from corpora.contexts import UPBEAT

LONGEST = 2000  # characters of a tune
NEEDED = "K:|\n"  # characters without which there is no tune
FIELDS = "XTK"  # of a tune, unless a run was trained on chosen ones
TOGETHER = 100  # texts
CONTEXT = 1  # purpose of random numbers that choose one
KEPT = 8  # networks in different contexts


class Writer:
    """Draws tunes with a run's model.

    Args:
        saved: the run. If it has contexts, one is drawn for each tune, as often as among the
            training tunes.

    Raises:
        InputError: it was not trained on tunes.
    """

    def __init__(self, saved: Checkpoint):
        saved.vocab.require_characters("write tunes")
        if any(c not in saved.vocab for c in NEEDED):
            raise InputError(
                "expected a run that was trained on tunes in ABC notation, found one whose text "
                "lacks | or K:; train one with charlm train FILE --preset tunes"
            )
        self.saved, self.vocab = saved, saved.vocab
        self._machine = functools.lru_cache(KEPT)(self._new_machine)

    @property
    def required(self) -> str:
        """The fields that a tune must have."""
        own = self.saved.config.data.abc_fields
        return FIELDS if own is None else "MK" if "M" in own else "K"

    @property
    def allowed(self) -> str:
        """The fields that a tune may have."""
        own = self.saved.config.data.abc_fields
        return KNOWN if own is None else own + "KL"

    def draw(
        self,
        given: Mapping[str, str],
        temperature: float,
        seed: int,
        n: int,
        bars: bool = True,
        tell: Callable[[], object] = lambda: None,
    ) -> RuledText:
        """Draws a tune that follows the rules of `charlm.music.rule`.

        Args:
            given: values of fields of its header.
            temperature: sampling temperature.
            seed: random seed.
            n: index of the tune among those of the seed.
            bars: whether the rules hold for the music, too, or for the header only.
            tell: called after each character that the network has read.

        Raises:
            RuleError: there is none in `rules.MOST` attempts; the message says at which bar.
        """
        context = self._context(random_numbers(seed, n, CONTEXT), given)
        if context is not None:
            given = header_of(self.saved.config.data.context, context, self.allowed) | {**given}
        rule = TuneRule(given, self.required, self.allowed, bars)
        network, machine = self._machine(context)
        try:
            return ruled.draw_text(
                rule, network, self.vocab, "", LONGEST, temperature, seed, n,
                separator=END, machine=machine, tell=tell,
            )  # fmt: skip
        except ruled.RuleError as error:
            if error.place == HEADER:
                hint = "try a lower temperature, or a run that was trained on tunes for longer"
                error.args = (f"{error}; {hint}",)
            raise

    def free(self, temperature: float, seed: int, count: int) -> Iterator[str]:
        """Yields tunes without any rules."""
        for first in range(0, count, TOGETHER):
            chosen = defaultdict[str | None, list[tuple[int, int]]](list)
            for k in range(first, min(first + TOGETHER, count)):
                random = random_numbers(seed, k, CONTEXT)
                context = self._context(random, {})
                chosen[context].append((k, int(random.integers(2**62))))
            texts = dict[int, str]()
            for context, found in chosen.items():
                places, seeds = zip(*found, strict=True)
                network, machine = self._machine(context)
                drawn = generate.whole_texts(
                    network, self.vocab, LONGEST, [temperature] * len(places), seeds, END,
                    machine=machine,
                )  # fmt: skip
                texts |= zip(places, drawn, strict=True)
            yield from (texts[k] for k in sorted(texts))

    def _context(self, random, given):
        """Returns a context for a tune with these fields; None for the mean of all, or for none."""
        known, field = self.saved.contexts, self.saved.config.data.context
        if known is None:
            return None
        weights = known.weights * [fits(field, name, given) for name in known.names]
        if not weights.any():
            return None
        return known.names[random.choice(len(weights), p=weights / weights.sum())]

    def _new_machine(self, context):
        """Returns the network in a context, and its functions for sampling."""
        network = self.saved.in_context(context).to_network()
        return network, generate.stepper(network)


def header_of(field: str | None, value: str, allowed: str = MUSICAL) -> dict[str, str]:
    """Returns the fields of a tune's header that its context implies, with their values.

    Args:
        field: the field of the contexts.
        value: the context.
        allowed: the fields that tunes may have.
    """
    if field == UPBEAT:
        field, value = "M", value.split(" ")[0]
    is_implied = field in ("M", "K") and field in allowed and value != "none"
    return {field: value} if field and is_implied else {}


def fits(field: str | None, value: str, given: Mapping[str, str]) -> bool:
    """Returns whether a tune with these fields can be in a context.

    Args:
        field, value: see `header_of`.
        given: values of fields of its header.
    """
    return all(given.get(name, x) == x for name, x in header_of(field, value).items())
