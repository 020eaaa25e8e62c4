"""`charlm sample --context`: texts in one context of a run, or in several side by side."""

from typing import Any

from charlm import cli
from charlm.cli import side_by_side
from charlm.errors import InputError, flag
from charlm.generation import generate
from charlm.runs import lookup
from charlm.runs.checkpoint import Checkpoint


def check(args: Any) -> None:
    """Raises InputError for options of a `charlm.sample.Sample` that do not fit together."""
    if len(args.context) < 2:
        return
    for name in ("between", "beam"):
        if getattr(args, name):
            raise InputError(
                f"expected one --context with {flag(name)}, found several; give one of them"
            )
    if args.n > 1 or len(args.temperature) > 1:
        raise InputError(
            "expected one text for each of several --context, found more; leave out -n, and give "
            "one --temperature"
        )


def read(args: Any) -> dict[str, Checkpoint]:
    """Returns the run in each context that is asked for, by its name; "" for the mean of all."""
    _, trained = lookup.read_with_contexts(args.runs_dir, args.run)
    if trained.contexts and not args.context:
        lookup.note_mean(trained)
    if not args.context or trained.contexts is None:
        return {"": trained.in_context(*args.context[:1])}
    names = [trained.contexts.named(x) for x in args.context]
    return {name: trained.in_context(name) for name in names}


def show(runs: dict[str, Checkpoint], prompt: str, *options: Any) -> None:
    """Prints a text in each context, side by side.

    Args:
        runs: from `read`.
        prompt: text that all continue.
        options: the arguments of `generate.texts` after the prompt.
    """
    texts = []
    with cli.progress("sampling", len(runs)) as tell:
        for run in runs.values():
            pieces = generate.texts(run.to_network(), run.vocab, prompt, *options)
            texts.append(prompt + "".join(piece for (piece,) in pieces))
            tell()
    print(cli.visible("\n".join(side_by_side.columns([*runs], texts))))
