"""`charlm evaluate RUN`: bits per character on held-out text, beside what simpler models reach."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from charlm import cli
from charlm.cli import outputs
from charlm.config import DataConfig, check_temperature, require
from charlm.errors import InputError, command_line
from charlm.evaluation import losses as scoring
from charlm.evaluation import novelty
from charlm.evaluation.ngram import NGram
from charlm.generation import generate
from charlm.runs import atomic, run_folder
from charlm.text.encode import fingerprint
from corpora.document import cuts

MAX_WINDOWS = 4096  # cold ones, spread over the text
MAX_ORDER = 12
MAX_CONTEXT = 1_000_000
SHOWN = 12  # documents of which a table is shown; the JSON has all
CARRIED, DYNAMIC = "state carried", "dynamic evaluation"
KEYS = {CARRIED: "bits", DYNAMIC: "dynamic_bits"}  # in the JSON
ENDINGS = ".json", ".png"
MEASURED = "text that was measured"
TEMPERATURES = 0.2, 0.5, 0.8, 1.0, 1.2
TEXTS, LENGTH = 20, 2000  # samples at each temperature, and characters of each
MAX_COPY = 200  # characters of one that are shown; the JSON has all


@dataclass(frozen=True)
class Evaluate:
    """Measures a model on text that it was not trained on, beside simpler models.

    Bits per character: with the state carried through each document; and of windows that begin
    cold, with nothing read, which is how others measure. Beside them a uniform, a unigram and an
    n-gram model of the run's training text. Prints tables; writes a picture and JSON.
    """

    run: tyro.conf.Positional[str] = run_folder.LATEST
    """A run folder, a .weights.h5 file of one, or "latest"."""
    corpus: str | None = None
    """Another text to measure on, all of it. Default: what the run's own text has held out. Where
    the run does not lead to its own text (standard input, a pattern, moved), give that here."""
    encoding: str = "utf-8"
    """Of --corpus."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """What to do with characters of --corpus that the model does not know."""
    context: int = 256
    """Characters of a window that begins cold."""
    order: int = 6
    """Of the n-gram model: the characters it looks at, the next one among them."""
    passages: int = 3
    """How many of the hardest passages to show."""
    dynamic: bool = False
    """Measure with weights that learn from each stretch of a document once it was measured, too
    (dynamic evaluation). Takes a while: some minutes for each 100,000 characters at 512 units."""
    samples: bool = False
    """Measure samples too: whether the model writes or recites, by temperature."""
    temperature: tyro.conf.UseAppendAction[tuple[float, ...]] = ()
    """Of --samples; give it once for each. Default: 0.2, 0.5, 0.8, 1, 1.2."""
    seed: int = 1
    """Of --samples."""
    output: Annotated[str, tyro.conf.arg(metavar="PATH")] = "evaluation"
    """Files to write, without their endings .json and .png."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        ok = 1 <= self.context <= MAX_CONTEXT
        require(ok, "context", f"from 1 to {MAX_CONTEXT}", self.context)
        require(1 <= self.order <= MAX_ORDER, "order", f"from 1 to {MAX_ORDER}", self.order)
        given = self.temperature
        require(self.samples or not given, "temperature", "left out without --samples", "it given")
        for t in given:
            check_temperature(t)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        require(self.passages >= 0, "passages", "0 or more", self.passages)
        outputs.check_stem("output", self.output, ENDINGS)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Evaluate, "charlm evaluate", argv)
    path, saved = run_folder.read_best(args.runs_dir, args.run)
    network = saved.to_network()
    corpus, own, other = _texts(args, saved, command_line("evaluate", *argv))
    names, documents = _documents(args, saved, corpus, own, other)
    targets = sum(len(d) - 1 for d in documents)
    cli.say(f"{path}: {targets:,} characters of {len(documents)} documents")
    losses = {CARRIED: scoring.stateful_losses(network, documents)}
    if args.dynamic:
        adapting = scoring.DynamicEvaluation(network, own.training)
        losses[DYNAMIC] = [adapting.losses(d) for d in documents]
    cold = scoring.zero_state_losses(network, documents, args.context, MAX_WINDOWS)
    models = {f"uniform over {len(saved.vocab)} characters": float(np.log2(len(saved.vocab)))}
    if own is not None:
        gram = NGram(own.training, len(saved.vocab), args.order)
        for order in sorted({1, gram.order}):
            name = "unigram" if order == 1 else f"{order}-gram"
            models[name] = scoring.bits([gram.losses(d, order) for d in documents])
    if len(cold):
        models[f"this model, cold windows of {args.context}"] = scoring.bits([cold])
    else:
        cli.note(f"NOTE: no cold windows, for no document has more than {args.context} characters")
    models |= {f"this model, {name}": scoring.bits(x) for name, x in losses.items()}
    report = {
        "run": str(path),
        "characters": targets,
        "models": models,
        "by_position": _columns(losses, scoring.by_position),
        "documents": [
            {"name": name, "begins": saved.vocab.decode(d[:40]), "characters": len(d) - 1}
            | {KEYS[how]: scoring.bits([x[k]]) for how, x in losses.items()}
            for k, (name, d) in enumerate(zip(names, documents, strict=True))
        ],
        "hardest": [
            {"document": k + 1, "at": at, "bits": bits,
             "text": saved.vocab.decode(documents[k][at : at + scoring.PASSAGE])}
            for k, at, bits in scoring.hardest(losses[CARRIED], args.passages)
        ],
    }  # fmt: skip
    if args.samples:
        report["samples"] = _samples(args, network, saved.vocab, corpus, own, documents)
    _tell(report)
    return _write(report, args.output)


