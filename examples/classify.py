"""Names the party of a speaker from 400 characters of a speech, in five ways: many to one.

    pip install -e '.[examples]'
    python examples/classify.py -o classify.png
    python examples/classify.py --field decade

An LSTM from scratch reads the characters; the maximum of each output over time goes to a softmax.
It competes with the mean states of a trained language model and logistic regression, with Bayes'
rule over the contexts of a run trained with --context, with TF-IDF, and with the majority class.

All classified passages come from held-out speeches, by the split of `charlm train`: neither the
language model nor a classifier has read them. Every sixth training speech chooses settings and
stops the LSTM early; logistic regression then learns from these speeches too, the LSTM does not.
Passages of one speech are alike, so intervals come from drawing whole speeches with replacement.
Of the State of the Union only six are held out: even these intervals are rather too narrow, and
they leave out that an LSTM of another seed is another one.
"""

import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from threadpoolctl import threadpool_limits

from charlm import cli, plots
from charlm.cli import outputs
from charlm.cli.options import Debug
from charlm.errors import InputError, require
from charlm.evaluation import by_context
from charlm.evaluation import losses as scoring
from charlm.inside import recording
from charlm.reference.network import Network
from charlm.runs import lookup
from charlm.runs.checkpoint import Checkpoint
from charlm.text.split import Split
from corpora import contexts, records

UNITS, BATCH, EPOCHS, RATE = 64, 64, 8, 0.003  # of the LSTM from scratch
READ = 1000  # training passages that the language model reads; all of them would take minutes
RESAMPLES = 10_000  # of an interval


@dataclass(frozen=True)
class Classify:
    """Classifies passages of held-out speeches in five ways, prints a table and draws it."""

    characters: int = 400
    """Length of a passage."""
    field: str = "party"
    """Field to name: party, president, decade, or another one of the run's text."""
    run: str = lookup.SHIPPED.name
    """Language model: a run folder, its name in saved_models, or the run that comes with charlm."""
    seed: int = 1
    """Seed of the LSTM, of the passages that the language model reads, and of the intervals."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="PATH.png")] = "classify.png"
    """Picture to write."""
    debug: Debug = False

    def __post_init__(self):
        require(self.characters >= 2, "characters", "2 or more", self.characters)
        require(0 <= self.seed < 2**32, "seed", "from 0 to 2^32 - 1", self.seed)
        require(self.output.endswith(".png"), "output", "the name of a .png file", self.output)
        outputs.check_file("output", Path(self.output))


@dataclass(frozen=True)
class Passages:
    """N passages of equal length: their texts, the values of the field, and numbers of speeches."""

    texts: np.ndarray  # (N,) strings
    labels: np.ndarray  # (N,) strings
    speeches: np.ndarray  # (N,)

    def at(self, places: np.ndarray) -> "Passages":
        """Returns some of the passages: `places` are numbers, or booleans (N,)."""
        return Passages(self.texts[places], self.labels[places], self.speeches[places])

    def validation(self) -> np.ndarray:
        """Returns which passages are of every sixth speech, booleans (N,)."""
        return np.unique(self.speeches, return_inverse=True)[1] % 6 == 3


def passages(text: str, lengths: Sequence[int], labels: Sequence[str], size: int) -> Passages:
    """Cuts parts of R speeches into passages of `size` characters; the rest of each is left out.

    White space becomes one blank. Its layout tells who typed a speech: in some files each line ends
    with a blank, in others sentences end with two, and an LSTM would learn that instead.

    Args:
        text: the parts, concatenated.
        lengths: (R,) characters of each part, 0 if the speech has none in this part of the split.
        labels: (R,), "" if unknown.
        size: characters of a passage.
    """
    found, begin = [], 0
    for speech, (length, label) in enumerate(zip(lengths, labels, strict=True)):
        part = " ".join(text[begin : begin + length].split()) if label else ""
        begin += length
        for k in range(0, len(part) - size + 1, size):
            found.append((part[k : k + size], label, speech))
    texts, names, speeches = zip(*found, strict=True) if found else ((), (), ())
    return Passages(np.array(texts, object), np.array(names, str), np.array(speeches, int))


def read(saved: Checkpoint, field: str, size: int) -> tuple[Passages, Passages]:
    """Returns passages of the training part and of the held-out part of the run's own text."""
    corpus = cli.corpus(saved.config.data, saved)
    own = cli.own_characters(corpus, saved)
    lengths, labels = zip(*contexts.spans(corpus, field), strict=True)
    split = Split(np.cumsum(lengths), bool(records.key(corpus.documents)))
    parts, _ = split.sections(0, sum(lengths))  # in turn a training part and a held-out part
    train, test = (
        passages(own.vocab.decode(ids), part.tolist(), labels, size)
        for ids, part in ((own.training, parts[::2]), (own.held_out, parts[1::2]))
    )
    other = train.validation()
    if not (len(test.texts) and other.any() and len({*train.labels[~other]}) > 1):
        raise InputError(
            f"expected passages of {size} characters, of two or more values of {field!r}, in both "
            f"parts of {corpus.title}, found fewer; give a smaller --characters or another --field"
        )
    return train, test


