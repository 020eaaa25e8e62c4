"""`charlm evaluate RUN`: bits per character on held-out text, compared with simpler models."""

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from charlm import cli
from charlm.cli import outputs
from charlm.cli.options import RUNS_DIR, Debug, Quiet, Run, RunsDir
from charlm.errors import InputError, check_temperature, command_line, require
from charlm.evaluation import documents, report
from charlm.generation import generate
from charlm.runs import lookup, run_folder
from charlm.text.encoded_text import characters_in
from charlm.text.ids import Ids
from charlm.text.vocab import Vocab

MAX_ORDER = 12
MAX_WINDOW = 1_000_000
RENAMED = {"--context": "--window"}
ENDINGS = ".json", ".png"
TEMPERATURES = 0.2, 0.5, 0.8, 1.0, 1.2


@dataclass(frozen=True)
class Evaluate:
    """Measures a model on held-out (validation) text, next to simpler models.

    Reports bits per character in two ways: with the hidden state carried through each document
    (stateful), and on windows that start from a zero state, as most published results are measured.
    For comparison it measures a uniform, a unigram and an n-gram model of the run's training text.
    Prints tables; writes a picture and JSON.
    """

    run: tyro.conf.Positional[Run] = lookup.LATEST
    corpus: str | None = None
    """Another text to measure, all of it. Default: the held-out part of the run's own text. If that
    text cannot be found again (standard input, a glob, moved files), name it here."""
    encoding: str = "utf-8"
    """Encoding of --corpus."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """Refuse or skip characters of --corpus that are not in the vocabulary."""
    window: int = 256
    """Sequence length (window) for measuring from a zero state, in characters."""
    order: int = 6
    """Order n of the n-gram model: it predicts a character from the n - 1 before it."""
    passages: int = 3
    """Number of passages with the highest loss to show."""
    dynamic: bool = False
    """Measure with dynamic evaluation, too: the weights are updated on each stretch of a document
    after it was measured. Takes minutes for each 100,000 characters at 512 units."""
    samples: bool = False
    """Also draw samples and measure how much of them is copied from the training text."""
    temperature: tyro.conf.UseAppendAction[tuple[float, ...]] = ()
    """Sampling temperature of --samples; repeat it for several. Default: 0.2, 0.5, 0.8, 1, 1.2."""
    parses: Literal["python", "json", "abc", "brackets"] | None = None
    """With --samples: also count how many pieces of them are well-formed, next to the measured
    text: Python functions, lines of JSON, tunes in ABC notation, or paragraphs whose brackets
    are balanced."""
    seed: int = 1
    """Random seed of --samples."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """Files to write, with or without the ending .json or .png. Default: evaluation in the run's
    folder."""
    runs_dir: RunsDir = RUNS_DIR
    quiet: Quiet = False
    debug: Debug = False

    def __post_init__(self):
        ok = 1 <= self.window <= MAX_WINDOW
        require(ok, "window", f"from 1 to {MAX_WINDOW}", self.window)
        require(1 <= self.order <= MAX_ORDER, "order", f"from 1 to {MAX_ORDER}", self.order)
        if self.temperature and not self.samples:
            raise InputError("--temperature has no effect without --samples; leave it out")
        if self.parses is not None and not self.samples:
            raise InputError("--parses has no effect without --samples; leave it out")
        for t in self.temperature:
            check_temperature(t)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        require(self.passages >= 0, "passages", "0 or more", self.passages)
        if self.output is not None:
            outputs.check_stem("output", self.output, ENDINGS)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    _check_context(argv)
    argv = cli.renamed(argv, RENAMED)
    args = cli.parse(Evaluate, "charlm evaluate", argv)
    path, saved = lookup.read_with_contexts(args.runs_dir, args.run)
    if saved.contexts and args.dynamic:
        raise InputError(
            "--dynamic changes the weights while it reads, and cannot do that with contexts "
            "(the run has --context); leave it out"
        )
    output = outputs.stem(args.output, path.parent / run_folder.EVALUATION, ENDINGS)
    network = saved.to_network()
    corpus, spelled, other = _texts(args, saved, command_line("evaluate", *argv))
    needed = spelled is not None and (other is None or args.dynamic)
    own: Any = spelled.translated(saved.vocab) if needed else None
    names, contexts, ids = _documents(args, saved, corpus, own, other)
    of = "1 document" if len(ids) == 1 else f"{len(ids)} documents"
    characters = sum(characters_in(d[1:], saved.vocab) for d in ids)
    cli.say(f"{path}: {characters:,} characters of {of}")
    if corpus is not None and corpus.encoded:
        spelled = _without_counts(args, corpus)
    training: Any = None if spelled is None else spelled.training
    dynamic = own.training if args.dynamic else None
    known = None
    if saved.vocab.texts:
        known = Vocab.of(map(saved.vocab.decode, ids))
        if spelled is not None:
            known = Vocab.of([known.characters, spelled.vocab.characters])
            training = spelled.translated(known).training
    results = {"run": str(path)} | report.measure(
        network,
        saved.vocab,
        names,
        ids,
        training,
        window=args.window,
        order=args.order,
        passages=args.passages,
        dynamic=dynamic,
        characters=known,
        contexts=None if contexts[0] is None else contexts,
    )
    if args.samples:
        samples, vocab = _samples(args, network, saved), saved.vocab
        if saved.vocab.texts:
            samples, texts = [*samples], [saved.vocab.decode(d) for d in ids]
            drawn = [text for _, found in samples for text in found]
            vocab = Vocab.of([spelled.vocab.characters, *texts, *drawn])
            training, ids = spelled.translated(vocab).training, [vocab.encode(x) for x in texts]
        results["samples"] = report.measure_samples(
            vocab, corpus, training, ids, samples, args.parses
        )
    print("\n".join(report.tables(results, cli.visible)))
    from charlm.plots import evaluation as view

    text = json.dumps(results, indent=1, ensure_ascii=False)
    data = text.encode("utf-8", "backslashreplace")
    return outputs.write(output, ENDINGS, data, lambda: view.draw(results))


def _without_counts(args, corpus):
    """Says what is not measured of a text that may be too large for memory."""
    for name in ("samples", "dynamic"):
        if getattr(args, name):
            raise InputError(
                f"cannot use --{name} with {corpus.title}, an encoded text, which may be too large "
                f"for memory; leave out --{name}"
            )
    cli.note(f"NOTE: no n-gram model, because an encoded text ({corpus.title}) may be very large")


def _check_context(argv):
    if "context" in cli.given(argv) and not _is_window(argv):
        raise InputError(
            "expected no --context, because evaluate measures each text in its own one; charlm "
            "score --context NAME measures in another"
        )


def _documents(args, saved, corpus, own, other):
    """Returns names, contexts (or None) and ids of the documents to measure."""
    if other is None:
        found: Sequence[tuple[str | None, Ids]] = documents.held_out(
            corpus, own, saved.config.data.max_held_out
        )
    else:
        found = cli.documents(other, saved, args.unknown)
    values: Any = [None] * len(found)
    if saved.contexts and other is None:
        values = own.contexts_to_measure(saved.config.data.max_held_out)
    elif saved.contexts:
        cli.note(
            f"NOTE: {other.title} is measured without contexts (with the mean of all); charlm "
            "score --context NAME measures in one"
        )
    named = [((name, c), x) for (name, x), c in zip(found, values, strict=True)]
    both, ids = documents.measurable(named, saved.vocab)
    names, contexts = zip(*both, strict=True)
    return names, contexts, ids


def _is_window(argv):
    """Whether --context is followed by a number, as in earlier versions."""
    words = [x.partition("=") for x in argv]
    values = [x[2] or nxt[0] for x, nxt in itertools.pairwise([*words, ("", "", "")])
              if x[0] == "--context"]  # fmt: skip
    return all(x.lstrip("-").isdigit() for x in values)


def _texts(args, saved, again):
    """Returns the run's own corpus, its text, and another corpus to measure; any may be None.

    If --corpus is the run's own text and nothing else leads to that text, it counts as the run's.
    """
    other = None
    if args.corpus is not None:
        other = cli.other_corpus(args.corpus, args.encoding, saved)
    try:
        advice = again if other is None else ""  # --corpus already names another text
        corpus = cli.corpus(replace(saved.config.data, corpus=None), saved, advice)
        return corpus, cli.own_characters(corpus, saved), other
    except InputError as error:
        if other is not None and documents.sha256(other) == saved.corpus_sha256:
            return other, cli.own_characters(other, saved), None
        if other is None or args.dynamic or args.samples:
            raise
        cli.note(f"NOTE: no n-gram model, because the run's own text is missing: {error}")
        return None, None, other


def _samples(args, network, saved):
    chosen = args.temperature or TEMPERATURES
    first = saved.config.data.separator or ""  # a text of records begins with one, and goes on
    with cli.progress("sampling", len(chosen)) as tell:
        for t in chosen:
            given = report.LENGTH, [t] * report.TEXTS, args.seed
            yield t, generate.whole_texts(network, saved.vocab, *given, prompt=first)
            tell()


if __name__ == "__main__":
    sys.exit(main())
