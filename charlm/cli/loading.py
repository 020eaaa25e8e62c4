"""The text that a command or a run names, found and encoded."""

from dataclasses import replace
from typing import Literal

import numpy as np

import corpora
from charlm.cli.terminal import note_terminal
from charlm.config import NO_TEXT, DataConfig
from charlm.errors import InputError
from charlm.notes import note
from charlm.runs.checkpoint import Checkpoint
from charlm.text.encode import Text, fingerprint, read
from corpora import Corpus, CorpusError, CorpusNotFound


def corpus(data: DataConfig, saved: Checkpoint | None = None, again: str = "") -> Corpus:
    """The text that the settings name; if they name none, that of a saved run.

    Without either it is the default corpus, or Python's documentation where that is missing.

    Args:
        saved: the run.
        again: the command that was given, in case it has to be given again with --corpus.

    Raises:
        InputError: the run's text is not where its weights file says, or it has none.
        CorpusError: there is no text, or it cannot be read.
    """
    if data.corpus is None and saved is not None:
        return _stored_corpus(replace(data, corpus=saved.config.data.corpus), again)
    if data.corpus == "-":
        note_terminal()
    try:
        return corpora.load(corpora.DEFAULT if data.corpus is None else data.corpus, data.encoding)
    except CorpusNotFound as error:
        if data.corpus is not None:
            raise
        note(
            f"NOTE: no State of the Union corpus, so this reads {corpora.FALLBACK!r} instead "
            f"({error})"
        )
        return corpora.load(corpora.FALLBACK)


def _stored_corpus(data, again):
    """The text that a weights file names. It may be a stranger's file, so not all is opened."""
    if data.corpus is None:
        return corpus(data)
    if data.corpus == NO_TEXT:
        raise InputError(
            "expected the name of a text, found '', which names none; a run that was imported "
            "without a text is trained on with --init-from RUN --corpus FILE, and measured with "
            "--corpus FILE alone"
        )
    if data.corpus == "-":
        advice = f"; pipe it in again: cat FILE | {again} --corpus -" if again else ""
        raise InputError(f"expected the run's text, found that it came from standard input{advice}")
    try:
        return corpora.load_stored(data.corpus, data.encoding)
    except CorpusError as error:
        raise InputError(
            f"expected the run's text where its weights file says, found: {error}; give --corpus "
            "if it lies elsewhere or is several files"
        ) from error


def text(corpus: Corpus) -> Text:
    """A corpus as ids. What takes long is told on standard error.

    Raises:
        InputError: it has but one distinct character.
        CorpusError, OSError: see `charlm.text.encode.read`.
    """
    found = read(corpus, note)
    if len(found.vocab) < 2:
        raise InputError(
            f"expected at least 2 distinct characters in the corpus, found {len(found.vocab)} "
            f"({found.vocab.characters!r}); there is nothing to predict"
        )
    return found


def documents(
    corpus: Corpus, saved: Checkpoint, unknown: Literal["refuse", "skip"]
) -> list[tuple[str, np.ndarray]]:
    """(name, ids of a model's vocabulary) of each document, all in memory.

    Says what is skipped, and whether it is the text that the model was trained on.

    Raises:
        InputError: a character that the model does not know, unless they are to be skipped.
    """
    texts = [(d.name, "".join(d.pieces())) for d in corpus.documents]
    found, skipped = [], 0
    for name, text in texts:
        known = saved.vocab.known(text) if unknown == "skip" else text
        skipped += len(text) - len(known)
        try:
            found.append((name, saved.vocab.encode(known, saved.vocab.dtype)))
        except InputError as error:
            raise InputError(
                f"{corpora.title(name)}: {error}; give --unknown skip to leave such out"
            ) from None
    if skipped:
        total = sum(len(text) for _, text in texts)
        note(f"NOTE: left out {skipped:,} of {total:,} characters, which the model does not know")
    learned_from = saved.corpus_sha256, *saved.learned_before
    if fingerprint(text for _, text in texts) in learned_from:
        note(
            f"NOTE: the run was trained on most of {corpus.title}, so these figures say how well "
            "it remembers; charlm evaluate without --corpus measures on what was held out"
        )
    return found
