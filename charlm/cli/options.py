"""Options that several commands have, each with its help text."""

import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from charlm.errors import InputError
from charlm.runs.lookup import RUNS_DIR  # noqa: F401 - where runs are, if no flag says so

Run = Annotated[
    str,
    tyro.conf.arg(
        help='A run folder, a .weights.h5 file in one, or "latest"; without a run of your own, the '
        "one that comes with charlm."
    ),
]
RunsDir = Annotated[Path, tyro.conf.arg(help="Folder that holds the runs.")]
Quiet = Annotated[
    bool, tyro.conf.arg(help="Show no progress; results and warnings are still printed.")
]
Context = Annotated[
    str | None,
    tyro.conf.arg(
        help="For a run trained with --context: the value of its field, for example a president. "
        "Default: unknown, which is the mean of all."
    ),
]
Debug = Annotated[bool, tyro.conf.arg(help="Show the traceback of an error.")]
Text = tyro.conf.Positional[
    Annotated[str | None, tyro.conf.arg(help="Text to train on; the same as --corpus.")]
]


def seed_or_new(seed: int | None) -> int:
    """Returns the seed, or a new one, which is printed on standard error."""
    if seed is None:
        seed = secrets.randbits(32)
        print(f"(--seed {seed})", file=sys.stderr)
    return seed


def with_text(args: Any) -> Any:
    """Returns options in which the positional argument `text` has become `data.corpus`.

    Raises:
        InputError: both are given.
    """
    if args.text is None:
        return args
    if args.data.corpus is not None:
        raise InputError(
            f"expected one text, found {args.text} and --corpus {args.data.corpus}; leave one out "
            "(a glob or a folder names several files)"
        )
    return replace(args, text=None, data=replace(args.data, corpus=args.text))
