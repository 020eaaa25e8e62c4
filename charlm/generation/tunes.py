"""Draws tunes in ABC notation with a trained model."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from charlm.errors import InputError
from charlm.generation import generate
from charlm.generation import rules as ruled
from charlm.generation.rules import RuledText
from charlm.generation.sampler import random_numbers
from charlm.music.fields import KNOWN
from charlm.music.rule import END, HEADER, TuneRule
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint
from corpora.contexts import UPBEAT

LONGEST = 2000  # characters of a tune
NEEDED = "K:|\n"  # characters without which there is no tune
FIELDS = "XTK"  # of a tune, unless a run was trained on chosen ones
TOGETHER = 100  # texts
CONTEXT = 1  # purpose of random numbers that choose one
NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Writer:
    """Draws tunes with a run's model.

    Args:
        saved: the run. If it has contexts, each tune is in one of them, which is as frequent as
            among the training tunes.

    Raises:
        InputError: it was not trained on tunes.
    """

    def __init__(self, saved: Checkpoint):
        saved.vocab.require_characters("write tunes")
        if any(c not in saved.vocab for c in NEEDED):
            raise InputError(
                "expected a run that was trained on tunes in ABC notation, found one whose text "
                "lacks | or K:; train one with charlm train FILE --abc-fields MK"
            )
        self.saved, self.vocab = saved, saved.vocab
        self._machines = dict[str | None, tuple[Network, generate.Machine]]()

    @property
    def required(self) -> str:
        """The fields that a tune must have."""
        own = self.saved.config.data.abc_fields
        return FIELDS if own is None else "MK" if "M" in own else "K"

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
        own = self.saved.config.data.abc_fields
        rule = TuneRule(given, self.required, KNOWN if own is None else own + "KL", bars)
        network, machine = self._machine(self._context(random_numbers(seed, n, CONTEXT), given))
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
            chosen = defaultdict(list)  # tunes of each context
            for k in range(min(TOGETHER, count - first)):
                chosen[self._context(random_numbers(seed, first + k, CONTEXT))].append(k)
            texts = dict[int, str]()
            for context, places in chosen.items():
                network, machine = self._machine(context)
                seeds = seed + first if context is None else [seed + first + k for k in places]
                drawn = generate.whole_texts(
                    network, self.vocab, LONGEST, [temperature] * len(places), seeds, END,
                    machine=machine,
                )  # fmt: skip
                texts |= zip(places, drawn, strict=True)
            yield from (texts[k] for k in sorted(texts))

    def _context(self, random, given=NO_FIELDS):
        """Returns a context for a tune with these fields; None without contexts to choose from."""
        known, field = self.saved.contexts, self.saved.config.data.context
        if known is None:
            return None
        weights = np.array(known.counts or [1] * len(known.names), float)
        fitting = [fits(field, name, given) for name in known.names]
        weights *= fitting if any(fitting) else 1
        return known.names[random.choice(len(weights), p=weights / weights.sum())]

    def _machine(self, context):
        """Returns the network in a context, and its functions for sampling."""
        if context not in self._machines:
            network = self.saved.in_context(context).to_network()
            self._machines[context] = network, generate.stepper(network)
        return self._machines[context]


def fits(field: str | None, value: str, given: Mapping[str, str]) -> bool:
    """Returns whether tunes with these fields can be in a context.

    Args:
        field: the field of the contexts.
        value: the context.
        given: values of fields of the header.
    """
    if field == UPBEAT:
        field, value = "M", value.split(" ")[0]
    return value == given.get(field or "", value)