def from_scratch(train: Passages, test: Passages, seed: int) -> tuple[str, np.ndarray]:
    """Trains an LSTM; returns its name and the labels (N,) that it predicts."""
    cli.note("loading Keras ...")
    with cli.quiet_stderr():  # TensorFlow prints messages about missing GPUs
        import keras  # here, because a wrong option should be refused at once

        from charlm.layers import LSTM
        from charlm.training.optimizer import Adam
    keras.utils.set_random_seed(seed)
    vocab, names = np.unique([*"".join(train.texts)]), np.unique(train.labels)

    def encode(texts):
        """Returns ids (N, T); an unknown character gets the id of the next one."""
        ids = np.searchsorted(vocab, [[*text] for text in texts])
        return np.minimum(ids, len(vocab) - 1).astype(np.int32)

    ids = keras.Input((None,), dtype="int32")  # (B, T)
    h = LSTM(UNITS, vocab_size=len(vocab), return_sequences=True)(ids)  # (B, T, H)
    found = keras.layers.Dropout(0.3)(keras.layers.GlobalMaxPooling1D()(h))  # (B, H)
    model = keras.Model(ids, keras.layers.Dense(len(names), activation="softmax")(found))
    model.compile(Adam(RATE, global_clipnorm=1.0), "sparse_categorical_crossentropy")
    other = train.validation()
    x, y = encode(train.texts), np.searchsorted(names, train.labels)
    steps = EPOCHS * -(-int((~other).sum()) // BATCH)
    with cli.progress(f"training an LSTM of {UNITS} units", steps) as tell:
        callbacks = [
            keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
            keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tell()),
        ]
        data = x[other], y[other]
        model.fit(x[~other], y[~other], BATCH, EPOCHS, 0, callbacks, validation_data=data)
    p = model.predict(encode(test.texts), batch_size=BATCH, verbose=0)  # (N, C)
    return f"LSTM of {UNITS} units, from scratch", names[p.argmax(axis=-1)]


def mean_states(network: Network, ids: Sequence[np.ndarray]) -> np.ndarray:
    """Reads N passages from a zero state each; returns their mean cell states (N, C)."""
    lengths, letter = np.array([*map(len, ids)]), network.states[-1]  # c, or h without c
    ends, C = np.cumsum(lengths), network.config.layers * network.config.units
    sums = np.zeros((len(ids), C))
    for r in recording.record(network, ids, letter):  # M characters, in any order
        of, row = np.unique(np.searchsorted(ends, r.positions, side="right"), return_inverse=True)
        x = r.values[letter].reshape(len(row), -1)  # (M, C)
        # a product with 0 and 1 is a hundred times as fast as np.add.at
        sums[of] += np.equal.outer(np.arange(len(of)), row).astype(x.dtype) @ x
    return sums / lengths[:, None]


