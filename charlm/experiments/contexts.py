"""Measures what a run trained with --context knows of its contexts; needs the extra `bench`.

    python -m charlm.experiments.contexts RUN [--without OTHER]

Printed are the held-out bits per character in the right context, with none, and those of a run
without contexts; how often the right context makes a held-out document more probable than another
one; and how often the right one is named from a passage, by Bayes' rule and by logistic regression
on TF-IDF features (words and pairs of words) of passages of the same length of the training text.
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from charlm import cli
from charlm.errors import InputError
from charlm.evaluation import by_context
from charlm.evaluation import losses as scoring
from charlm.runs import lookup


@dataclass(frozen=True)
class Contexts:
    """Measures what a run trained with --context knows of its contexts."""

    run: tyro.conf.Positional[str]
    without: str | None = None
    """A run on the same text without contexts."""
    runs_dir: Path = Path("saved_models")
    passage: int = 400
    """Characters from which a context is named."""


def main(argv: list[str] | None = None) -> int:
    """Prints the figures."""
    return cli.run(_main, argv)


def _main(argv):
    args = cli.parse(Contexts, "python -m charlm.experiments.contexts", argv)
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(
            "expected scikit-learn, found none; pip install -e '.[bench]' in charlm's folder "
            "installs it"
        )
    _, saved = lookup.read_with_contexts(args.runs_dir, args.run)
    names, network = saved.required_contexts().names, saved.conditioned_network()
    own = cli.own_text(cli.corpus(saved.config.data, saved, ""), saved)
    documents, right = own.to_measure(), own.contexts_to_measure() or []
    read = [network.read_in(d, c) for d, c in zip(documents, right, strict=True)]

    def bits(model, texts):
        found = zip(scoring.stateful_losses(model, texts), documents, strict=True)
        return scoring.bits([scoring.by_character(x, d, saved.vocab.lengths) for x, d in found])

    known, unknown = bits(network, read), bits(network, documents)
    print(f"bits per character: {known:.4f}, in an unknown context {unknown:.4f}")
    if args.without is not None:
        _, plain = lookup.read_best(args.runs_dir, args.without)
        without = bits(plain.to_network(), documents)
        print(f"without contexts {without:.4f}, so {known - without:+.4f} with them")
    nats = np.array([by_context.losses(network, d) for d in documents])
    truth = np.array([c[0] for c in right]) - 1
    kept = truth >= 0
    wins = [(n[t] < np.delete(n, t)).mean() for n, t in zip(nats[kept], truth[kept], strict=True)]
    each = ", ".join(f"{names[t]} {w:.2f}" for t, w in zip(truth[kept], wins, strict=True))
    print(f"the right context beats {np.mean(wins):.1%} of the others ({each})")
    _name(args.passage, saved, own, network)


def _name(size, saved, own, network):
    """Prints how often the context of a passage is named."""
    test = [*_passages(own, own.to_measure(), own.contexts_to_measure() or [], size)]
    ids = [x for x, _ in test]
    truth = np.array([c for _, c in test])
    C = len(saved.contexts.names)
    read = [network.read_in(x, c) for x in ids for c in range(1, C + 1)]
    each = scoring.stateful_losses(network, read)
    nats = np.array([x.sum() for x in each]).reshape(-1, C)
    ours = (nats.argmin(axis=1) + 1 == truth).mean()
    places = np.arange(len(own.training))
    whole = own.training[:], own.contexts.training.at(places)
    train = [*_passages(own, [whole[0]], [whole[1]], size)]
    theirs = (_tf_idf(saved, train, ids) == truth).mean()
    most = np.bincount([c for _, c in train]).argmax()
    print(
        f"{len(ids)} passages of {size} characters: Bayes' rule names {ours:.3f} of the contexts, "
        f"TF-IDF with logistic regression {theirs:.3f}, always the most frequent one "
        f"{(truth == most).mean():.3f}"
    )


def _passages(own, documents, contexts, size):
    """Yields the ids of each passage in one context, and its number."""
    for document, numbers in zip(documents, contexts, strict=True):
        borders = np.flatnonzero(np.diff(numbers)) + 1
        for ids, c in zip(
            np.split(np.asarray(document), borders), np.split(numbers, borders), strict=True
        ):
            ends = np.cumsum(own.vocab.lengths[ids]) // size
            for part in np.split(ids, np.flatnonzero(np.diff(ends)) + 1)[:-1]:
                if c[0]:
                    yield part, int(c[0])


def _tf_idf(saved, train, ids):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=1000))
    model.fit([saved.vocab.decode(x) for x, _ in train], [c for _, c in train])
    return model.predict([saved.vocab.decode(x) for x in ids])


if __name__ == "__main__":
    sys.exit(main())
