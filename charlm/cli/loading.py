"""Finds and encodes the text that a command or a run names."""

from dataclasses import replace
from typing import Literal

import numpy as np

import corpora
from charlm.cli.terminal import note_terminal
from charlm.config import NO_TEXT, DataConfig
from charlm.errors import InputError, flag
from charlm.notes import DETAILS, detail, note
from charlm.runs.checkpoint import Checkpoint
from charlm.text import contexts, shards
from charlm.text.encode import fingerprint, read
from charlm.text.encoded_text import Text, check_can_learn
from charlm.text.vocab import UnknownCharacterError
from charlm.training.resume import check_same_contexts
from corpora import Corpus, CorpusError, CorpusNotFound, records, tables, tunes


def corpus(data: DataConfig, saved: Checkpoint | None = None, again: str = "") -> Corpus:
    """Returns the text that the settings name or, if they name none, the text of a saved run.

    Without either it is the default corpus, or Python's documentation if the corpus is missing.

    Args:
        data: the settings.
        saved: the run.
        again: the command line, for a message that asks to repeat it with --corpus.

    Raises:
        InputError: the run's text is not where its weights file says, or the run has none.
        CorpusError: there is no text, or it cannot be read.
    """
    return read_as(data, _whole(data, saved, again))


def read_as(data: DataConfig, corpus: Corpus) -> Corpus:
    """Returns a corpus as the settings say to read it.

    Raises:
        InputError: it is encoded, and was encoded otherwise.
    """
    if corpus.encoded:
        form = shards.read_index(corpus.encoded).normalize
        for name in ("records", "column", "abc_fields", "context"):
            if getattr(data, name) is not None:
                raise InputError(
                    f"cannot use {flag(name)} with {corpus.title}, an encoded text (made by charlm "
                    "encode); name the original files"
                )
        if data.normalize != form:
            raise InputError(
                f"expected a text encoded with --normalize {data.normalize}, found {corpus.title}, "
                f"encoded with --normalize {form}; train a new run with --normalize {form}, or "
                "encode the text into another folder"
            )
        return corpus
    corpus = tunes.of_corpus(corpus, data.abc_fields)
    return records.of_corpus(corpus, data.record_ends, data.column, data.normalize)


def _whole(data, saved, again):
    """Returns the text without regard to how it is split and read."""
    if data.corpus is None and saved is not None:
        return _stored_corpus(replace(data, corpus=saved.config.data.corpus), again)
    return _named_corpus(data)


def other_corpus(name: str, encoding: str, saved: Checkpoint) -> Corpus:
    """Returns a text to measure a run on, read as the run's own text was. See `corpus`."""
    data = replace(saved.config.data, corpus=name, encoding=encoding)
    found = _named_corpus(data)
    if found.encoded:
        raise InputError(
            f"expected a text, found {name}, an encoded text (made by charlm encode); name the "
            "original files"
        )
    if data.column is not None and not tables.has_column(found, data.column):
        data = replace(data, column=None, records=data.separator)  # it is not a table
    if data.abc_fields is not None and not tunes.has_tunes(found):
        data = replace(data, abc_fields=None, records="blank")  # tunes without numbers, as trained
    return read_as(data, found)


def _named_corpus(data):
    if data.corpus == "-":
        note_terminal()
    try:
        return corpora.load(corpora.DEFAULT if data.corpus is None else data.corpus, data.encoding)
    except CorpusNotFound as error:
        if data.corpus is not None:
            raise
        note(
            "NOTE: the State of the Union corpus is missing and cannot be downloaded; reading "
            f"{corpora.FALLBACK!r}, Python's documentation, instead{DETAILS}"
        )
        detail("\n".join(getattr(error, "__notes__", [])))
        return corpora.load(corpora.FALLBACK)