def by_regression(what: str, models: dict[str, Any], x: Any, train: Passages, x_test: Any):
    """Fits the model of the best validation accuracy to all passages; returns a name and labels.

    Args:
        what: the features.
        models: of scikit-learn, by name; each is completed with logistic regression.
        x, x_test: texts (N,), or features (N, F).
        train: the labels and speeches of `x`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    other, found = train.validation(), {}
    with cli.progress(f"logistic regression of {what}", len(models) + 1) as tell:
        for name, (features, C) in models.items():
            model = make_pipeline(features, LogisticRegression(C=C, max_iter=1000))
            model.fit(x[~other], train.labels[~other])
            found[name] = model.score(x[other], train.labels[other]), model
            tell()
        best = max(found, key=lambda name: found[name][0])
        labels = found[best][1].fit(x, train.labels).predict(x_test)
    return f"{what}, logistic regression ({best})", labels


def by_states(saved: Checkpoint, train: Passages, test: Passages) -> tuple[str, np.ndarray]:
    """Classifies by the mean states of a language model, in an unknown context if it has some."""
    from sklearn.preprocessing import StandardScaler

    network, n = saved.in_context(None).to_network(), len(train.texts)
    x = mean_states(network, [saved.vocab.encode(t) for t in (*train.texts, *test.texts)])
    models = {f"C={C:g}": (StandardScaler(), C) for C in (0.001, 0.01, 0.1)}
    return by_regression("mean states", models, x[:n], train, x[n:])


def by_tf_idf(train: Passages, test: Passages) -> tuple[str, np.ndarray]:
    """Classifies by TF-IDF features of words or of characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    models = {
        f"{least} to {most} {of}s": (
            TfidfVectorizer(analyzer=kind, ngram_range=(least, most), min_df=2, sublinear_tf=True),
            10,
        )
        for of, kind, least, most in (("word", "word", 1, 2), ("character", "char_wb", 2, 4))
    }
    return by_regression("TF-IDF", models, train.texts, train, test.texts)


def by_bayes(saved: Checkpoint, test: Passages) -> tuple[str, np.ndarray]:
    """Names the context in which a passage is most probable, all being as probable before."""
    network, names = saved.conditioned_network(), np.array(saved.required_contexts().names)
    ids = [saved.vocab.encode(text) for text in test.texts]
    read_in = [network.read_in(x, c) for x in ids for c in range(1, len(names) + 1)]
    with threadpool_limits(1, "blas"):  # for small products, threads mostly wait for each other
        nats = np.array([x.sum() for x in scoring.stateful_losses(network, read_in)])
    p = by_context.probabilities(nats.reshape(len(ids), -1))  # p(class | passage), (N, C)
    return "Bayes' rule over contexts", names[p.argmax(axis=-1)]


def interval(values: np.ndarray, speeches: np.ndarray, seed: int) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of a mean: whole speeches are drawn, with replacement.

    Args:
        values: (N,), for example 1 for each passage that is classified correctly, else 0.
        speeches: (N,), the speech of each.
        seed: the same seed draws the same speeches.
    """
    _, of = np.unique(speeches, return_inverse=True)
    counts, sums = np.bincount(of), np.bincount(of, values)  # of each of R speeches
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(counts), size=(RESAMPLES, len(counts)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def verdict(right: dict[str, np.ndarray], speeches: np.ndarray, seed: int) -> str:
    """Names the best row of {row: booleans (N,), which passages are right}, and its lead."""
    best, second = sorted(right, key=lambda name: -right[name].mean())[:2]
    lead = right[best].astype(float) - right[second]
    low, high = interval(lead, speeches, seed)
    doubt = "" if low > 0 else "; it is not clear of 0, so other speeches may reverse the order"
    return (
        f"Best: {best}, {right[best].mean():.3f}. Lead over {second}: {lead.mean():.3f}, 95 % "
        f"interval {low:.3f} to {high:.3f}{doubt}."
    )


def draw(title: str, rows: dict, best: str, true: np.ndarray, predicted: np.ndarray) -> bytes:
    """Draws {row: (accuracy, low, high)}, and the best row's confusion matrix, as a PNG."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    left, right = (figure := Figure(figsize=(12, 4), layout="constrained")).subplots(1, 2)
    for k, (accuracy, *bounds) in enumerate(rows.values()):
        left.plot(bounds, [k, k], "|-", c="tab:blue")
        left.plot(accuracy, k, "o", c="tab:blue")
    ticks = [name.replace(", ", ",\n").replace(" (", "\n(") for name in rows]
    left.set_yticks(range(len(rows)), ticks)
    left.invert_yaxis()
    left.set(title=title, xlim=(0, 1), xlabel="accuracy, 95 % interval over speeches")
    of, to = np.unique(true), np.unique([*true, *predicted])
    shares = np.array([[(predicted[true == a] == b).mean() for b in to] for a in of])
    right.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (i, k), share in np.ndenumerate(shares):
        right.text(k, i, f"{share:.2f}", ha="center", va="center", c="w" if share > 0.5 else "k")
    right.set_xticks(range(len(to)), to, rotation=30)
    right.set_yticks(range(len(of)), of)
    right.set(title=best, xlabel="predicted", ylabel="true; each row sums to 1")
    return plots.png(figure)


