"""Encodes a corpus in two passes over its documents, a piece at a time.

The first pass finds the distinct characters and the lengths, the second encodes. The ids of a small
corpus are kept in memory. Those of a large one are written to a file in the cache, which every run
on that text reads.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.notes import progress
from charlm.text import id_cache, shards
from charlm.text.encoded_text import Text
from charlm.text.ids import slice_of
from charlm.text.overlap import Overlap, Unseen, repeated
from charlm.text.split import Ends, Split
from charlm.text.vocab import Characters, Vocab
from corpora import Corpus, CorpusError, records

IN_MEMORY = 2**26  # bytes of text; encoding them takes a second, less than loading a backend
WORTH_A_THREAD = 2**15  # characters; fewer take less time than starting a job in another thread


def fingerprint(texts: Iterable[str]) -> str:
    """Returns the `Text.sha256` of a corpus of these documents."""
    digest = hashlib.sha256()
    for text in filter(None, texts):
        data = _utf8(text)
        digest.update(_number(len(data)))
        digest.update(data)
    return digest.hexdigest()


def read(corpus: Corpus, say: Callable[[str], object] = print) -> Text:
    """Encodes a corpus, or reads its ids from the cache if it is large and was encoded before.

    Args:
        corpus: the text.
        say: prints messages about slow steps and about problems with the cache.

    Raises:
        CorpusError: there is no text, or a document cannot be read.
        InputError, OSError: the cache folder cannot be written in, or is full.
    """
    if corpus.encoded:
        return shards.read(corpus.encoded)
    size = sum(d.size for d in corpus.documents)
    with ThreadPoolExecutor(1) as pool:
        if size > IN_MEMORY:
            return _from_cache(corpus, size, pool, say)
        with _progress(f"encoding {corpus.title}", size) as tell:
            found = _survey(corpus, pool, tell)
            ids = np.empty(sum(found.lengths), found.vocab.dtype)

            def put(at, piece):
                ids[at : at + len(piece)] = piece

            return _text(ids, _encode(found, put, pool, tell))


def _from_cache(corpus, size, pool, say):
    """Returns the text from the cache; encodes it into the cache first if it is not there."""
    name = _name(corpus)
    if name and (kept := id_cache.find(name, say)):
        return _text(*kept)
    with id_cache.held(say) as folder:
        if name and (kept := id_cache.read_link(folder, name)):  # made while this process waited
            return _text(*kept)
        with _progress(f"encoding {corpus.title} into {folder}", size) as tell:
            found = _survey(corpus, pool, tell)
            path = folder / f"{found.content}.ids"
            made: Any = id_cache.read(path, say)
            if made is None:
                _write(path, found, pool, tell)
                made = id_cache.read(path, say)
            else:  # the same text under another name
                tell(size)
        if name:
            id_cache.link(folder / name, path.name)
        return _text(*made)


def _write(path, found, pool, tell):
    def fill(file, dtype):
        def put(at, piece):
            file.seek(at * dtype.itemsize)
            file.write(piece.astype(dtype, copy=False))

        return _encode(found, put, pool, tell)

    id_cache.write(path, found.vocab.dtype, sum(found.lengths), fill)


def _text(ids, about):
    lengths = about["held_out"]
    n = len(ids) - sum(lengths)
    training, held_out = slice_of(ids, 0, n), slice_of(ids, n, len(ids))
    vocab, overlap = Vocab("".join(about["vocabulary"])), Overlap(**about["overlap"])
    return Text(vocab, about["sha256"], training, held_out, lengths, overlap)


def _name(corpus):
    """Returns a name made from the paths, sizes and times of the files; None without files."""
    seen = [d.identity for d in corpus.documents]
    if None in seen:
        return None
    return f"{hashlib.sha256(json.dumps(seen).encode()).hexdigest()}.link"


def _progress(what, size):
    return progress(what, 2 * size)  # everything is read twice


class _Background:
    """Calls a function in a background thread, one call after another.

    NumPy and hashlib release the GIL while they work, so this uses two cores.
    """

    def __init__(self, pool, function):
        self.pool, self.function, self.job = pool, function, None

    def __call__(self, piece, *more):
        self.wait()
        if len(piece) < WORTH_A_THREAD:
            self.function(piece, *more)
        else:
            self.job = self.pool.submit(self.function, piece, *more)

    def wait(self):
        if self.job:
            self.job.result()
            self.job = None


@dataclass(frozen=True)
class _Survey:
    """Results of the first pass."""

    documents: list
    """The documents that have text."""
    lengths: list[int]
    """The number of characters of each."""
    sizes: list[int]
    """Bytes of each in UTF-8."""
    contents: list[int]
    """A hash of the text of each, which differs between processes."""
    split: Split
    """The parts to train on and to hold out; each record of a document counts as a document."""
    vocab: Vocab
    content: str
    """Hash of the text, which names its file in the cache."""


def _survey(corpus, pool, tell=None):
    """The first pass."""
    characters, digest, rows, ends = Characters(), hashlib.sha256(), [], Ends()
    collect = _Background(pool, characters.add)
    for d in corpus.documents:
        length = size = hashed = 0
        for piece, inside in records.parts_of(d, tell):
            collect(piece)
            data = _utf8(piece)
            digest.update(data)
            ends.add(len(piece), inside)
            length, size = length + len(piece), size + len(data)
            hashed = hash((hashed, piece))
        if length:
            digest.update(_number(size))  # where a document ends
            rows.append((d, length, size, hashed))
            ends.end_document()
    if not rows:
        raise CorpusError(f"expected text in corpus {corpus.title!r}, found none (empty)")
    collect.wait()
    documents, lengths, sizes, contents = map(list, zip(*rows, strict=True))
    records.check_found(documents, ends.count)
    digest.update(_utf8(records.key(documents)))  # another split is another file
    split = ends.split(bool(records.key(documents)))
    vocab, content = characters.vocab(), digest.hexdigest()
    return _Survey(documents, lengths, sizes, contents, split, vocab, content)


def _encode(found, put, pool, tell=None):
    """The second pass: calls put(at, ids) for all ids and returns their description, for JSON.

    A run's fingerprint has each document's size before its text. The first pass does not know the
    size by then, so `content`, which names a file in the cache, is another hash.
    """
    ends = list(itertools.accumulate(found.lengths, initial=0))
    kept = [found.split.trained(*places) for places in itertools.pairwise(ends)]
    digest, dtype = hashlib.sha256(), found.vocab.dtype
    at = [0, sum(kept)]  # where the next training ids go, and the next held-out ids
    unseen = Unseen(found.vocab)

    def put_ids(piece, begin):
        ids = found.vocab.encode(piece, dtype)
        lengths, trained = found.split.sections(begin, begin + len(ids))
        mask = np.repeat(trained, lengths)
        parts = ids[mask], ids[~mask]
        unseen.add(*parts)
        for k, part in enumerate(parts):
            put(at[k], part)
            at[k] += len(part)

    encode = _Background(pool, put_ids)
    for d, size, begin in zip(found.documents, found.sizes, ends[:-1], strict=True):
        digest.update(_number(size))
        for piece in d.pieces(tell):
            encode(piece, begin)
            digest.update(_utf8(piece))
            begin += len(piece)
    encode.wait()
    return {
        "vocabulary": [*found.vocab.characters],  # one by one: JSON would join two surrogates
        "sha256": digest.hexdigest(),
        "held_out": [n - cut for n, cut in zip(found.lengths, kept, strict=True) if n > cut],
        "overlap": repeated(found.contents, found.lengths, kept) | {"unseen": unseen.counts()},
    }


def _utf8(text):
    return text.encode("utf-8", "surrogatepass")


def _number(n):
    return n.to_bytes(8, "big")
