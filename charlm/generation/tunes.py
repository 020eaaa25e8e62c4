"""Draws tunes in ABC notation with a trained model."""

from collections.abc import Callable, Iterator, Mapping

from charlm.errors import InputError
from charlm.generation import generate
from charlm.generation import rules as ruled
from charlm.generation.rules import RuledText
from charlm.music.fields import KNOWN
from charlm.music.rule import END, HEADER, TuneRule
from charlm.runs.checkpoint import Checkpoint

LONGEST = 2000  # characters of a tune
NEEDED = "K:|\n"  # characters without which there is no tune
FIELDS = "XTK"  # of a tune, unless a run was trained on chosen ones
TOGETHER = 100  # texts


class Writer:
    """Draws tunes with a run's model.

    Args:
        saved: the run.

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
        self.saved, self.vocab, self.network = saved, saved.vocab, saved.to_network()
        self.machine = generate.stepper(self.network)

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
        try:
            return ruled.draw_text(
                rule, self.network, self.vocab, "", LONGEST, temperature, seed, n,
                separator=END, machine=self.machine, tell=tell,
            )  # fmt: skip
        except ruled.RuleError as error:
            if error.place == HEADER:
                hint = "try a lower temperature, or a run that was trained on tunes for longer"
                error.args = (f"{error}; {hint}",)
            raise

    def free(self, temperature: float, seed: int, count: int) -> Iterator[str]:
        """Yields tunes without any rules."""
        for first in range(0, count, TOGETHER):
            n = min(TOGETHER, count - first)
            yield from generate.whole_texts(
                self.network, self.vocab, LONGEST, [temperature] * n, seed + first, END
            )
