"""`charlm sample --beam N`: prints the most probable texts."""

from collections.abc import Sequence
from math import log
from typing import Any

from charlm import cli
from charlm.errors import InputError, require
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint

MAX_BEAMS, MAX_LENGTH = 1000, 1000  # all beams are kept in memory


def check(args: Any) -> None:
    """Raises InputError for options of a `charlm.sample.Sample` that do not fit together."""
    if not args.beam:
        return
    require(1 <= args.beam <= MAX_BEAMS, "beam", f"from 1 to {MAX_BEAMS}, or 0", args.beam)
    require(args.length <= MAX_LENGTH, "length", f"at most {MAX_LENGTH} with --beam", args.length)
    if args.n > args.beam:
        raise InputError(f"expected -n to be at most --beam {args.beam}, found {args.n}")
    for flags, given in (
        ("--temperature has", args.temperature),
        ("--seed has", args.seed is not None),
        ("--top-k, --top-p and --repetition-penalty have", args.rules != SamplingConstraints()),
    ):
        if given:
            raise InputError(f"{flags} no effect with --beam; leave it out")


def run(args: Any, network: Network, saved: Checkpoint, prompt: str, stops: Sequence[str]) -> None:
    """Prints the best texts; if several, with their bits per character."""
    options = args.length, args.beam, stops, args.min_length, saved.config.data.separator
    found = generate.beam_search_text(network, saved.vocab, prompt, *options)
    for k, (text, nats) in enumerate(found[: args.n], 1):
        if args.n > 1:
            print(f"--- {k}, {nats / log(2):.3f} bits/char ---")
        print(cli.visible(f"{prompt}{text}"))
