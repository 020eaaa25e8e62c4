"""`charlm sample --balanced`, `--json` and `--json-lines`: texts that follow a rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from charlm import cli
from charlm.errors import InputError, flag
from charlm.generation import generate, grammars
from charlm.generation import rules as ruled
from charlm.generation.rules import Rule
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint
from charlm.text.vocab import Vocab

OTHERS = "between", "beam", "min_length", "context"  # options that have no effect with a rule


@dataclass(frozen=True)
class RuleOptions:
    """Rules: a text that breaks one is drawn again from where it was right."""

    balanced: bool = False
    """Draw texts with balanced brackets: every ), ] and } closes the last bracket that is open, and
    all are closed at the end. Brackets of the prompt count."""
    json: bool = False
    """Draw one JSON value, which the prompt may begin. It ends with the value."""
    json_lines: bool = False
    """Draw JSON Lines: each line is a JSON value, or empty."""

    @property
    def name(self) -> str | None:
        """The name of the rule; None for none."""
        return next((f.name for f in fields(self) if getattr(self, f.name)), None)

    def rule(self) -> Rule:
        """Returns the rule."""
        if self.json_lines:
            return grammars.JsonLines()
        return grammars.Json() if self.json else grammars.Balanced()


def check(args: Any) -> None:
    """Raises InputError for options of a `charlm.sample.Sample` that do not fit together."""
    given = [f.name for f in fields(args.follow) if getattr(args.follow, f.name)]
    if not given:
        return
    if len(given) > 1:
        raise InputError(f"expected one rule, found {' and '.join(map(flag, given))}")
    for name in OTHERS:
        if getattr(args, name) != getattr(type(args), name):
            raise InputError(f"{flag(name)} has no effect with {flag(given[0])}; leave it out")
    ruled.check_rules(args.rules)


def run(
    args: Any,
    network: Network,
    saved: Checkpoint,
    prompt: str,
    stops: Sequence[str],
    temperatures: Sequence[float],
    seed: Callable[[], Any],
) -> None:
    """Prints the texts.

    Args:
        args: a `charlm.sample.Sample`.
        network: the model.
        saved: the run.
        prompt: text to continue.
        stops: stop sequences.
        temperatures: one for each text.
        seed: returns the random seed or a seed for each text, and may print it.

    Raises:
        InputError: the prompt breaks the rule, or the model lacks characters that it needs.
    """
    name, rule = flag(args.follow.name), args.follow.rule()
    saved.vocab.require_characters(f"follow a rule ({name})")
    if missing := [c for c in needed(rule, saved.vocab) if c not in saved.vocab]:
        raise InputError(
            f"cannot follow {name}: the run's text has no {' '.join(map(repr, missing))}; use a "
            "run that was trained on such texts"
        )
    try:
        state = ruled.state_after(rule, prompt)
    except ValueError as error:
        at = error.args[0]
        raise InputError(
            f"expected a prompt that {name} allows, found {prompt[at]!r} at character {at + 1}"
        ) from None
    if rule.missing(state) > args.length:
        raise InputError(
            f"expected --length to be {rule.missing(state)} or more to complete the prompt, found "
            f"{args.length}"
        )
    separator, first = saved.config.data.separator, seed()
    stops, machine = generate.record_stops(stops, separator), generate.stepper(network)
    for k, temperature in enumerate(temperatures):
        one = (first[k], 0) if isinstance(first, Sequence) else (first, k)
        with cli.progress(f"drawing a text that follows {name}") as tell:
            found = ruled.draw_text(
                rule, network, saved.vocab, prompt, args.length, temperature, *one, args.rules,
                stops, separator, machine, tell,
            )  # fmt: skip
        if len(temperatures) > 1:
            print(f"--- {k + 1}, temperature {temperature:g} ---")
        print(cli.visible(prompt + found.text))


def needed(rule: Rule, vocab: Vocab) -> str:
    """Returns characters that a model must have, or a text under the rule might never end."""
    if isinstance(rule, grammars.JsonLines):
        return '\n{}[]":,0'
    if isinstance(rule, grammars.Json):
        return '{}[]":,0'
    pairs = [pair for pair in grammars.CLOSING.items() if pair[0] in vocab]
    return "".join(closing for _, closing in pairs) or "([{"
