"""`charlm tunes RUN`: writes tunes in ABC notation with a trained model, and checks tunes."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import UseAppendAction as Repeated

from charlm import cli
from charlm.cli import outputs, tune_checks, tune_files, tune_prompts
from charlm.cli.options import RUNS_DIR, Debug, Quiet, RunsDir, seed_or_new
from charlm.errors import InputError, check_temperature, command_line, flag, require
from charlm.generation import tunes as drawing
from charlm.generation.rules import RuleError
from charlm.music.fields import numbered
from charlm.runs import lookup

TEMPERATURE = 0.8
MAX_TUNES = 10_000
ABC = ".abc"
OF_RUNS = "n", "metre", "key", "context", "title", "temperature", "no_rules", "seed"
DRAW_ONLY = "metre", "key", "title", "no_rules", "midi", "wav"


@dataclass(frozen=True)
class Tunes:
    """Writes tunes in ABC notation with a trained model, or checks tunes.

    A bar that does not have the length of the metre is drawn again, so nearly all tunes are valid.
    With --output, also makes a web page with the scores, which plays them. Train a run on a file of
    tunes with charlm train FILE --preset tunes.
    """

    run: tyro.conf.Positional[
        Annotated[
            str,
            tyro.conf.arg(
                help="A run, as of charlm sample; or a file of tunes.", metavar="RUN|FILE"
            ),
        ]
    ] = lookup.LATEST
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """Number of tunes. Default: 1; with --check, 100 at each temperature."""
    encoding: str = "utf-8"
    """Encoding of FILE."""
    metre: str | None = None
    """Metre, such as 6/8. It must be the metre of a training tune."""
    key: str | None = None
    """Key, such as "D Dorian". It must be the key of a training tune."""
    context: Repeated[tuple[str, ...]] = ()
    """Context of all tunes, for a run trained with --context: metre and upbeat, such as "6/8 1/8".
    Default: drawn for each tune, as often as among the training tunes."""
    title: str | None = None
    """Title. A run that was trained without titles (--abc-fields) does not read it."""
    temperature: Repeated[tuple[float, ...]] = ()
    """Sampling temperature. Default: 0.8; with --check, 0.5, 0.8 and 1. Repeat it with --check."""
    no_rules: bool = False
    """Do not check the music: many tunes will have wrong bars."""
    check: bool = False
    """Instead of printing tunes, count how many are valid: of a FILE, or of a RUN by temperature,
    with and without rules, next to its training and held-out tunes. Writes a picture and JSON."""
    seed: int | None = None
    """Random seed; the same seed gives the same tunes. Default: a new one in each call; with
    --check, 1."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """Write PATH.abc, the tunes, and PATH.html, a page that shows and plays them. With --check:
    write PATH.json and PATH.png; default: tunes in the run's folder."""
    midi: bool = False
    """With --output: write each tune as a MIDI file, too, PATH-1.mid and so on."""
    wav: bool = False
    """With --output: write each tune as sound, too, PATH-1.wav and so on."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        if self.n is not None and not 1 <= self.n <= MAX_TUNES:
            raise InputError(f"expected -n to be from 1 to {MAX_TUNES}, found {self.n}")
        for t in self.temperature:
            check_temperature(t)
            require(t > 0, "temperature", "above 0", t)  # or a wrong bar would be drawn again
        require(self.seed is None or self.seed >= 0, "seed", "0 or more", self.seed)
        tune_prompts.check(self)
        for name in DRAW_ONLY if self.check else ():
            self._refuse(name, "with --check")
        for name in ("midi", "wav") if self.output is None else ():
            self._refuse(name, "without --output")
        if len(self.temperature) > 1 and not self.check:
            raise InputError("expected one --temperature without --check, found several")
        if len(self.context) > 1:
            raise InputError("expected one --context, found several; give one of them")
        if self.is_file:
            for name in OF_RUNS:
                self._refuse(name, f"with {self.run}, a file of tunes")
        elif Path(self.run).suffix.lower() != ABC:
            self._refuse("encoding", "without a file of tunes")
        if self.output is not None:
            endings = (tune_checks if self.check else tune_files).ENDINGS
            outputs.check_stem("output", self.output, endings)

    def _refuse(self, name, when):
        if getattr(self, name) != getattr(Tunes, name):
            given = "-n" if name == "n" else flag(name)
            raise InputError(f"{given} has no effect {when}; leave it out")

    @property
    def is_file(self) -> bool:
        """Whether `run` is a file of tunes."""
        return Path(self.run).is_file() and not self.run.endswith(".h5")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Tunes, "charlm tunes", argv)
    if args.is_file:
        return tune_checks.run_file(args) if args.check else tune_files.show_file(args)
    if Path(args.run).suffix.lower() == ABC:
        raise InputError(f"expected a file of tunes, found {args.run}, which does not exist")
    path, trained = lookup.read_with_contexts(args.runs_dir, args.run)
    saved = trained.in_context(*args.context) if args.context else trained
    writer = drawing.Writer(saved)
    if args.check:
        return tune_checks.run(args, path, writer, command_line("tunes", *argv))
    known = None
    if any(x is not None for x in (args.metre, args.key, args.output)):
        known = tune_checks.own_tunes(saved, "the metre, the key and the cells are not checked")
    given = tune_prompts.fields(args, saved, None if known is None else known.training)
    if args.context:
        given = tune_prompts.of_context(args, trained, given, writer.allowed)
    if args.output is not None:
        tune_files.check_others(args, range(1, (args.n or 1) + 1))
    wanted, written, tunes = args.n or 1, 0, list[str]()
    try:
        _draw(args, writer, given, tunes)
    finally:  # after Ctrl-C, too
        if 0 < len(tunes) < wanted:
            cli.note(f"NOTE: {len(tunes)} of {wanted} tunes were drawn")
        if tunes and args.output is not None:
            held_out = () if known is None else known.held_out or known.training
            name = path.parent.resolve().name
            written = tune_files.write(args, tunes, name, saved, held_out)
    return written or (0 if len(tunes) == wanted else cli.FAILED)


def _draw(args, writer, given, tunes):
    """Draws, prints and appends tunes; reports those that were not found, unless none was."""
    seed, temperature = seed_or_new(args.seed), (*args.temperature, TEMPERATURE)[0]
    failed = list[tuple[int, RuleError]]()
    for k in range(args.n or 1):
        try:
            with cli.progress(f"drawing tune {k + 1}") as tell:
                drawn = writer.draw(given, temperature, seed, k, not args.no_rules, tell)
        except RuleError as error:
            failed.append((k + 1, error))
            continue
        number = len(tunes) + 1
        tunes.append(numbered(drawn.text, number, args.title or f"Tune {number}"))
        print(cli.visible(tunes[-1]), flush=True)
    if not tunes:
        raise failed[0][1]
    for number, reason in failed:
        cli.note(f"NOTE: tune {number} is missing: {reason}")


if __name__ == "__main__":
    sys.exit(main())