def _stored_corpus(data, again):
    """Returns the text that a weights file names; the file is untrusted, so not all is opened."""
    if data.corpus is None:
        return _whole(data, None, again)
    if data.corpus == NO_TEXT:
        raise InputError(
            "cannot find the run's text: it was imported without one; name a text with --corpus "
            "FILE, or train a new run from its weights with --init-from RUN --corpus FILE"
        )
    if data.corpus == "-":
        advice = f"; pipe it in again: cat FILE | {again} --corpus -" if again else ""
        raise InputError(f"cannot read the run's text: it came from standard input{advice}")
    try:
        return corpora.load_stored(data.corpus, data.encoding)
    except CorpusError as error:
        raise InputError(
            f"cannot read the run's text where its weights file says: {error}; name it with "
            "--corpus if it is elsewhere or is several files"
        ) from error


def text(corpus: Corpus, context: str | None = None) -> Text:
    """Encodes a corpus as ids, reporting long steps on standard error.

    Args:
        corpus: the text.
        context: the field of its documents or records that a model is conditioned on.

    Raises:
        InputError: it has fewer than two distinct characters, or only blanks; or no such context.
        CorpusError, OSError: see `charlm.text.encode.read`.
    """
    found = read(corpus, note)
    check_can_learn(found.vocab, corpus)
    note_reading(corpus)
    if context is None:
        return found
    return replace(found, contexts=contexts.read(corpus, context))


def own_text(corpus: Corpus, saved: Checkpoint) -> Text:
    """Encodes the text that a run was trained on, as ids of the run.

    Raises:
        InputError: it is another text.
    """
    return own_characters(corpus, saved).translated(saved.vocab)


def own_characters(corpus: Corpus, saved: Checkpoint) -> Text:
    """Encodes the text that a run was trained on in characters, even if the run has tokens.

    Raises:
        InputError: it is another text.
    """
    own = text(corpus, saved.config.data.context)
    if own.sha256 != saved.corpus_sha256:
        raise InputError(
            f"expected the text that the run was trained on (sha256 {saved.corpus_sha256[:12]}), "
            f"found another ({own.sha256[:12]}) in {corpus.title}; if the text is elsewhere, name "
            "it with --corpus"
        )
    check_same_contexts(saved, own)
    note_overlap(own)
    return own if saved.vocab.texts else own.translated(saved.vocab)


def note_overlap(text: Text) -> None:
    """Reports what makes the held-out part of a text an unfair measure, on standard error."""
    for line in text.overlap.notes(len(text.held_out_lengths), text.held_out_characters):
        note(line)


def note_reading(corpus: Corpus) -> None:
    """Reports how a corpus was read; byte order marks within documents are known only then."""
    for line in corpus.notes:
        note(line)
    if marks := corpus.marks:
        first, count = next(iter(marks)), sum(marks.values())
        more = f" and {len(marks) - 1:,} more" if len(marks) > 1 else ""
        note(
            f"NOTE: removed {count:,} byte order mark{'s' * (count > 1)} within {first}{more}, "
            "which joining files leaves there"
        )


def documents(
    corpus: Corpus, saved: Checkpoint, unknown: Literal["refuse", "skip"]
) -> list[tuple[str, np.ndarray]]:
    """Returns (name, ids of a model's vocabulary) of each document, all in memory.

    Reports how many characters are skipped, and whether the model was trained on this text.

    Args:
        corpus: the text.
        saved: the run.
        unknown: refuse or skip characters that are not in the run's vocabulary.

    Raises:
        InputError: a character is unknown, and `unknown` is "refuse".
    """
    texts = [(d.name, "".join(d.pieces())) for d in corpus.documents]
    found, skipped = [], 0
    for name, text in texts:
        known = saved.vocab.known(text) if unknown == "skip" else text
        skipped += len(text) - len(known)
        try:
            found.append((name, saved.vocab.encode(known, saved.vocab.dtype)))
        except UnknownCharacterError as error:
            raise InputError(
                f"{corpora.title(name)}: {error}; --unknown skip leaves such characters out"
            ) from None
    note_reading(corpus)
    if skipped:
        total = sum(len(text) for _, text in texts)
        note(f"NOTE: left out {skipped:,} of {total:,} characters, which are not in the vocabulary")
    learned_from = saved.corpus_sha256, *saved.learned_before
    if fingerprint(text for _, text in texts) in learned_from:
        note(
            f"NOTE: the run was trained on most of {corpus.title}, so these figures are of "
            "training text; charlm evaluate without --corpus measures on held-out text"
        )
    return found
