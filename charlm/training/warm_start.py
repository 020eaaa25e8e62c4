"""Starts a new run on another text from the weights of a trained model (fine-tuning)."""

import numpy as np

from charlm.reference.network import DENSE, initial_weights, layer_path, shapes
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encoded_text import Text
from charlm.text.tokens import TokenVocab
from charlm.text.vocab import Vocab


def warm_start(saved: Checkpoint, text: Text, seed: int) -> Checkpoint:
    """Returns a run on `text` with the weights of `saved` and no optimizer state.

    The vocabulary is the union of both. A character has a row in the first kernel, a column in the
    output kernel and an output bias. Known characters keep them; those of new characters are
    initialized as in a new model, except that the bias is the lowest of the known ones, since the
    model has learned of no rarer character. A vocabulary of tokens does not change.

    Args:
        saved: the trained run, without contexts.
        text: the text of the new run; in tokens of `saved`, if that has tokens.
        seed: random seed of the new rows and columns.
    """
    config, before = saved.config.model, [*saved.learned_before, saved.corpus_sha256]
    weights = {path: saved.weights[path] for path in shapes(config, len(saved.vocab))}
    vocab = text.vocab
    if not isinstance(vocab, TokenVocab):  # whose ids every text has
        vocab = Vocab("".join(sorted({*saved.vocab.characters, *text.vocab.characters})))
        weights = _with_new(weights, config, saved.vocab, vocab, seed)
    contexts = text.known_contexts
    if contexts:  # whose rows are zero, as in a new model
        first = f"{layer_path(config, 0)}/0"
        rows = np.zeros((len(contexts.names), weights[first].shape[1]), np.float32)
        weights = weights | {first: np.concatenate([weights[first], rows])}
    return Checkpoint(
        saved.config, vocab, text.sha256, Progress(), weights, [], [], {}, learned_before=before,
        contexts=contexts,
    )  # fmt: skip


def _with_new(old, config, known, vocab, seed):
    """Returns weights for the characters of `vocab` from those for the characters of `known`."""
    V = len(vocab)
    new = initial_weights(config, V, np.random.default_rng(seed))
    kept = vocab.encode(known.characters)
    first, kernel, bias = f"{layer_path(config, 0)}/0", f"{DENSE}/0", f"{DENSE}/1"
    weights = old | {path: new[path] for path in (first, kernel, bias)}
    weights[bias][:] = old[bias].min()
    for path in (first, bias):
        weights[path][kept] = old[path]
    weights[kernel][:, kept] = old[kernel]
    return weights


def describe(saved: Checkpoint, text: Text) -> str:
    """Describes how the vocabulary changes."""
    if isinstance(saved.vocab, TokenVocab):
        return f"its {saved.vocab} kept"
    before, now = set(saved.vocab.characters), set(text.vocab.characters)
    new = sorted(now - before)
    added = f"{len(new)} new"
    if new:
        shown = "".join(new[:SHOWN])
        added += f" ({shown!r}{' and more' if len(new) > SHOWN else ''})"
    return f"{len(before)} characters kept, {len(before - now)} of them not in this text; {added}"


SHOWN = 20  # new characters