def _columns(losses, rows_of):
    """Rows of each way to measure side by side: what is `bits` of one is `dynamic_bits` of two."""
    tables = {KEYS[how]: rows_of(x) for how, x in losses.items()}
    return [
        rows[0] | {key: row["bits"] for key, row in zip(tables, rows, strict=True)}
        for rows in zip(*tables.values(), strict=True)
    ]


def _texts(args, saved, again):
    """The run's own corpus and its ids, None if it is missing; another corpus to measure on, or
    None.

    What is given with --corpus is the run's own where it is that text and nothing else leads to it.
    """
    other = None
    if args.corpus is not None:
        other = cli.corpus(DataConfig(corpus=args.corpus, encoding=args.encoding))
    try:
        advice = again if other is None else ""  # --corpus is already something else
        corpus = cli.corpus(replace(saved.config.data, corpus=None), saved, advice)
        return corpus, _own_ids(corpus, saved), other
    except InputError as error:
        if other is not None and _fingerprint(other) == saved.corpus_sha256:
            return other, _own_ids(other, saved), None
        if other is None or args.dynamic or args.samples:
            raise
        cli.note(f"NOTE: no n-gram model, because the run's own text is missing: {error}")
        return None, None, other


def _own_ids(corpus, saved):
    own = cli.text(corpus)
    if own.sha256 != saved.corpus_sha256:
        raise InputError(
            f"expected the text the run was trained on (sha256 {saved.corpus_sha256[:12]}), "
            f"found another ({own.sha256[:12]}) in {corpus.title}; --corpus measures on a text "
            "that is elsewhere"
        )
    return own.translated(saved.vocab)


def _fingerprint(corpus):
    return fingerprint("".join(d.pieces()) for d in corpus.documents)


def _parts(corpus):
    """Of each document with text: itself, its characters, and how many of them are trained on."""
    lengths = [sum(map(len, d.pieces())) for d in corpus.documents]
    found = [(d, n) for d, n in zip(corpus.documents, lengths, strict=True) if n]
    return [(d, n, cut) for (d, n), cut in zip(found, cuts([n for _, n in found]), strict=True)]


def _documents(args, saved, corpus, own, other=None):
    """Names, or None where there are none, and ids of what to measure on."""
    if other is None:
        if not len(own.held_out):
            raise InputError(
                "expected held-out text, found none, for the run's text is too short; --corpus "
                "measures on another"
            )
        most = saved.config.data.max_held_out
        documents = own.to_measure(most)
        if 0 < most < len(own.held_out):  # stretches of documents, each perhaps of several
            names = [None] * len(documents)
        else:
            names = [d.name for d, n, cut in _parts(corpus) if n > cut]
    else:
        found = cli.documents(other, saved, args.unknown)
        names, documents = zip(*found, strict=True)
    kept = [(name, d) for name, d in zip(names, documents, strict=True) if len(d) > 1]
    if not kept:
        raise InputError("expected two characters or more to measure on, found fewer")
    return zip(*kept, strict=True)


