"""`charlm sample --between LEFT RIGHT`: fills the gap between two texts."""

from collections.abc import Callable
from typing import Any

from charlm import cli
from charlm.cli import prompts
from charlm.errors import InputError, flag, require
from charlm.generation import infill
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint

LENGTH, MAX_LENGTH = 100, 1000  # characters of a middle
MAX_RIGHT = 1000  # characters of the text after it, which is read after many middles
MAX_DRAWS = 10_000
FEW = 3.0  # effective middles
OTHERS = "prompt", "prompt_file", "stop", "beam"  # options that say nothing about a gap


def check(args: Any) -> None:
    """Raises InputError for options of a `charlm.sample.Sample` that do not fit together."""
    if args.between is None:
        if args.draws != type(args).draws:
            raise InputError("--draws has no effect without --between; leave it out")
        return
    require(1 <= args.draws <= MAX_DRAWS, "draws", f"from 1 to {MAX_DRAWS}", args.draws)
    require(all(args.between), "between", "two texts of one character or more", "an empty one")
    for name in OTHERS:
        if getattr(args, name) != getattr(type(args), name):
            raise InputError(f"{flag(name)} has no effect with --between; leave it out")
    if args.temperature == (0,) and args.draws != type(args).draws:
        raise InputError("--draws has no effect at temperature 0; leave it out")
    if len(args.temperature) > 1:
        raise InputError("expected one --temperature with --between, found several")


def run(
    args: Any,
    network: Network,
    saved: Checkpoint,
    seed: Callable[[], int],
    temperature: float,
    own_length: bool,
) -> None:
    """Prints the two texts with the middles that were chosen.

    Args:
        args: a `charlm.sample.Sample`.
        network: the model.
        saved: the run.
        seed: returns the random seed, and may print it.
        temperature: if none was given.
        own_length: whether the length was given.
    """
    assert args.between is not None
    saved.vocab.require_characters("fill a gap (--between)")
    left, right = (
        prompts.read(x, None, args.unknown, saved, f"the {name} text of --between")
        for name, x in zip(("first", "second"), args.between, strict=True)
    )
    if not 1 <= len(right) <= MAX_RIGHT:
        raise InputError(
            f"expected the second text of --between to have from 1 to {MAX_RIGHT} characters that "
            f"the model knows, found {len(right)}"
        )
    length = args.length if own_length else LENGTH
    require(length <= MAX_LENGTH, "length", f"at most {MAX_LENGTH} with --between", length)
    draws = 1 if args.temperature == (0,) else args.draws  # or all would be the same
    found = infill.fill(
        network, saved.vocab, left, right, length, args.n,
        args.temperature[0] if args.temperature else temperature,
        seed(), draws, args.rules, max(1, args.min_length), saved.config.data.separator,
    )  # fmt: skip
    for k, middle in enumerate(found.chosen, 1):
        if args.n > 1:
            print(f"--- {k}, {middle.bits:.3f} bits/char of what follows ---")
        print(cli.visible(f"{left}{middle.text}{right}"))
    if found.effective < FEW and args.temperature != (0,):
        cli.note(
            f"NOTE: few of the {args.draws} texts lead to what follows (as many as "
            f"{found.effective:.1f} equally good ones); --draws {4 * args.draws} finds better ones"
        )
