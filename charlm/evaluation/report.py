"""The measurements of `charlm evaluate`: as plain data for JSON, and as tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from charlm.evaluation import losses as scoring
from charlm.evaluation import novelty, written_form
from charlm.evaluation.documents import parts
from charlm.evaluation.ngram import NGram
from charlm.evaluation.written_form import WrittenForm
from charlm.notes import note, progress
from charlm.reference.contexts import ConditionedNetwork
from charlm.reference.network import Network
from charlm.text.encoded_text import characters_in
from charlm.text.ids import Ids
from charlm.text.vocab import Vocab
from corpora import Corpus
from corpora.records import Records

MAX_WINDOWS = 4096  # windows from a zero state, spread evenly over the text
SHOWN = 12  # documents in the table; the JSON has all
CARRIED, DYNAMIC = "state carried", "dynamic evaluation"
UNKNOWN = "contexts unknown"
KEYS = {CARRIED: "bits", DYNAMIC: "dynamic_bits", UNKNOWN: "unknown_bits"}  # in the JSON
MEASURED = "text that was measured"
TEXTS, LENGTH = 20, 2000  # samples at each temperature, and characters in each
MAX_COPY = 200  # characters of a copy in the table; the JSON has all


def measure(
    network: Network,
    vocab: Vocab,
    names: Sequence[str | None],
    documents: Sequence[Ids],
    training: Ids | None,
    *,
    window: int,
    order: int,
    passages: int,
    dynamic: Ids | None,
    characters: Vocab | None = None,
    contexts: Sequence[np.ndarray] | None = None,
) -> dict:
    """Measures a model and simpler models on the same documents, in bits per character.

    Args:
        network: the model.
        vocab: its vocabulary.
        names: one for each document, or None.
        documents: arrays (n,) of ids.
        training: the run's training text in ids of characters; None leaves out the n-gram models.
        window: characters in a window from a zero state.
        order: n of the n-gram model.
        passages: number of hardest passages to report.
        dynamic: the training text in ids of the model, to measure with dynamic evaluation, too.
        characters: the vocabulary of `training`, if the model's is of tokens.
        contexts: the context in which each id of each document is read, if the model has contexts.
    """
    read = documents
    if isinstance(network, ConditionedNetwork) and contexts is not None:
        read = [network.read_in(d, c) for d, c in zip(documents, contexts, strict=True)]
    losses = {CARRIED: scoring.stateful_losses(network, read)}
    if contexts is not None:
        losses[UNKNOWN] = scoring.stateful_losses(network, documents)
    if dynamic is not None:
        adapting = scoring.DynamicEvaluation(network, dynamic)
        size = sum(map(len, documents))
        with progress("measuring with dynamic evaluation", size) as tell:
            losses[DYNAMIC] = [adapting.losses(d, tell) for d in documents]
    losses = {
        how: [scoring.by_character(x, d, vocab.lengths) for x, d in zip(xs, documents, strict=True)]
        for how, xs in losses.items()
    }
    firsts = [int(vocab.lengths[d[0]]) for d in documents]
    texts = [vocab.decode(d) for d in documents]
    known = characters or vocab
    models = {f"uniform over {len(known)} characters": float(np.log2(len(known)))}
    spelled = [known.encode(x) for x in texts] if characters else documents
    models |= _ngram_bits(training, len(known), order, spelled)
    models |= _zero_state_bits(network, documents, read, window, vocab)
    models |= {f"this model, {name}": scoring.bits(x) for name, x in losses.items()}
    return {
        "characters": sum(map(len, losses[CARRIED])),
        "tokens": sum(len(d) - 1 for d in documents),
        "words": sum(len(x.split()) for x in texts),
        "models": models,
        "by_position": _columns(losses, lambda x: scoring.by_position(x, firsts)),
        "documents": [
            {"name": name, "begins": text[:40], "characters": len(losses[CARRIED][k])}
            | {KEYS[how]: scoring.bits([x[k]]) for how, x in losses.items()}
            for k, (name, text) in enumerate(zip(names, texts, strict=True))
        ],
        "hardest": [
            {"document": k + 1, "at": at, "bits": bits,
             "text": texts[k][at : at + scoring.PASSAGE]}
            for k, at, bits in scoring.hardest(losses[CARRIED], passages, firsts)
        ],
    }  # fmt: skip


def _ngram_bits(training, V, order, documents):
    """Returns {name: bits} of the unigram and the n-gram model of the training text."""
    if training is None:
        return {}
    with progress(f"counting {order}-grams of {len(training):,} characters"):
        gram = NGram(training, V, order)
        return {
            "unigram" if n == 1 else f"{n}-gram": scoring.bits(
                [gram.losses(d, n) for d in documents]
            )
            for n in sorted({1, gram.order})
        }


def _zero_state_bits(network, documents, read, window, vocab):
    """Returns {name: bits} of windows from a zero state; empty if no document is long enough."""
    per_token = sum(characters_in(d, vocab) for d in documents) / sum(map(len, documents))
    n = max(1, round(window / per_token))
    cold = scoring.zero_state_losses(network, read, n, MAX_WINDOWS)
    if len(cold):
        windows = scoring.windows(documents, n, MAX_WINDOWS)
        parts = [scoring.by_character(x, ids, vocab.lengths)
                 for x, ids in zip(cold, windows, strict=True)]  # fmt: skip
        return {f"this model, cold windows of {window}": scoring.bits(parts)}
    note(f"NOTE: no cold windows, because no document has more than {window} characters")
    return {}


def _columns(losses, rows_of):
    """Merges the rows of both ways to measure: "bits" of each becomes a key from `KEYS`."""
    tables = {KEYS[how]: rows_of(x) for how, x in losses.items()}
    return [
        rows[0] | {key: row["bits"] for key, row in zip(tables, rows, strict=True)}
        for rows in zip(*tables.values(), strict=True)
    ]


def measure_samples(
    vocab: Vocab,
    corpus: Corpus,
    training: Ids,
    documents: Sequence[Ids],
    samples: Iterable[tuple[float, Sequence[str]]],
    form: str | None = None,
) -> list[dict]:
    """Measures how much of the samples is copied from the training text, and their written form.

    Args:
        vocab: the vocabulary of the ids, of characters.
        corpus: the run's own text, in which copies are located.
        training: ids of the training text.
        documents: the ids that were measured; stretches of them are measured for comparison.
        samples: (temperature, texts).
        form: python, json, abc or brackets; None to leave it out.

    Returns:
        A row for the stretches, and one for each temperature.
    """
    with progress(f"indexing {len(training):,} characters of training text"):
        known = novelty.TrainingTextIndex(training, vocab.decode(training))
    stretches = [d[k : k + LENGTH] for d in documents for k in range(0, len(d), LENGTH)]
    chosen = np.linspace(0, len(stretches) - 1, min(TEXTS, len(stretches))).astype(int)
    rows: list[tuple[str | float, list[np.ndarray]]] = [(MEASURED, [stretches[k] for k in chosen])]
    rows += [(t, [vocab.encode(text) for text in texts]) for t, texts in samples]
    if form is not None:
        form = written_form.kind_for(form, (vocab.decode(ids) for ids in rows[0][1]))
    # records that are trained on and held out take turns in a text, so a place would say nothing
    of_records = isinstance(corpus.documents[0], Records)
    trained = [] if of_records else [(d, cut) for d, _, cut in parts(corpus) if cut]
    with progress("comparing samples with the training text", len(rows)) as tell:
        return [_copies(vocab, known, trained, form, tell, *row) for row in rows]


def _copies(vocab, known, trained, form, tell, what, texts):
    """Returns a row of `measure_samples`."""
    copy = vocab.decode(known.longest_copy(texts))
    places = ((d.name, d.pieces(), cut) for d, cut in trained)
    where, place = novelty.source(places, copy) or (None, None)
    written = [vocab.decode(ids) for ids in texts]
    parsed = {} if form is None else {"parses": asdict(written_form.measured(form, written))}
    tell()
    return parsed | {
        "of": what, "characters": sum(map(len, texts)),
        "new": {n: known.novel_ngram_share(texts, n) for n in novelty.LENGTHS},
        "repeated": novelty.self_repetition(texts),
        "known_words": known.known_words(written),
        "longest_copy": {"text": copy, "source": where, "at": place},
    }  # fmt: skip


def tables(report: Mapping, visible: Callable[[str], str]) -> list[str]:
    """Returns the lines of all tables.

    Args:
        report: what `measure` returned, with the rows of `measure_samples` as "samples", if any.
        visible: escapes control characters in text from documents, if the output needs it.
    """
    width = max(map(len, report["models"]))
    units = {"character": "characters", "word": "words"}
    if report["tokens"] != report["characters"]:
        units["token"] = "tokens"
    lines = [f"{'':{width}}             perplexity per", f"{'':{width}}  bits/char"]
    lines[1] += "".join(f"  {unit:>10}" for unit in units)
    for name, bits in report["models"].items():
        line = f"{name:{width}}  {bits:9.4f}"
        for count in units.values():
            line += f"  {scoring.perplexity(bits, report['characters'], report[count]):>10}"
        lines.append(line)
    if "token" in units:
        lines.append(
            "the bits of a token are spread over its characters; they are upper bounds, because "
            "other tokens of the same text have probability, too"
        )
    keys = [key for key in KEYS.values() if key in report["documents"][0]]
    titles = ", ".join(f"bits with {how}" for how, key in KEYS.items() if key in keys)
    lines.append(f"\nby number of characters read before: {titles}")
    for row in report["by_position"]:
        lines.append(f"  {row['from']:>9,} to {row['to']:>9,}  {_bits(row, keys)}")
    lines.append(f"\nby document: characters, {titles}")
    shown = report["documents"][:SHOWN]
    for k, row in enumerate(shown, 1):
        line = row["name"] or " ".join(row["begins"].split())
        lines.append(f"  {k:>3}  {row['characters']:>9,}  {_bits(row, keys)}  {visible(line)}")
    if len(shown) < len(report["documents"]):
        lines.append(f"  and {len(report['documents']) - len(shown)} more in the JSON")
    for row in report["hardest"]:
        at, bits = row["at"], row["bits"]
        lines.append(f"\nhardest: document {row['document']}, character {at:,}, {bits:.2f}")
        lines.append(f"  {visible(' '.join(row['text'].split()))}")
    return lines + _sample_tables(report.get("samples", []), visible)


def _bits(row, keys):
    return "  ".join(f"{row[key]:7.4f}" for key in keys)


def _sample_tables(rows, visible):
    if not rows:
        return []
    titles = [f"new {n}-grams" for n in novelty.LENGTHS]
    lines = [
        f"\nsamples, {TEXTS} of {LENGTH:,} characters at each temperature, shares in %",
        f"{'temperature':22}  characters  {'  '.join(titles)}  repeated  known words",
    ]
    for row in rows:
        shares = "  ".join(
            f"{_percent(x):>{len(t)}}" for x, t in zip(row["new"].values(), titles, strict=True)
        )
        rest = f"{_percent(row['repeated']):>8}  {_percent(row['known_words']):>11}"
        lines.append(f"{row['of']!s:22}  {row['characters']:>10,}  {shares}  {rest}")
    lines.append(f"repeated: runs of {novelty.RUN} characters that occurred earlier in the sample")
    lines.append("longest copy of the training text, in characters")
    for row in rows:
        copy = row["longest_copy"]
        text = " ".join(copy["text"][:MAX_COPY].split())
        where = f"in {copy['source']} at {copy['at']:,}" if copy["source"] else "in no one document"
        size = len(copy["text"])
        lines.append(f"{row['of']!s:22}  {size:>10,}  {visible(f'{text} ({where})')}")
    if "parses" in rows[0]:
        kind = rows[0]["parses"]["kind"]
        lines.append(f"written form: {written_form.FORMS[kind].title}, in %")
    for row in rows:
        if found := row.get("parses"):
            share = WrittenForm(**found).share
            lines.append(f"{row['of']!s:22}  {_percent(share):>10}  of {found['pieces']:,}")
    return lines


def _percent(share):
    return "-" if share is None else f"{100 * share:.1f}"
