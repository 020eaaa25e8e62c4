"""Reads parts of the description in a weights file, which may be a stranger's.

Functions raise InputError, or any exception if the description lacks a part.
"""

from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.text import tokens, units
from charlm.text.contexts import MAX_CONTEXTS, KnownContexts
from charlm.text.vocab import Vocab
from corpora.contexts import is_name


def vocabulary(meta: dict, data: DataConfig) -> Vocab:
    """Returns the vocabulary; refuses one that the format or the settings contradict."""
    vocab = tokens.from_stored(meta["vocabulary"])
    of_tokens = isinstance(vocab, tokens.TokenVocab)
    if isinstance(vocab, tokens.TokenVocab) and vocab.separator != data.separator:
        raise InputError(
            f"expected tokens of records that end with {data.separator!r}, found some of "
            f"{vocab.separator!r:.40}"
        )
    if units.parse(data.tokens) != units.parse(vocab.setting):
        raise InputError(f"expected a vocabulary of --tokens {data.tokens}, found another one")
    if (of_tokens or "contexts" in meta) != (meta["format"] > 3):
        raise InputError(
            f"expected format 4 for tokens or contexts, found format {meta['format']}; the file is "
            "damaged"
        )
    return vocab


def contexts(meta: dict, data: DataConfig) -> KnownContexts | None:
    """Returns `Checkpoint.contexts`; refuses other contexts than training makes."""
    stored = meta.get("contexts")
    if (stored is None) != (data.context is None):
        raise InputError(f"expected contexts of --context {data.context}, found others")
    if stored is None:
        return None
    names, sha256 = stored["names"], stored["sha256"]
    if not all(isinstance(x, str) and is_name(x) for x in [*names, sha256]):
        raise InputError("expected names of contexts, found something else")
    if sorted({*names}) != names or not 2 <= len(names) <= MAX_CONTEXTS:
        raise InputError(f"expected 2 to {MAX_CONTEXTS} contexts in order, found others")
    counts = stored.get("counts", [])  # absent from files of earlier versions
    if counts and not (
        len(counts) == len(names) and all(type(n) is int and 0 < n < 2**53 for n in counts)
    ):
        raise InputError("expected a number of texts for each context, found something else")
    return KnownContexts(tuple(names), sha256, tuple(counts))


def learned_before(meta: dict) -> list[str]:
    """Returns `Checkpoint.learned_before`; refuses a description that lacks texts."""
    before = meta.get("learned_before", [])  # absent from files of earlier versions
    texts = [meta["corpus_sha256"], *before, *meta["versions"], *meta["versions"].values()]
    if not (isinstance(before, list) and all(isinstance(x, str) for x in texts)):
        raise InputError("expected texts for the corpus and versions, found something else")
    return before
