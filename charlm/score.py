"""`charlm score FILE`: bits per character of a text under a trained model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cli import scores
from charlm.cli.options import RUNS_DIR, Context, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, flag
from charlm.evaluation import by_context, shards
from charlm.evaluation import losses as scoring
from charlm.evaluation.documents import measurable
from charlm.runs import lookup

SHOWN = 20  # contexts of a file


@dataclass(frozen=True)
class Score:
    """Measures any text with a trained model: bits per character and perplexity.

    Each file is read from its beginning, with a zero hidden state. Its first character is not
    measured, because no character precedes it. In a run with --tokens that is the first token, and
    the bits of a token are those of all its characters.
    """

    file: tyro.conf.Positional[str | None] = None
    """Text to measure: a file, folder, glob, name of a corpus, or - for standard input."""
    run: Run = lookup.LATEST
    encoding: str = "utf-8"
    """Encoding of the files."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """Refuse or skip characters that are not in the vocabulary."""
    context: Context = None
    by_context: bool = False
    """For a run trained with --context: print in which context a file is most probable (who would
    have written this?). Each file is measured in every context, and Bayes' rule gives the contexts'
    probabilities; before the text is read, all count as equally probable."""
    per_character: bool = False
    """Print a line for each character, or each token of a run with --tokens, instead: file,
    position in characters, character or token (as a string of Python, or as bytes if it is a part
    of a character) and bits, separated by tabs."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="K/N")] = None
    """Measure part K of N of the documents, and print its figures as JSON, for --merge. So several
    processes, on any machines, can measure many files. Parts are groups of 64 documents."""
    merge: tuple[Path, ...] = ()
    """Join what --shard has printed, one file for each part: print the table of the whole text."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        for name, useless in (
            ("by_context", ("context", "per_character", "shard")),
            ("shard", ("per_character",)),
            ("merge", ("file", "by_context", "per_character", "shard", "context")),
        ):
            for other in useless:
                if getattr(self, name) and getattr(self, other):
                    what = "FILE" if other == "file" else flag(other)
                    raise InputError(f"{what} has no effect with {flag(name)}; leave it out")
        if self.file is None and not self.merge:
            raise InputError("expected a text to measure, found none; see charlm score --help")
        if self.shard:
            shards.parse(self.shard)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Score, "charlm score", argv)
    if args.merge:
        units, merged = shards.merged(args.merge)
        scores.table([(name, np.array(figures)) for name, figures in merged], units)
        return
    if args.by_context:
        _, saved = lookup.read_with_contexts(args.runs_dir, args.run)
        saved.required_contexts()
    else:
        _, saved = lookup.read_best(args.runs_dir, args.run, args.context)
    corpus = cli.other_corpus(args.file, args.encoding, saved)
    vocab = saved.vocab
    names, documents = measurable(cli.documents(corpus, saved, args.unknown), vocab)
    if args.by_context:
        _by_context(names, documents, saved)
        return
    kept = [*range(len(documents))]
    if args.shard:
        measured = shards.fingerprint(saved, documents)
        kept = shards.documents_of(args.shard, documents)
        names, documents = [names[k] for k in kept], [documents[k] for k in kept]
    losses = scoring.stateful_losses(saved.to_network(), documents)
    if args.per_character:
        _each(names, documents, losses, vocab)
        return
    rows = [
        (name, scores.figures(x, ids, vocab))
        for name, ids, x in zip(names, documents, losses, strict=True)
    ]
    units = ["word", "token"] if vocab.texts else ["word"]
    if args.shard:
        numbered = [(k, name, x.tolist()) for k, (name, x) in zip(kept, rows, strict=True)]
        print(shards.Part(args.shard, units, numbered, measured).to_json())
        return
    scores.table(rows, units)


def _by_context(names, documents, saved):
    network = saved.conditioned_network()
    for name, ids in zip(names, documents, strict=True):
        characters = saved.vocab.lengths[ids[1:]].sum()
        nats = by_context.losses(network, ids)
        shares = by_context.probabilities(nats)
        print(f"{cli.visible(name)}, {characters:,} characters")
        print(f"{'probability':>11}  bits/char  {cli.visible(saved.config.data.context)}")
        order = np.argsort(nats, kind="stable")
        for k in order[:SHOWN]:
            bits = nats[k] / characters / np.log(2)
            print(f"{shares[k]:11.4f}  {bits:9.4f}  {cli.visible(saved.contexts.names[k])}")
        if len(order) > SHOWN:
            print(f"{shares[order[SHOWN:]].sum():11.4f}  {'':9}  {len(order) - SHOWN:,} others")


def _each(names, documents, losses, vocab):
    print(f"file\tat\t{'token' if vocab.texts else 'character'}\tbits")
    for name, ids, x in zip(names, documents, losses, strict=True):
        lengths = vocab.lengths[ids]
        places = np.cumsum(lengths) - lengths - (lengths == 0)  # within the character before
        for at, k, bits in zip(places[1:], ids[1:], (x / np.log(2)).tolist(), strict=True):
            print(f"{cli.visible(name)}\t{at}\t{vocab.shown(k)}\t{bits:.4f}")


if __name__ == "__main__":
    sys.exit(main())
