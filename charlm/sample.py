"""`charlm sample RUN`: text from a trained model, streamed as it is drawn."""

import sys
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Annotated, Literal

import tyro

from charlm import cli
from charlm.config import check_temperature, require
from charlm.errors import InputError
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.runs import run_folder
from charlm.runs.untrusted import check_size, file_bytes
from corpora.files import read_piped

MAX_TEXTS = 10_000  # side by side in memory
MAX_BEAMS, MAX_BEAM_LENGTH = 1000, 1000  # a search keeps every beginning whole
TEMPERATURE = 0.8
MAX_PROMPT = 2**24  # bytes of a file: minutes of reading
Repeated = tyro.conf.UseAppendAction


@dataclass(frozen=True)
class Sample:
    """Writes text with a trained model."""

    run: tyro.conf.Positional[str] = run_folder.LATEST
    """A run folder, a .weights.h5 file of one, or "latest"."""
    temperature: Repeated[tuple[float, ...]] = ()
    """0: always the likeliest character; 1: the model's own odds; more: more surprise. Default 0.8;
    given several times, texts at each."""
    length: int = 500
    """Characters to draw, at most."""
    min_length: int = 0
    """Characters that are drawn before --stop counts."""
    stop: Repeated[tuple[str, ...]] = ()
    """A text ends with this, which is shown; given several times, with whichever comes first."""
    prompt: str | None = None
    """Text to continue."""
    prompt_file: Path | None = None
    """File with the text to continue (UTF-8); - for standard input."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """What to do with prompt characters that the model does not know."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """How many texts, at each temperature. The first is shown as it is drawn, the others after
    it."""
    rules: SamplingConstraints = field(default_factory=SamplingConstraints)
    beam: int = 0
    """Instead of drawing, search for the likeliest texts, keeping so many beginnings; shows the -n
    best (with their bits per character, if several). For short texts: long ones repeat
    themselves."""
    seed: int | None = None
    """Makes the same text again; without it each call draws another."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        for t in self.temperature:
            check_temperature(t)
        require(self.length >= 1, "length", "1 or more", self.length)
        ok = 0 <= self.min_length <= self.length
        require(ok, "min_length", f"from 0 to --length {self.length}", self.min_length)
        require(all(self.stop), "stop", "one character or more", "none")
        ok = self.stop or not self.min_length
        require(ok, "min_length", "left out without --stop, which it delays", self.min_length)
        if self.temperature and not any(self.temperature):  # one choice, whatever the odds
            for name in ("top_k", "top_p"):
                value = getattr(self.rules, name)
                ok = value == getattr(SamplingConstraints, name)
                require(ok, name, "left out at temperature 0, the likeliest only", value)
        if self.beam:
            self._check_beam()
        most = MAX_TEXTS // max(1, len(self.temperature))
        if not 1 <= self.n <= most:
            raise InputError(f"expected -n to be from 1 to {most}, found {self.n}")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"expected --seed to be 0 or more, found {self.seed}")
        if self.prompt is not None and self.prompt_file is not None:
            raise InputError("expected --prompt or --prompt-file, found both; give one of them")

    def _check_beam(self):
        require(1 <= self.beam <= MAX_BEAMS, "beam", f"from 1 to {MAX_BEAMS}, or 0", self.beam)
        ok = self.length <= MAX_BEAM_LENGTH
        require(ok, "length", f"at most {MAX_BEAM_LENGTH} with --beam", self.length)
        if self.n > self.beam:
            raise InputError(f"expected -n to be at most --beam {self.beam}, found {self.n}")
        for name, given in (
            ("temperature", self.temperature),
            ("seed", self.seed is not None),
            ("top_k, --top-p, --repetition-penalty", self.rules != SamplingConstraints()),
        ):
            require(not given, name, "left out with --beam, which draws nothing", "it given")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Sample, "charlm sample", argv)
    _, saved = run_folder.read_best(args.runs_dir, args.run)
    network = saved.to_network()
    prompt = _prompt(args, saved.vocab)
    for stop in args.stop:
        if saved.vocab.known(stop) != stop:
            raise InputError(
                f"expected --stop of characters that the model knows, found {stop!r}, which it "
                "cannot write"
            )
    if args.beam:
        return _search(args, network, saved.vocab, prompt)
    seed = args.seed
    if seed is None:
        import secrets

        seed = secrets.randbits(32)
        print(f"(--seed {seed})", file=sys.stderr)
    temperatures = [t for t in args.temperature or (TEMPERATURE,) for _ in range(args.n)]
    pieces = generate.texts(
        network,
        saved.vocab,
        prompt,
        args.length,
        temperatures,
        seed,
        args.rules,
        args.stop,
        args.min_length,
    )
    titles = [str(k) for k in range(1, len(temperatures) + 1)]
    if len(args.temperature) > 1:
        titles = [f"{k}, temperature {t:g}" for k, t in zip(titles, temperatures, strict=True)]
    _show(prompt, pieces, titles)


def _prompt(args, vocab):
    prompt = args.prompt or ""
    if args.prompt_file is not None:
        prompt = _file_text(args.prompt_file)
    if args.unknown == "skip":
        return vocab.known(prompt)
    try:
        vocab.encode(prompt)
    except InputError as error:
        raise InputError(f"prompt: {error}; give --unknown skip to leave such out") from None
    return prompt


def _file_text(path):
    piped = path == Path("-")
    what = f"UTF-8 text in {'standard input' if piped else path}"
    try:
        text = (_piped(what) if piped else file_bytes(path, what, MAX_PROMPT)).decode()
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"expected {what}, found: {error}; --prompt takes text as it is"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as a corpus is read


def _piped(what):
    cli.note_terminal()
    data = read_piped(MAX_PROMPT + 1)
    check_size(what, len(data), MAX_PROMPT)
    return data


def _search(args, network, vocab, prompt):
    found = generate.beam_search_text(
        network, vocab, prompt, args.length, args.beam, args.stop, args.min_length
    )
    for k, (text, nats) in enumerate(found[: args.n], 1):
        if args.n > 1:
            print(f"--- {k}, {nats / log(2):.3f} bits/char ---")
        print(cli.visible(f"{prompt}{text}"))


def _show(prompt, pieces, titles):
    """The first text as it is drawn, then the others, which were drawn beside it."""
    others = [[] for _ in titles[1:]]
    if others:
        print(f"--- {titles[0]} ---")
    sys.stdout.write(cli.visible(prompt))
    for first, *rest in pieces:
        print(cli.visible(first), end="", flush=True)
        for text, piece in zip(others, rest, strict=True):
            text.append(piece)
    print()
    for title, text in zip(titles[1:], others, strict=True):
        print(cli.visible(f"--- {title} ---\n{prompt}{''.join(text)}"))


if __name__ == "__main__":
    sys.exit(main())
