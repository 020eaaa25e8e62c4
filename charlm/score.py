"""`charlm score FILE`: bits per character of a text under a trained model."""

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cli.options import RUNS_DIR, Context, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, flag
from charlm.evaluation import by_context
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

    file: tyro.conf.Positional[str]
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
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        for name in ("context", "per_character"):
            if self.by_context and getattr(self, name):
                raise InputError(f"{flag(name)} has no effect with --by-context; leave it out")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Score, "charlm score", argv)
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
    losses = scoring.stateful_losses(saved.to_network(), documents)
    if args.per_character:
        _each(names, documents, losses, vocab)
        return
    rows = [
        (name, _figures(x, ids, vocab))
        for name, ids, x in zip(names, documents, losses, strict=True)
    ]
    if len(rows) > 1:
        rows.append(("all", np.sum([figures for _, figures in rows], axis=0)))
    units = ["word", "token"] if vocab.texts else ["word"]
    titles = "".join(f"  {f'per {unit}':>10}" for unit in units)
    print(f"{'characters':>11}  bits/char  perplexity{titles}")
    for name, figures in rows:
        _print(name, figures, len(units))


def _figures(losses, ids, vocab):
    """Returns a document's loss in bits, and its characters, words and tokens that are measured."""
    bits = losses.sum(dtype=np.float64) / np.log(2)
    words = len(vocab.decode(ids).split())
    return np.array([bits, vocab.lengths[ids[1:]].sum(), words, len(losses)])


def _print(name, figures, units):
    total, characters, *counts = figures.tolist()
    bits = total / characters
    more = "".join(f"  {scoring.perplexity(bits, characters, n):>10}" for n in counts[:units])
    first = scoring.perplexity(bits, 1, 1)
    print(f"{int(characters):11,}  {bits:9.4f}  {first:>10}{more}  {cli.visible(name)}")


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
