"""`charlm show RUN`: finds cells that follow the text, and makes a page that shows them."""

import itertools
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tyro.conf import UseAppendAction as Repeated

from charlm import cli
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Context, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, command_line, flag, require
from charlm.evaluation import documents as selection
from charlm.generation import generate
from charlm.inside import finding, lstmvis, passage, patterns, report, training_cells, webpage
from charlm.inside.weights import Kind
from charlm.runs import lookup, run_folder

ENDINGS = ".json", ".png"
PAGE = ".html"
LEAST_CHARACTERS = 1000  # or no property occurs often enough


@dataclass(frozen=True)
class Show:
    """Finds cells that follow a property of the text, and makes a page that shows them.

    A cell is chosen on the first half of the text and scored on the second. The page is one HTML
    file that runs the model in the browser: a text coloured by any cell or gate, exact values,
    writing.
    """

    run: tyro.conf.Positional[Run] = lookup.LATEST
    text: Annotated[str | None, tyro.conf.arg(aliases=["--corpus"], metavar="TEXT")] = None
    """Text to look at: a file, folder, glob, name of a corpus, or - for standard input. Default:
    the held-out (validation) part of the run's own text."""
    encoding: str = "utf-8"
    """Encoding of --text."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """Refuse or skip characters of --text that are not in the vocabulary."""
    pattern: Repeated[tuple[str, ...]] = ()
    """Regular expression: being inside a match is a property, too. Repeat it for several."""
    find: bool = False
    """Only look for cells; make no page."""
    no_text: bool = False
    """Show a text that the model wrote in the page, instead of a passage of the text."""
    weights: Kind = "fp16"
    """Bits of the weights in the page: 16-bit floats (fp16), bytes (int8), or 32-bit floats."""
    max_characters: int = passage.LOOKED_AT
    """Characters of the text to look at; 0 for all. Memory: two bytes for each and each cell."""
    seed: int = 1
    """Random seed of the shifts that show what chance can reach."""
    lstmvis: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Also write all states of the text to this new folder, for the program LSTMVis."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """Files to write, with or without the ending .html, .json or .png. Default: cells in
    the run's folder."""
    context: Context = None
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        ok = self.max_characters == 0 or self.max_characters >= LEAST_CHARACTERS
        require(ok, "max_characters", f"0, or {LEAST_CHARACTERS} or more", self.max_characters)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        if self.output is not None:
            outputs.check_stem("output", self.output, (*ENDINGS, PAGE))
        if self.lstmvis is not None:
            outputs.check_new_folder("lstmvis", self.lstmvis)
        for pattern in self.pattern:
            patterns.check(pattern)
        for name, useless, when in (
            ("encoding", self.text is None, "without --text"),
            ("unknown", self.text is None, "without --text"),
            ("weights", self.find, "with --find"),
            ("no_text", self.find, "with --find"),
        ):
            if useless and getattr(self, name) != getattr(Show, name):
                raise InputError(f"{flag(name)} has no effect {when}; leave it out")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Show, "charlm show", argv)
    path, saved = lookup.read_best(args.runs_dir, args.run, args.context)
    saved.vocab.require_characters("show the cells")
    endings = ENDINGS if args.find else (*ENDINGS, PAGE)
    output = outputs.stem(args.output, path.parent / run_folder.CELLS, endings)
    if not args.find:
        webpage.check_size(saved, args.weights)
    documents = _texts(args, saved, command_line("show", *argv))
    count, network = sum(map(len, documents)), saved.to_network()
    if count < LEAST_CHARACTERS:
        raise InputError(
            f"expected a text of {LEAST_CHARACTERS:,} characters or more, found {count:,}; give a "
            "longer one with --text"
        )
    of = "1 document" if len(documents) == 1 else f"{len(documents)} documents"
    cells = network.config.layers * network.config.units
    cli.say(f"{path}: {cells:,} cells, {count:,} characters of {of}")
    found = finding.find(network, saved.vocab, documents, args.pattern, args.seed)
    print("\n".join(report.tables(found, cli.visible)))
    if args.lstmvis is not None:
        lstmvis.write(args.lstmvis, network, saved.vocab, documents, path.parent.name)
    made = True
    if not args.find:
        text = _passage(args, network, saved, documents)
        name, place = path.parent.resolve().name, path.parent / run_folder.TRAINING_CELLS
        name += f" in context {args.context}" if args.context else ""
        own = args.text is None and not args.no_text
        shown = place, network, saved.vocab, text, saved.progress.epoch
        training = training_cells.of_page(*shown) if own else None
        data = webpage.page(saved, name, text, found, args.weights, training)
        made = outputs.write_page(output, PAGE, data.encode("utf-8", "backslashreplace"))
    from charlm.plots import cells as view

    results = {"run": str(path)} | found.to_dict()
    text = json.dumps(results, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
    code = outputs.write(output, ENDINGS, text, lambda: view.draw(found))
    return code if made else cli.FAILED


def _passage(args, network, saved, documents):
    """Returns the text that the page shows; by default of the part in which cells are scored."""
    if args.no_text:
        return generate.whole_texts(network, saved.vocab, passage.LENGTH, [1.0], args.seed)[0]
    ids = np.concatenate([np.asarray(d) for d in documents])
    if args.text is None:
        return passage.of_held_out(ids, saved.vocab)
    return saved.vocab.decode(ids[: passage.LENGTH])


def _texts(args, saved, again):
    """Returns the texts as ids, `max_characters` at most."""
    if args.text is None:
        corpus = cli.corpus(replace(saved.config.data, corpus=None), saved, again)
        own = cli.own_text(corpus, saved)
        found = [ids for _, ids in selection.held_out(corpus, own, 0)]
    else:
        other = cli.other_corpus(args.text, args.encoding, saved)
        found = [ids for _, ids in cli.documents(other, saved, args.unknown)]
    if not args.max_characters:
        return found
    begins = itertools.accumulate(map(len, found), initial=0)
    kept = [ids[: max(0, args.max_characters - k)] for ids, k in zip(found, begins, strict=False)]
    return [ids for ids in kept if len(ids)]


if __name__ == "__main__":
    sys.exit(main())
