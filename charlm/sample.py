"""`charlm sample RUN`: text from a trained model, streamed as it is drawn."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charlm import cli, compose, run_folder
from charlm.config import check_temperature
from charlm.errors import InputError
from charlm.reference.network import Network

MAX_TEXTS = 10_000  # side by side in memory


@dataclass(frozen=True)
class Sample:
    """Writes text with a trained model."""

    run: tyro.conf.Positional[str] = run_folder.LATEST
    """A run folder, a .weights.h5 file of one, or "latest"."""
    temperature: float = 0.8
    """0: always the likeliest character; 1: the model's own odds; more: more surprise."""
    length: int = 500
    """Characters to draw."""
    prompt: str | None = None
    """Text to continue."""
    prompt_file: Path | None = None
    """File with the text to continue (UTF-8)."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """What to do with prompt characters that the model does not know."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """How many texts. The first is shown as it is drawn, the others after it."""
    seed: int | None = None
    """Makes the same text again; without it each call draws another."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        check_temperature(self.temperature)
        if self.length < 1:
            raise InputError(f"expected --length to be 1 or more, found {self.length}")
        if not 1 <= self.n <= MAX_TEXTS:
            raise InputError(f"expected -n to be from 1 to {MAX_TEXTS}, found {self.n}")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"expected --seed to be 0 or more, found {self.seed}")
        if self.prompt is not None and self.prompt_file is not None:
            raise InputError("expected --prompt or --prompt-file, found both; give one of them")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Sample, "charlm sample", argv)
    _, saved = run_folder.read_best(args.runs_dir, args.run)
    network = Network(saved.weights, len(saved.vocab), saved.config.model)
    prompt = _prompt(args, saved.vocab)
    seed = args.seed
    if seed is None:
        import secrets

        seed = secrets.randbits(32)
        print(f"(--seed {seed})", file=sys.stderr)
    pieces = compose.texts(
        network, saved.vocab, prompt, args.length, [args.temperature] * args.n, seed
    )
    _show(prompt, pieces, args.n)


def _prompt(args, vocab):
    prompt = args.prompt or ""
    if args.prompt_file is not None:
        try:
            prompt = args.prompt_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"expected UTF-8 text in {args.prompt_file}, found: {error}"
            ) from error
    if args.unknown == "skip":
        return vocab.known(prompt)
    try:
        vocab.encode(prompt)
    except InputError as error:
        raise InputError(f"prompt: {error}; give --unknown skip to leave such out") from None
    return prompt


def _show(prompt, pieces, n):
    """The first text as it is drawn, then the others, which were drawn beside it."""
    others = [[] for _ in range(n - 1)]
    if n > 1:
        print("--- 1 ---")
    sys.stdout.write(cli.visible(prompt))
    for first, *rest in pieces:
        print(cli.visible(first), end="", flush=True)
        for text, piece in zip(others, rest, strict=True):
            text.append(piece)
    print()
    for k, text in enumerate(others, 2):
        print(cli.visible(f"--- {k} ---\n{prompt}{''.join(text)}"))


if __name__ == "__main__":
    sys.exit(main())
