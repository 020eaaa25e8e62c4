"""Splits texts into tokens with Hugging Face's `tokenizers`, and finds which tokens a text needs.

A token is named by characters that stand for its bytes, see `NAMES`.
"""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import regex

from charlm.errors import InputError
from charlm.text.units import BYTES, Kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKEN = 1000  # bytes
BLOCK = 2**14  # characters that are split by one thread
# where a text may be cut without changing its tokens, because none has a blank after another sign
CUT = regex.compile(r"(?<=\S)(?=\s)")
# A word with the blank before it; digits; other signs; blanks. Every repetition is bounded: looking
# for the words in a run of n signs takes n^2 steps.
WORD = (
    r" ?[\p{L}\p{M}]{1,40}(?:['’][\p{L}\p{M}]{1,20})?| ?\p{N}{1,20}"
    r"| ?[^\s\p{L}\p{M}\p{N}]{1,20}|\s{1,20}(?!\S)|\s"
)


def byte_names() -> str:
    """Returns the characters that stand for the bytes 0 to 255 in the names of tokens.

    They are those of GPT-2: a printable character of Latin-1 stands for itself, and the others are
    numbered from U+0100 on, so that a name has no blanks.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return "".join(chr(b if b in printable else next(others)) for b in range(BYTES))


NAMES = byte_names()


def tokenizer(
    kind: Kind, names: Sequence[str], merges: Sequence[tuple[int, int]], separator: str | None
) -> "Tokenizer":
    """Returns a tokenizer of Hugging Face's library. Args: see `charlm.text.tokens.TokenVocab`.

    Raises:
        InputError: the library is not installed.
    """
    library = _library()
    ids = {name: k for k, name in enumerate(names)}
    if kind == "bpe":
        model = library.models.BPE(ids, [(names[left], names[right]) for left, right in merges])
    else:
        # no word is unknown, because all bytes are tokens, but the library wants a name for it
        model = library.models.WordPiece(
            ids, unk_token=NAMES[0], max_input_chars_per_word=MAX_TOKEN,
            continuing_subword_prefix="",
        )  # fmt: skip
    return _split_by(kind, separator, library.Tokenizer(model))


def encode(tokenizer: "Tokenizer", text: str, separator: str | None) -> Iterator[int]:
    """Yields the ids of a text's tokens; the blocks of a long text are split in parallel."""
    found = tokenizer.encode_batch_fast(list(blocks(text, separator)), add_special_tokens=False)
    return itertools.chain.from_iterable(x.ids for x in found)


def blocks(text: str, separator: str | None = None) -> Iterator[str]:
    """Cuts a text into blocks of `BLOCK` characters or a little more, whose tokens are the text's.

    A stretch of `BLOCK` characters without a blank is cut all the same.

    Args:
        text: the text.
        separator: text that ends a record, which is not cut.
    """
    begin, end_of_record = 0, separator or ""
    n = len(end_of_record)
    while begin < len(text):
        places = (x.start() for x in CUT.finditer(text, begin + BLOCK, begin + 2 * BLOCK))
        whole = (k for k in places if not n or end_of_record not in text[k - n + 1 : k + n - 1])
        end = next(whole, begin + 2 * BLOCK)
        yield text[begin:end]
        begin = end


def learn(
    kind: Kind, count: int, texts: Iterable[str], separator: str | None
) -> tuple[list[str], list[tuple[int, int]]]:
    """Finds the tokens that a text needs.

    Args:
        kind: "bpe" or "words".
        count: "bpe": number of tokens, the 256 bytes among them. "words": number of words, with the
            blanks before them, and of runs of other signs, in addition to the 256 bytes.
        texts: the text, in parts that end where `blocks` may end.
        separator: text that ends a record; no token reaches over its ends.

    Returns:
        The names and merges of a `charlm.text.tokens.TokenVocab`.

    Raises:
        InputError: the texts have fewer tokens, or the library is not installed.
    """
    library, own = _library(), BYTES * (kind == "words")
    options = {"vocab_size": count + own, "min_frequency": 2, "show_progress": False}
    if kind == "bpe":
        learner = library.Tokenizer(library.models.BPE())
        trainer = library.trainers.BpeTrainer(
            initial_alphabet=list(NAMES),
            limit_alphabet=BYTES,
            max_token_length=MAX_TOKEN,
            **options,
        )
    else:
        learner = library.Tokenizer(library.models.WordLevel())
        trainer = library.trainers.WordLevelTrainer(**options)
    _split_by(kind, separator, learner).train_from_iterator(texts, trainer)
    found = sorted(learner.get_vocab(), key=learner.token_to_id)
    names = [*NAMES, *(name for name in found if len(name) > 1)]
    if len(names) < count + own:
        raise InputError(
            f"expected --tokens {kind}:N with N at most {len(names) - own:,}, because no more "
            f"occur twice in this text, found {kind}:{count}"
        )
    names = names[: count + own]
    ids = {name: k for k, name in enumerate(names)}
    merges = json.loads(learner.to_str())["model"].get("merges", [])
    return names, [(ids[left], ids[right]) for left, right in merges]


def _library():
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # or it warns when a process is forked
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            "cannot split text into tokens: the package tokenizers is not installed; "
            "pip install 'charlm[tokens]'"
        ) from None
    return tokenizers


def _split_by(kind, separator, tokenizer):
    """Sets how a text is split into the parts within which tokens are found."""
    library = _library()
    split = library.pre_tokenizers
    steps = [split.ByteLevel(add_prefix_space=False, use_regex=kind == "bpe")]
    if kind == "words":
        steps.insert(0, split.Split(library.Regex(WORD), "isolated"))
    if separator is not None:
        steps.insert(0, split.Split(separator, "isolated"))
    tokenizer.pre_tokenizer = split.Sequence(steps)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer
