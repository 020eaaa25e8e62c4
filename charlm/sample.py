"""`charlm sample RUN`: generates text with a trained model, printing it as it is drawn."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import UseAppendAction as Repeated

from charlm import cli
from charlm.cli import beams, contexts, infilling, prompts, ruled, texts
from charlm.cli.options import RUNS_DIR, Debug, Quiet, Run, RunsDir, seed_or_new
from charlm.errors import InputError, check_temperature, flag, require
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.generation.generate import MAX_TEXTS
from charlm.inside.weights import Kind, rounded
from charlm.runs import lookup

TEMPERATURE = 0.8


@dataclass(frozen=True)
class Sample:
    """Generates text with a trained model."""

    run: tyro.conf.Positional[Run] = lookup.LATEST
    temperature: Repeated[tuple[float, ...]] = ()
    """Sampling temperature: logits are divided by it. 0 always takes the most probable character
    (greedy), 1 keeps the model's probabilities, more makes them flatter. Default: 0.8. Repeat the
    option for texts at several temperatures."""
    length: int = 500
    """Maximum number of characters to generate, without the prompt."""
    min_length: int = 0
    """Minimum length: --stop has no effect before this number of characters."""
    stop: Repeated[tuple[str, ...]] = ()
    """Stop sequence: a text ends after it. Repeat the option for several; the first that occurs
    ends the text. In a run of records, the default is the text that ends a record."""
    prompt: str | None = None
    """Prompt: a text to continue."""
    prompt_file: Path | None = None
    """UTF-8 file with the prompt; - for standard input."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """Refuse or skip characters of the prompt that are not in the vocabulary."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """Number of texts at each temperature. The first is printed while it is generated, the others
    after it."""
    rules: SamplingConstraints = field(default_factory=SamplingConstraints)
    follow: ruled.RuleOptions = field(default_factory=ruled.RuleOptions)
    between: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="LEFT RIGHT")] = None
    """Infilling: fill the gap between two texts with --length characters at most (by default 100).
    Many texts are drawn after the first, and one is chosen by how probable it makes the second."""
    draws: int = 256
    """Number of texts to draw for --between."""
    beam: int = 0
    """Beam search with this number of beams instead of sampling: finds the most probable texts and
    prints the -n best; if several, with their bits per character. Use it for short texts; long ones
    repeat themselves. 0: no beam search."""
    context: Repeated[tuple[str, ...]] = ()
    """For a run trained with --context: write as in this value of its field, for example a
    president. Repeat the option for several, side by side, with the same random numbers. Default:
    unknown, which is the mean of all."""
    seed: int | None = None
    """Random seed; the same seed gives the same text. Default: a new one in each call."""
    first_seed: int | None = None
    """Random seed of the first text; the next has the next seed, and so on. Each text is the same
    as with its --seed alone, so several processes can draw parts of many texts."""
    weights: Kind = "fp32"
    """Round the weights before sampling: to 16-bit floats (fp16) or to bytes with a scale for each
    column (int8)."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        for t in self.temperature:
            check_temperature(t)
        require(self.length >= 1, "length", "1 or more", self.length)
        ok = 0 <= self.min_length <= self.length
        require(ok, "min_length", f"from 0 to --length {self.length}", self.min_length)
        require(all(self.stop), "stop", "one character or more", "none")
        if self.temperature and not any(self.temperature):  # greedy
            for name in ("top_k", "top_p"):
                if getattr(self.rules, name) != getattr(SamplingConstraints, name):
                    raise InputError(f"{flag(name)} has no effect at temperature 0; leave it out")
        contexts.check(self)
        beams.check(self)
        infilling.check(self)
        ruled.check(self)
        most = MAX_TEXTS // max(1, len(self.temperature))
        if not 1 <= self.n <= most:
            raise InputError(f"expected -n to be from 1 to {most}, found {self.n}")
        for name in ("seed", "first_seed"):
            value = getattr(self, name)
            require(value is None or value >= 0, name, "0 or more", value)
        if self.first_seed is not None and (self.between or self.beam or self.seed is not None):
            raise InputError("expected --first-seed without --seed, --between and --beam")
        if self.prompt is not None and self.prompt_file is not None:
            raise InputError("expected --prompt or --prompt-file, found both; give one of them")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Sample, "charlm sample", argv)
    runs = contexts.read(args)
    for run in runs.values():
        run.weights = rounded(run.weights, run.config.model, args.weights)
    saved = next(iter(runs.values()))
    network = saved.to_network()
    if args.between:
        given = "length" in cli.given(argv)
        return infilling.run(args, network, saved, lambda: _seed(args), TEMPERATURE, given)
    prompt = prompts.read(args.prompt, args.prompt_file, args.unknown, saved)
    stops = prompts.stops(args.stop, saved)
    if args.min_length and not generate.record_stops(stops, saved.config.data.separator):
        raise InputError("--min-length has no effect without --stop; leave it out")
    if args.beam:
        return beams.run(args, network, saved, prompt, stops)
    temperatures = [t for t in args.temperature or (TEMPERATURE,) for _ in range(args.n)]
    if args.follow.name:
        ruled.run(args, network, saved, prompt, stops, temperatures, lambda: _seed(args))
        return
    seed = _seed(args)
    options = seed, args.rules, stops, args.min_length, saved.config.data.separator
    if len(runs) > 1:
        contexts.show(runs, prompt, args.length, temperatures, *options)
        return
    pieces = generate.texts(network, saved.vocab, prompt, args.length, temperatures, *options)
    titles = [str(k) for k in range(1, len(temperatures) + 1)]
    if args.first_seed is not None:
        titles = [f"seed {k}" for k in seed]
    if len(args.temperature) > 1:
        titles = [f"{k}, temperature {t:g}" for k, t in zip(titles, temperatures, strict=True)]
    texts.show(prompt, pieces, titles)


def _seed(args):
    if args.first_seed is not None:
        each = range(args.first_seed, args.first_seed + args.n)
        return [*each] * max(1, len(args.temperature))
    return seed_or_new(args.seed)


if __name__ == "__main__":
    sys.exit(main())
