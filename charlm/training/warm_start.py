"""A trained model as the beginning of another, on another text."""

import numpy as np

from charlm.reference.network import DENSE, initial_weights, layer_path, shapes
from charlm.runs.checkpoint import Checkpoint, Progress
from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab


def warm_start(saved: Checkpoint, text: Text, seed: int) -> Checkpoint:
    """A run on `text` that begins with the weights of `saved`, its optimizer anew.

    The vocabulary is that of both. What belongs to a character, a row of the first kernel, a column
    of the logits' kernel and a bias, stays as it was where the model knew it, and is drawn as in a
    new model where it did not. A new character's bias is the lowest of those that were: the model
    has learned of nothing that is rarer.

    Args:
        seed: of the new rows.
    """
    characters = {*saved.vocab.characters, *text.vocab.characters}
    vocab = Vocab("".join(sorted(characters)))
    config, V = saved.config.model, len(vocab)
    old = {path: saved.weights[path] for path in shapes(config, len(saved.vocab))}
    new = initial_weights(config, V, np.random.default_rng(seed))
    kept = vocab.encode(saved.vocab.characters)
    first, kernel, bias = f"{layer_path(config, 0)}/0", f"{DENSE}/0", f"{DENSE}/1"
    weights = old | {path: new[path] for path in (first, kernel, bias)}
    weights[bias][:] = old[bias].min()
    for path in (first, bias):
        weights[path][kept] = old[path]
    weights[kernel][:, kept] = old[kernel]
    before = [*saved.learned_before, saved.corpus_sha256]
    return Checkpoint(
        saved.config, vocab, text.sha256, Progress(), weights, [], [], {}, learned_before=before
    )


def describe(saved: Checkpoint, text: Text) -> str:
    """What becomes of the vocabulary, in words."""
    before, now = set(saved.vocab.characters), set(text.vocab.characters)
    new = sorted(now - before)
    added = f"{len(new)} new"
    if new:
        shown = "".join(new[:SHOWN])
        added += f" ({shown!r}{' and more' if len(new) > SHOWN else ''})"
    return f"{len(before)} characters kept, {len(before - now)} of which this text has not; {added}"


SHOWN = 20  # new characters
