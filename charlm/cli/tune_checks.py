"""`charlm tunes --check`: how many tunes are valid, of a file or of a run."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm import cli
from charlm.cli import outputs
from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.evaluation import tunes as measuring
from charlm.evaluation.novelty import TrainingTextIndex
from charlm.generation.rules import RuledText, RuleError
from charlm.generation.tunes import FIELDS, Writer
from charlm.music.bars import check
from charlm.music.fields import header
from charlm.music.tune import tunes_by_line
from charlm.runs import run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.text.vocab import Vocab

ENDINGS = ".json", ".png"
TEMPERATURES, SEED, COUNT = (0.5, 0.8, 1.0), 1, 100
SHOWN = 50  # problems


@dataclass(frozen=True)
class OwnTunes:
    """The tunes of the text that a run was trained on."""

    training: list[str]
    held_out: list[str]
    text: str
    """The training part of the text."""


def own_tunes(saved: Checkpoint, lost: str, again: str = "") -> OwnTunes | None:
    """Returns the tunes of a run's text; None, after a note, if it is not where it was.

    Args:
        saved: the run.
        lost: for the note, the things that cannot be done then.
        again: the command line, for messages.

    Raises:
        InputError: the text has no tunes.
    """
    try:
        corpus = cli.corpus(replace(saved.config.data, corpus=None), saved, again)
        own = cli.own_text(corpus, saved)
    except InputError as error:
        cli.note(f"NOTE: {lost}: {error}")
        return None
    training, held_out = (
        saved.vocab.decode(np.asarray(ids)) for ids in (own.training, own.held_out)
    )
    found = OwnTunes(measuring.split(training), measuring.split(held_out), training)
    if not found.training:
        raise InputError(
            f"expected a run that was trained on tunes in ABC notation, found one of {corpus.title}"
            "; train one with charlm train FILE --preset tunes"
        )
    return found


def index(own: OwnTunes, vocab: Vocab) -> tuple[TrainingTextIndex, Vocab]:
    """Returns an index of the training tunes, and the vocabulary of its ids."""
    return TrainingTextIndex(vocab.encode(own.text), own.text), vocab


def run(args: Any, path: Path, writer: Writer, again: str) -> int:
    """Prints a table for a run, and writes it as JSON and as a picture.

    Args:
        args: a `charlm.tunes.Tunes`.
        path: the weights file.
        writer: draws its tunes.
        again: the command line, for messages.

    Returns:
        An exit code.
    """
    output = outputs.stem(args.output, path.parent / run_folder.TUNES, ENDINGS)
    own = own_tunes(writer.saved, "not compared with the training tunes", again)
    known = None if own is None else index(own, writer.vocab)
    rows = []
    if own is not None:
        rows.append(measuring.shares("training", own.training, writer.required))
        if own.held_out:
            rows.append(measuring.shares("held out", own.held_out, writer.required, known))
    count, seed = args.n or COUNT, SEED if args.seed is None else args.seed
    temperatures = args.temperature or TEMPERATURES
    with cli.progress("drawing tunes", 2 * count * len(temperatures)) as tell:
        for t in temperatures:
            free = [*writer.free(t, seed, count)]
            tell(count)
            rows.append(measuring.shares(f"temperature {t:g}", free, writer.required, known,
                                         temperature=t))  # fmt: skip
        for t in temperatures:
            drawn = []
            for k in range(count):
                drawn.append(_drawn(writer, t, seed, k))
                tell()
            kept = sum(len(x.text) for x in drawn)
            read = sum(x.characters_read for x in drawn) / max(1, kept)
            title = f"temperature {t:g}, with rules"
            texts = [x.text for x in drawn]
            rows.append(measuring.shares(title, texts, writer.required, known, read, t))
    print("\n".join(measuring.table(rows)))
    from charlm.plots import tunes as view

    results = {"run": str(path), "tunes": [row.to_dict() for row in rows]}
    data = json.dumps(results, indent=1).encode()
    return outputs.write(output, ENDINGS, data, lambda: view.draw(rows))


def _drawn(writer, temperature, seed, k):
    """Draws a tune; where no valid one is found it is empty, and counts as wrong."""
    try:
        return writer.draw({}, temperature, seed, k)
    except RuleError as error:
        return RuledText("", error.characters_read, error.failures)


def run_file(args: Any) -> int:
    """Prints the problems of the tunes of a file, and a table.

    Returns:
        An exit code: 1 if a tune is wrong.
    """
    tunes = read_file(args.run, args.encoding)
    verdicts = [(line, tune, check(tune)) for line, tune in tunes]
    problems = [
        f"{args.run}:{problem.shown(tune, line)}{_title(tune)}"
        for line, tune, verdict in verdicts
        for problem in verdict.problems
    ]
    for problem in problems[:SHOWN]:
        print(cli.visible(problem))
    if len(problems) > SHOWN:
        print(f"and {len(problems) - SHOWN:,} more problems")
    if problems:
        print()
    rows = [measuring.shares(Path(args.run).name, [tune for _, tune in tunes], FIELDS)]
    print("\n".join(measuring.table(rows)))
    code = cli.FAILED if problems else 0
    if args.output is None:
        return code
    from charlm.plots import tunes as view

    results = {"run": args.run, "tunes": [row.to_dict() for row in rows]}
    data = json.dumps(results, indent=1).encode("utf-8", "backslashreplace")
    return outputs.write(args.output, ENDINGS, data, lambda: view.draw(rows)) or code


def _title(tune):
    title = header(tune).get("T")
    return "" if title is None else f" ({title:.40})"


def read_file(name: str, encoding: str) -> list[tuple[int, str]]:
    """Returns the tunes of a file, each with the number of the line in which it begins.

    Raises:
        InputError: there are none.
        CorpusError: it cannot be read.
    """
    corpus = cli.corpus(DataConfig(corpus=name, encoding=encoding))
    found = [
        (line, tune.rstrip() + "\n")
        for d in corpus.documents
        for line, tune in tunes_by_line("".join(d.pieces()))
    ]
    cli.note_reading(corpus)
    if not found:
        raise InputError(
            f"expected tunes in ABC notation, which begin with X:, in {name}, found none"
        )
    return found
