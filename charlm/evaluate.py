"""`charlm evaluate RUN`: bits per character on held-out text, beside what simpler models reach."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from charlm import cli, run_folder, scoring
from charlm.checkpoint import write_atomically
from charlm.config import DataConfig, check
from charlm.errors import InputError
from charlm.ngram import NGram
from charlm.reference.network import Network
from corpora import CorpusError

MAX_WINDOWS = 4096  # cold ones, spread over the text
MAX_ORDER = 12
SHOWN = 12  # documents of which a table is shown; the JSON has all


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
    """Another text to measure on, all of it. Default: what the run's own text has held out."""
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
    output: Path = Path("evaluation")
    """Files to write, without their endings .json and .png."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        check(self.context >= 1, "context", "1 or more", self.context)
        check(1 <= self.order <= MAX_ORDER, "order", f"from 1 to {MAX_ORDER}", self.order)
        check(self.passages >= 0, "passages", "0 or more", self.passages)
        check(self.output.parent.is_dir(), "output", "in a folder that exists", self.output)
        check(self.output.name, "output", "the name of files", self.output)
        for path in _files(self.output):
            check(not path.is_dir(), "output", "the name of files", f"the folder {path}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Evaluate, "charlm evaluate", argv)
    path, saved = run_folder.read_best(args.runs_dir, args.run)
    network = Network(saved.weights, len(saved.vocab), saved.config.model)
    training, documents = _texts(args, saved)
    targets = sum(len(d) - 1 for d in documents)
    cli.say(f"{path}: {targets:,} characters of {len(documents)} documents")
    carried = scoring.carried(network, documents)
    cold = scoring.cold(network, documents, args.context, MAX_WINDOWS)
    models = {f"uniform over {len(saved.vocab)} characters": float(np.log2(len(saved.vocab)))}
    if training is not None:
        for order in sorted({1, args.order}):
            gram = NGram(training, len(saved.vocab), order)
            name = "unigram" if gram.order == 1 else f"{gram.order}-gram"
            models[name] = scoring.bits([gram.losses(d) for d in documents])
    if len(cold):
        models[f"this model, cold windows of {args.context}"] = scoring.bits([cold])
    models["this model, state carried"] = scoring.bits(carried)
    report = {
        "run": str(path),
        "characters": targets,
        "models": models,
        "by_position": scoring.by_position(carried),
        "documents": [
            {"begins": saved.vocab.decode(d[:40]), "characters": len(d) - 1,
             "bits": scoring.bits([x])} for d, x in zip(documents, carried, strict=True)
        ],
        "hardest": [
            {"document": k + 1, "at": at, "bits": bits,
             "text": saved.vocab.decode(documents[k][at : at + scoring.PASSAGE])}
            for k, at, bits in scoring.hardest(carried, args.passages)
        ],
    }  # fmt: skip
    _tell(report)
    _write(report, args.output)


def _texts(args, saved):
    """The run's training text or None, and the documents to measure on, as the model's ids."""
    try:
        own = cli.text(cli.corpus(saved.config.data))
        if own.sha256 != saved.corpus_sha256:
            raise InputError(
                f"expected the text the run was trained on (sha256 {saved.corpus_sha256[:12]}), "
                f"found another ({own.sha256[:12]})"
            )
        own = own.translated(saved.vocab)
    except (InputError, CorpusError) as error:
        if args.corpus is None:
            raise
        own = None
        cli.note(f"NOTE: no n-gram model beside it, for the run's own text is missing: {error}")
    if args.corpus is None:
        documents = own.to_measure(saved.config.data.max_held_out)
    else:
        documents = _other(args, saved)
    documents = [d for d in documents if len(d) > 1]
    if not documents:
        raise InputError("expected two characters or more to measure on, found fewer")
    return None if own is None else own.training, documents


def _other(args, saved):
    corpus = cli.corpus(DataConfig(corpus=args.corpus, encoding=args.encoding))
    if cli.text(corpus).sha256 == saved.corpus_sha256:
        cli.note(
            f"NOTE: the run was trained on most of {args.corpus}, so these figures say how well it "
            "remembers; leave --corpus out to measure on what was held out"
        )
    texts = ["".join(d.pieces()) for d in corpus.documents]
    if args.unknown == "skip":
        texts = [saved.vocab.known(text) for text in texts]
    try:
        return [saved.vocab.encode(text, saved.vocab.dtype) for text in texts]
    except InputError as error:
        raise InputError(f"{args.corpus}: {error}; give --unknown skip to leave such out") from None


def _tell(report):
    width = max(map(len, report["models"]))
    print(f"{'':{width}}  bits/char  perplexity")
    for name, bits in report["models"].items():
        print(f"{name:{width}}  {bits:9.4f}  {2**bits:10.3f}")
    print("\nstate carried, by how many characters were read before")
    for row in report["by_position"]:
        print(f"  {row['from']:>7,} to {row['to']:>9,}  {row['bits']:7.4f}")
    print("\nby document")
    shown = report["documents"][:SHOWN]
    for k, row in enumerate(shown, 1):
        line = " ".join(row["begins"].split())
        print(f"  {k:>3}  {row['characters']:>9,}  {row['bits']:7.4f}  {cli.visible(line)}")
    if len(shown) < len(report["documents"]):
        print(f"  and {len(report['documents']) - len(shown)} more in the JSON")
    for row in report["hardest"]:
        print(f"\nhardest: document {row['document']}, character {row['at']:,}, {row['bits']:.2f}")
        print(f"  {cli.visible(' '.join(row['text'].split()))}")


def _files(output):
    return output.with_name(f"{output.name}.json"), output.with_name(f"{output.name}.png")


def _write(report, output):
    from charlm.views import evaluation

    data, picture = _files(output)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    write_atomically(data, text.encode("utf-8", "backslashreplace"))
    evaluation.draw(report, picture)
    print(f"\n{data}, {picture}")


if __name__ == "__main__":
    sys.exit(main())
