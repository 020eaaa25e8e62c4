"""Splits texts into tokens with Hugging Face's `tokenizers`, and finds which tokens a text needs.

A token is named by characters that stand for its bytes, see `NAMES`.
"""

import functools
import itertools
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from charlm import systems
from charlm.errors import InputError
from charlm.text.units import BYTES, Kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKEN = 1000  # bytes
BLOCK = 2**14  # characters that are split by one thread
MOST_BLOCKS = 64  # split at a time: their tokens take 80 bytes each until they are ids
# a text may be cut here: no token has whitespace after another character
# Unicode's whitespace, as the library has it; Python's \s has four more characters
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
CUT = re.compile(f"(?<=[^{SPACE}])(?=[{SPACE}])")
# A word with the space before it; digits; punctuation; whitespace. Repetitions are bounded, because
# unbounded ones take n^2 steps on a run of n characters.
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
    parts = blocks(text, separator)
    while batch := list(itertools.islice(parts, MOST_BLOCKS)):
        for found in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield from found.ids


def blocks(text: str, separator: str | None = None) -> Iterator[str]:
    """Cuts a text into blocks of `BLOCK` characters or a little more, whose tokens are the text's.

    A stretch of `BLOCK` characters without whitespace is cut all the same.

    Args:
        text: the text; or a piece of it, whose last block the rest of the text may continue.
        separator: text that ends a record, which is not cut.
    """
    begin, n = 0, len(separator or "")
    last = len(text) - max(0, n - 1)  # a separator that begins here may not have its end yet
    while begin < len(text):
        places = (x.start() for x in CUT.finditer(text, begin + BLOCK, begin + 2 * BLOCK))
        end = next((k for k in places if k <= last and not _within(text, separator, k)), None)
        if end is None:
            end = begin + 2 * BLOCK
            while _within(text, separator, end):
                end += 1
        yield text[begin:end]
        begin = end


def _within(text, separator, at):
    """Returns whether a place lies within a separator."""
    n = len(separator or "")
    return n > 1 and separator in text[max(0, at - n + 1) : at + n - 1]


def last_word(text: str, separator: str | None) -> str:
    """Returns the end of a text from the last place on that no token reaches over."""
    _, _, text = text.rpartition(separator) if separator else ("", "", text)
    *_, at = itertools.chain([0], (x.start() for x in CUT.finditer(text)))
    return text[at:]


def learn(
    kind: Kind, count: int, texts: Iterable[str], separator: str | None, exact: bool = True
) -> tuple[list[str], list[tuple[int, int]]]:
    """Finds the tokens that a text needs.

    Args:
        kind: "bpe" or "words".
        count: "bpe": number of tokens, the 256 bytes among them. "words": number of words (with the
            spaces before them, and of runs of punctuation), in addition to the 256 bytes.
        texts: the text, in parts that end where `blocks` may end.
        separator: text that ends a record; no token reaches over its ends.
        exact: whether texts with fewer tokens are refused; else there are fewer.

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
    _interruptible(_split_by(kind, separator, learner).train_from_iterator, texts, trainer)
    found = sorted(learner.get_vocab(), key=learner.token_to_id)
    names = [*NAMES, *(name for name in found if len(name) > 1)]
    if len(names) < count + own and exact:
        what = "pairs of tokens" if kind == "bpe" else "words"
        if len(names) == own:
            raise InputError(
                f"expected a text in which words occur twice for --tokens {kind}:{count}, found "
                "one without; give --tokens bpe:N, or a longer text"
            )
        raise InputError(
            f"expected --tokens {kind}:N with N at most {len(names) - own:,}, because no more "
            f"{what} occur twice in this text, found {kind}:{count}"
        )
    names = names[: count + own]
    ids = {name: k for k, name in enumerate(names)}
    merges = json.loads(learner.to_str())["model"].get("merges", [])
    return names, [(ids[left], ids[right]) for left, right in merges]


def _interruptible(function, *args):
    """Calls a function that does not notice Ctrl-C, in a thread that is left behind then."""
    failed = []

    def call():
        try:
            function(*args)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failed:
        raise failed[0]


def version() -> str:
    """Returns the version of the library, on which the tokens of a text may depend."""
    return _library().__version__


def _in_one_thread():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a child has none of its parent's threads


@functools.cache
def _prepare_for_forks():
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # or it warns when a process is forked
    systems.at_fork(after_in_child=_in_one_thread)


def _library():
    _prepare_for_forks()
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            "cannot split text into tokens: the package tokenizers is not installed; "
            "pip install -e '.[tokens]' in charlm's folder installs it"
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