def _main(argv):
    args = cli.parse(Classify, "classify.py", argv)
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("expected scikit-learn, found none; pip install 'charlm[examples]'")
    _, saved = lookup.read_with_contexts(lookup.RUNS_DIR, args.run)
    train, test = read(saved, args.field, args.characters)
    sample = np.random.default_rng(args.seed).permutation(len(train.texts))[:READ]
    names, counts = np.unique(train.labels, return_counts=True)
    most = names[counts.argmax()]
    methods = {
        "LSTM": (train, lambda train: from_scratch(train, test, args.seed)),
        "states": (train.at(np.sort(sample)), lambda train: by_states(saved, train, test)),
        "Bayes": (None, lambda _: by_bayes(saved, test)),
        "TF-IDF": (train, lambda train: by_tf_idf(train, test)),
        "majority": (train, lambda _: (f"majority class ({most})", np.array([most]))),
    }
    if saved.contexts is None or saved.config.data.context != args.field:
        del methods["Bayes"]
    title = f"{args.field} from {args.characters} characters"
    before, now = (len({*part.speeches}) for part in (train, test))
    print(
        f"{title}: {len(test.texts)} passages of the held-out parts of {now} speeches, which "
        f"{args.run} has not read; {len(names)} classes, training parts of {before} speeches"
    )
    print(f"{'':52} trained on  accuracy  95 % interval  balanced  seconds")
    predicted, right, rows = {}, {}, {}
    for part, method in methods.values():
        began = time.perf_counter()
        name, labels = method(part)
        predicted[name] = np.broadcast_to(labels, len(test.labels))
        right[name] = predicted[name] == test.labels
        recalls = [right[name][test.labels == label].mean() for label in np.unique(test.labels)]
        seconds = time.perf_counter() - began
        rows[name] = right[name].mean(), *interval(right[name], test.speeches, args.seed)
        figures = "{:8.3f}  {:5.3f} to {:5.3f}".format(*rows[name])
        count = f"{len(part.texts):,}" if part else "the run"
        print(
            f"{name:52} {count:>10}  {figures} {np.mean(recalls):9.3f} {seconds:8.1f}", flush=True
        )
    if "Bayes" not in methods:
        print(
            f"No row for Bayes' rule: {args.run} was trained without --context {args.field}. Train "
            f"one: charlm train --preset quick --context {args.field} --name NAME; then --run NAME"
        )
    (of, counts), N = np.unique(test.labels, return_counts=True), len(test.labels)
    print(
        f"Most frequent among these passages, unknown to all rows: {of[counts.argmax()]}, "
        f"{counts.max() / N:.3f}. Balanced accuracy is the mean of the classes' recalls."
    )
    print(verdict(right, test.speeches, args.seed))
    best = max(right, key=lambda name: right[name].mean())
    Path(args.output).write_bytes(draw(title, rows, best, test.labels, predicted[best]))
    print(args.output)


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    return cli.run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
