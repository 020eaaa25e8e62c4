"""A corpus as ids: its vocabulary, its fingerprint, what of it is to train on and what is held out.

Made in two passes over the documents, a piece at a time: the first finds the characters and how
many there are, the second encodes them. The ids of a small corpus are put in memory, those of a
large one in a file of the cache, from which every run on that text reads them.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from charlm.text import id_cache, mapped_ids
from charlm.text.mapped_ids import MappedIds
from charlm.text.vocab import Characters, Vocab
from charlm.text.windows import MAX_STREAMS, VALIDATION_WINDOW
from corpora import Corpus, CorpusError
from corpora.document import cuts

IN_MEMORY = 2**26  # bytes of text: encoded in a second, less than it takes to load a backend
MAX_COUNTED = 2**22  # characters that `log_shares` counts
WORTH_A_THREAD = 2**15  # characters: they take as long as telling another thread of them


@dataclass(frozen=True)
class Text:
    """A corpus as ids of `vocab.dtype`, in memory or mapped."""

    vocab: Vocab
    sha256: str
    """Fingerprint of all the text and of where documents begin."""
    training: np.ndarray | MappedIds
    """(n,), the documents' parts to train on, one after another."""
    held_out: np.ndarray | MappedIds
    """(m,), the documents' parts that are held out, one after another."""
    held_out_lengths: list[int]
    """Of those parts."""

    def to_measure(self, limit: int = 0) -> list[np.ndarray | MappedIds]:
        """What is held out: document by document, all of it; or `limit` characters, if it is more.

        Those are taken in stretches of equal length, spread evenly over all that is held out.

        Args:
            limit: 2 or more; 0 for none.
        """
        m = len(self.held_out)
        if not limit or m <= limit:
            ends = itertools.accumulate(self.held_out_lengths, initial=0)
            return [mapped_ids.part(self.held_out, *places) for places in itertools.pairwise(ends)]
        return _stretches(self.held_out, limit)

    def log_shares(self, vocab: Vocab) -> np.ndarray:
        """(V,) float32, the log of each character's share of the training text.

        One more is counted of each. Of a long text `MAX_COUNTED` characters are counted, spread
        evenly over it.

        Args:
            vocab: the V characters; those that are not in the text are counted once.
        """
        ids = self.training
        parts = [ids] if len(ids) <= MAX_COUNTED else _stretches(ids, MAX_COUNTED)
        counts = sum(np.bincount(part, minlength=len(self.vocab)) for part in parts)
        of = dict(zip(self.vocab.characters, counts, strict=True))
        counts = np.array([of.get(character, 0) + 1 for character in vocab.characters])
        return np.log(counts / counts.sum()).astype(np.float32)

    def translated(self, vocab: Vocab) -> "Text":
        """The same text in ids of another vocabulary, in memory.

        Raises:
            UnknownCharacterError: the text has a character that is not in it.
        """
        if vocab == self.vocab:
            return self
        ids = vocab.encode(self.vocab.characters, vocab.dtype)
        training, held_out = (ids[np.asarray(x)] for x in (self.training, self.held_out))
        return replace(self, vocab=vocab, training=training, held_out=held_out)