def _samples(args, network, vocab, corpus, own, documents):
    """Rows of measures: of stretches of the text, and of samples at each temperature."""
    known = novelty.TrainingTextIndex(own.training, vocab.decode(own.training))
    stretches = [d[k : k + LENGTH] for d in documents for k in range(0, len(d), LENGTH)]
    chosen = np.linspace(0, len(stretches) - 1, min(TEXTS, len(stretches))).astype(int)
    rows = [(MEASURED, [stretches[k] for k in chosen])]
    for t in args.temperature or TEMPERATURES:
        pieces = generate.texts(network, vocab, "", LENGTH, [t] * TEXTS, args.seed)
        texts = ["".join(text) for text in zip(*pieces, strict=True)]
        rows.append((t, [vocab.encode(text) for text in texts]))
    trained = [(d, cut) for d, _, cut in _parts(corpus) if cut]
    found = []
    for what, texts in rows:
        copy = vocab.decode(known.longest_copy(texts))
        places = ((d.name, d.pieces(), cut) for d, cut in trained)
        where, place = novelty.source(places, copy) or (None, None)
        found.append(
            {"of": what, "characters": sum(map(len, texts)),
             "new": {n: known.novel_ngram_share(texts, n) for n in novelty.LENGTHS},
             "repeated": novelty.self_repetition(texts),
             "known_words": known.known_words([vocab.decode(ids) for ids in texts]),
             "longest_copy": {"text": copy, "source": where, "at": place}}
        )  # fmt: skip
    return found


def _tell(report):
    width = max(map(len, report["models"]))
    print(f"{'':{width}}  bits/char  perplexity")
    for name, bits in report["models"].items():
        print(f"{name:{width}}  {bits:9.4f}  {2**bits:10.3f}")
    keys = [key for key in KEYS.values() if key in report["documents"][0]]
    print(f"\nby how many characters were read before: {', '.join(_titles(keys))}")
    for row in report["by_position"]:
        print(f"  {row['from']:>9,} to {row['to']:>9,}  {_bits(row, keys)}")
    print(f"\nby document: characters, {', '.join(_titles(keys))}")
    shown = report["documents"][:SHOWN]
    for k, row in enumerate(shown, 1):
        line = row["name"] or " ".join(row["begins"].split())
        print(f"  {k:>3}  {row['characters']:>9,}  {_bits(row, keys)}  {cli.visible(line)}")
    if len(shown) < len(report["documents"]):
        print(f"  and {len(report['documents']) - len(shown)} more in the JSON")
    for row in report["hardest"]:
        print(f"\nhardest: document {row['document']}, character {row['at']:,}, {row['bits']:.2f}")
        print(f"  {cli.visible(' '.join(row['text'].split()))}")
    if "samples" in report:
        _tell_samples(report["samples"])


def _titles(keys):
    return [f"bits with {how}" for how, key in KEYS.items() if key in keys]


def _bits(row, keys):
    return "  ".join(f"{row[key]:7.4f}" for key in keys)


def _tell_samples(rows):
    titles = [f"new {n}-grams" for n in novelty.LENGTHS]
    print(f"\nsamples, {TEXTS} of {LENGTH:,} characters at each temperature, shares in %")
    print(f"{'temperature':22}  characters  {'  '.join(titles)}  repeated  known words")
    for row in rows:
        shares = "  ".join(
            f"{_percent(x):>{len(t)}}" for x, t in zip(row["new"].values(), titles, strict=True)
        )
        rest = f"{_percent(row['repeated']):>8}  {_percent(row['known_words']):>11}"
        print(f"{row['of']!s:22}  {row['characters']:>10,}  {shares}  {rest}")
    print(f"repeated: runs of {novelty.RUN} characters that the same sample had before")
    print("longest copy of the training text, in characters")
    for row in rows:
        copy = row["longest_copy"]
        text = " ".join(copy["text"][:MAX_COPY].split())
        where = f"in {copy['source']} at {copy['at']:,}" if copy["source"] else "of no one document"
        print(f"{row['of']!s:22}  {len(copy['text']):>10,}  {cli.visible(f'{text} ({where})')}")


def _percent(share):
    return "-" if share is None else f"{100 * share:.1f}"


def _write(report, output):
    from charlm.plots import evaluation, try_draw

    data, picture = outputs.files(output, ENDINGS)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    drawn = try_draw(lambda: evaluation.draw(report), picture, cli.note)
    kept = atomic.try_write(data, text.encode("utf-8", "backslashreplace"), cli.note)
    shown = drawn is not None and atomic.try_write(picture, drawn, cli.note)
    print("", ", ".join([str(data)] * kept + [str(picture)] * shown), sep="\n")
    return 0 if kept else cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