def _stretches(ids, limit):
    """At most `limit` of the ids, in stretches of equal length spread evenly over them."""
    count = min(MAX_STREAMS, -(-limit // VALIDATION_WINDOW))
    size = limit // count
    starts = np.linspace(0, len(ids) - size, count).astype(int)
    return [ids[k : k + size] for k in starts]


def fingerprint(texts: Iterable[str]) -> str:
    """`Text.sha256` of a corpus of these documents."""
    digest = hashlib.sha256()
    for text in filter(None, texts):
        data = _utf8(text)
        digest.update(_number(len(data)))
        digest.update(data)
    return digest.hexdigest()


def read(corpus: Corpus, say: Callable[[str], object] = print) -> Text:
    """A corpus as ids, from the cache if it is large and was read before.

    Args:
        corpus: its text. say: told what takes long, or is not as it should be.

    Raises:
        CorpusError: there is no text, or a document's cannot be read.
        InputError, OSError: the cache's folder cannot be written in, or is full.
    """
    size = sum(d.size for d in corpus.documents)
    with ThreadPoolExecutor(1) as pool:
        if size > IN_MEMORY:
            return _from_cache(corpus, size, pool, say)
        found = _survey(corpus, pool)
        ids = np.empty(sum(found.lengths), found.vocab.dtype)

        def put(at, piece):
            ids[at : at + len(piece)] = piece

        return _text(ids, _encode(found, put, pool))


def _from_cache(corpus, size, pool, say):
    """The text from the cache, into which it is encoded if it is not there."""
    name = _name(corpus)
    if name and (kept := id_cache.find(name, say)):
        return _text(*kept)
    with id_cache.held(say) as folder:
        if name and (kept := id_cache.read_link(folder, name)):  # made while this process waited
            return _text(*kept)
        with _bar(f"encoding {corpus.title} into {folder}", size, say) as tell:
            found = _survey(corpus, pool, tell)
            path = folder / f"{found.content}.ids"
            kept = id_cache.read(path, say)
            if kept is None:
                _write(path, found, pool, tell)
                kept = id_cache.read(path, say)
            else:  # the same text under another name
                tell(size)
        if name:
            id_cache.link(folder / name, path.name)
        return _text(*kept)


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
    training, held_out = mapped_ids.part(ids, 0, n), mapped_ids.part(ids, n, len(ids))
    return Text(Vocab("".join(about["vocabulary"])), about["sha256"], training, held_out, lengths)


def _name(corpus):
    """Names a text by what its files look like from outside; None if it is no files'."""
    seen = [d.identity for d in corpus.documents]
    if None in seen:
        return None
    return f"{hashlib.sha256(json.dumps(seen).encode()).hexdigest()}.link"


@contextlib.contextmanager
def _bar(what, total, say):
    """How far it is, on a terminal; elsewhere one line. Yields (bytes read) -> None."""
    from tqdm import tqdm

    with tqdm(desc=what, total=total, unit="B", unit_scale=True, disable=None) as bar:
        if bar.disable:
            say(what)
        yield lambda n: bar.update(n / 2)  # all is read twice


class _Beside:
    """Calls of a function, one after another, in a thread beside what else is done.

    NumPy and hashlib let other threads run while they work, so that two cores are of use.
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
    """What the first pass finds: documents with text, their characters, their bytes in UTF-8."""

    documents: list
    lengths: list[int]
    sizes: list[int]
    vocab: Vocab
    content: str


def _survey(corpus, pool, tell=None):
    characters, digest, rows = Characters(), hashlib.sha256(), []
    collect = _Beside(pool, characters.add)
    for d in corpus.documents:
        length = size = 0
        for piece in d.pieces(tell):
            collect(piece)
            data = _utf8(piece)
            digest.update(data)
            length, size = length + len(piece), size + len(data)
        if length:
            digest.update(_number(size))  # where a document ends
            rows.append((d, length, size))
    if not rows:
        raise CorpusError(f"expected text in corpus {corpus.title!r}, found none (empty)")
    collect.wait()
    return _Survey(*map(list, zip(*rows, strict=True)), characters.vocab(), digest.hexdigest())


def _encode(found, put, pool, tell=None):
    """The second pass: gives all ids to put(at, ids) and returns what they are of, for JSON.

    The fingerprint of a run has a document's size before its text, which the first pass could not
    know; so what names a file of the cache, `content`, is another.
    """
    kept, digest, dtype = cuts(found.lengths), hashlib.sha256(), found.vocab.dtype
    at = [0, sum(kept)]  # where the next ids to train on go, and the next that are held out

    def put_ids(piece, cut):
        ids = found.vocab.encode(piece, dtype)
        for k, part in enumerate((ids[:cut], ids[cut:])):
            put(at[k], part)
            at[k] += len(part)

    encode = _Beside(pool, put_ids)
    for d, size, cut in zip(found.documents, found.sizes, kept, strict=True):
        digest.update(_number(size))
        for piece in d.pieces(tell):
            encode(piece, cut)
            digest.update(_utf8(piece))
            cut = max(cut - len(piece), 0)
    encode.wait()
    return {
        "vocabulary": [*found.vocab.characters],  # one by one: JSON would join two surrogates
        "sha256": digest.hexdigest(),
        "held_out": [n - cut for n, cut in zip(found.lengths, kept, strict=True) if n > cut],
    }


def _utf8(text):
    return text.encode("utf-8", "surrogatepass")


def _number(n):
    return n.to_bytes(8, "big")
