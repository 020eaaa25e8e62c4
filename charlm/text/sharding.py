"""Encodes a large text into several files, by several processes; `charlm.text.shards` reads them.

The documents are divided into groups, one for each file. A first pass over all groups finds the
distinct characters and the lengths, from which the split into training and held-out parts follows;
a second one encodes. Complete files of the same text are kept, so an interrupted command goes on
where it was.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from charlm import paths
from charlm.errors import CharlmError, InputError, in_words
from charlm.notes import progress
from charlm.text import id_cache, shards
from charlm.text.overlap import Unseen, repeated
from charlm.text.shards import Index
from charlm.text.vocab import Characters, Vocab
from corpora import Corpus, CorpusError
from corpora.document import ENCODED, cuts

UNFINISHED = ".unfinished"
OURS = re.compile(rf"(\d{{5,}}\.ids|{ENCODED})({UNFINISHED})?|{paths.LOCK}")
READ, RESULT, ERROR = "read", "result", "error"  # what a process tells


def write(
    corpus: Corpus, folder: Path, normalize: str, size: int, workers: int, say: Callable[[str], Any]
) -> Index:
    """Encodes a corpus into a folder.

    Args:
        corpus: the text, in its Unicode form.
        folder: for the files; created if it is missing.
        normalize: the Unicode form.
        size: bytes of text in a file, about.
        workers: number of processes.
        say: prints a line.

    Returns:
        The index, which is written last.

    Raises:
        InputError: the folder holds something else, or the corpus has no text.
        CharlmError: a process has ended.
        OSError: the disk is full, or the folder cannot be written in. Complete files stay.
    """
    groups = _groups(corpus.documents, size)
    _prepare(folder)
    with paths.locked(folder, lambda: say(f"waiting for another process, which writes {folder}")):
        total = 2 * sum(d.size for d in corpus.documents)  # everything is read twice
        with (
            progress(f"encoding {corpus.title} into {folder}", total) as tell,
            _pool(min(workers, len(groups)), tell) as each,
        ):
            try:
                return _write(groups, folder, normalize, each, corpus.title)
            except OSError as error:  # of reading, it would be a CorpusError
                raise OSError(
                    f"cannot write the encoded text in {folder}: {error.strerror}; files that are "
                    "complete stay; make room and start again, or name another folder with --output"
                ) from error


def _write(groups, folder, normalize, each, title):
    surveys = each(_survey, [(group,) for group in groups])
    found = [_without_empty(*pair) for pair in zip(groups, surveys, strict=True)]
    found = [(group, survey) for group, survey in found if group]
    if not found:
        raise CorpusError(f"expected text in corpus {title!r}, found none (empty)")
    characters = Characters()
    for _, s in found:
        characters.add(s.characters)
    vocab = characters.vocab()
    lengths = [n for _, s in found for n in s.lengths]
    digests = [d for _, s in found for d in s.digests]
    trained = cuts(lengths)
    left = iter(trained)
    parts = [[next(left) for _ in group] for group, _ in found]  # as many as documents
    sha256 = hashlib.sha256(b"".join(digests)).hexdigest()
    _check_same(folder, sha256)
    jobs = [
        (group, s.lengths, part, vocab.characters, folder / shards.name(k), s.key(vocab, part))
        for k, ((group, s), part) in enumerate(zip(found, parts, strict=True))
    ]
    unseen = each(_encode, jobs)
    index = Index(
        vocabulary=[*vocab.characters],
        sha256=sha256,
        normalize=normalize,
        training=[sum(part) for part in parts],
        held_out=[
            [n - cut for n, cut in zip(s.lengths, part, strict=True) if n > cut]
            for (_, s), part in zip(found, parts, strict=True)
        ],
        overlap=repeated([int.from_bytes(d) for d in digests], lengths, trained)
        | {"unseen": _unseen(unseen)},
    )
    _write_index(folder, index)
    ours = {*map(shards.name, range(len(jobs))), ENCODED, paths.LOCK}
    for path in folder.iterdir():  # of an earlier command, with smaller files
        if path.name not in ours:
            path.unlink()
    return index


def _write_index(folder, index):
    temporary = folder / (ENCODED + UNFINISHED)
    with open(temporary, "wb") as file:
        file.write(index.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / ENCODED)


def _groups(documents: Sequence[Any], size: int) -> list[list[Any]]:
    """Divides documents into groups of about `size` bytes."""
    starts = itertools.accumulate((d.size for d in documents), initial=0)
    places = zip(starts, documents, strict=False)
    groups = itertools.groupby(places, lambda place: place[0] // size)
    return [[d for _, d in group] for _, group in groups]


def _prepare(folder):
    """Makes the folder; raises InputError if it holds something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(f"expected a folder to write in, found {in_words(error)}") from error
    other = [x for x in names if not OURS.fullmatch(x)]
    if other:
        raise InputError(
            f"expected a new or empty folder for the encoded text, found {other[0]!r} in {folder}; "
            "name another one with --output"
        )


def _check_same(folder, sha256):
    """Raises InputError if the folder holds another text."""
    if not os.path.lexists(folder / ENCODED):
        return
    before = shards.read_index(folder).sha256
    if before != sha256:
        raise InputError(
            f"expected a new folder, or one with this text (sha256 {sha256[:12]}), found another "
            f"text ({before[:12]}) in {folder}; name another folder with --output"
        )


def _unseen(counts):
    """Returns the characters that no file has in a training part, and how often they occur."""
    never = set.intersection(*(set(x) for x in counts))
    return {c: sum(x[c] for x in counts) for c in sorted(never)}


@dataclass(frozen=True)
class _Survey:
    """Results of the first pass over a group of documents."""

    lengths: list[int]
    """The number of characters of each."""
    digests: list[bytes]
    """The SHA-256 of each in UTF-8."""
    characters: str
    """The distinct characters."""

    def key(self, vocab, trained):
        """Returns a text that identifies the file of this group."""
        parts = [vocab.stored(), trained, [d.hex() for d in self.digests]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _without_empty(documents, survey):
    """Returns a group and its survey without the documents that have no text."""
    kept = [k for k, n in enumerate(survey.lengths) if n]
    lengths, digests = ([x[k] for k in kept] for x in (survey.lengths, survey.digests))
    return [documents[k] for k in kept], _Survey(lengths, digests, survey.characters)


def _survey(tell, documents):
    """Reads a group of documents for the first time, in a process of the pool."""
    characters, lengths, digests = Characters(), [], []
    for d in documents:
        length, digest = 0, hashlib.sha256()
        for piece in d.pieces(tell):
            characters.add(piece)
            digest.update(piece.encode("utf-8", "surrogatepass"))
            length += len(piece)
        lengths.append(length)
        digests.append(digest.digest())
    return _Survey(lengths, digests, characters.vocab().characters)


def _encode(tell, documents, lengths, trained, characters, path, key):
    """Writes a group's file, in a process of the pool, unless it is there.

    Returns:
        The characters that the group has in no training part, and how often each occurs.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, "rb") as file:
        about = id_cache.opened(file, path)[1]
        if about["key"] == key:
            tell(sum(d.size for d in documents))
            return about["unseen"]
    vocab = Vocab(characters)
    unseen = Unseen(vocab)

    def fill(file, dtype):
        at = [0, sum(trained)]  # where the next training ids go, and the next held-out ids
        for d, length, cut in zip(documents, lengths, trained, strict=True):
            place = 0
            for piece in d.pieces(tell):
                ids = vocab.encode(piece, dtype)
                border = max(0, min(len(ids), cut - place))
                place += len(ids)
                parts = ids[:border], ids[border:]
                unseen.add(*parts)
                for k, part in enumerate(parts):
                    file.seek(at[k] * dtype.itemsize)
                    file.write(part)
                    at[k] += len(part)
            if place != length:
                raise CorpusError(f"cannot read {d.name}: it changed while it was read")
        return {"key": key, "unseen": unseen.counts()}

    temporary = path.with_name(path.name + UNFINISHED)
    id_cache.write_to(temporary, path, vocab.dtype, sum(lengths), fill)
    return unseen.counts()


def _work(pipe):
    """Does the jobs that come from the command, in a process of its own, until it ends."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            try:
                answer = RESULT, function(lambda n: pipe.send((READ, n)), *arguments)
            except Exception as error:
                answer = ERROR, error
            pipe.send(answer)


@contextlib.contextmanager
def _pool(workers: int, tell: Callable[[int], Any]) -> Iterator[Callable[..., list]]:
    """Yields a function (function, list of arguments) -> list of results, for processes.

    A process ends when its pipe is closed, so also when the command is killed. Those of
    `concurrent.futures` would go on, and leave semaphores.
    """
    context = multiprocessing.get_context("spawn")  # a copy of this process would have its threads
    with contextlib.ExitStack() as stack:
        pipes = [_start(context, stack) for _ in range(workers)]

        yield functools.partial(_each, pipes, tell)


def _each(pipes, tell, function, arguments):
    """Returns the results of a function for each of several arguments, in their order."""
    left, results = enumerate(arguments), {}
    busy: dict[Any, int] = {}  # the number of the argument, by pipe

    def begin(pipe):
        for k, job in itertools.islice(left, 1):
            pipe.send((function, job))
            busy[pipe] = k

    try:
        for pipe in pipes:
            begin(pipe)
        while busy:
            ready: Any = connection.wait([*busy])
            for pipe in ready:
                kind, value = pipe.recv()
                if kind == READ:
                    tell(value)
                elif kind == ERROR:
                    raise value
                else:
                    results[busy.pop(pipe)] = value
                    begin(pipe)
    except (EOFError, ConnectionError) as error:
        raise CharlmError(
            "a process that encodes has ended, perhaps for lack of memory; files that are "
            "complete stay; start again, perhaps with fewer --workers"
        ) from error
    return [results[k] for k in range(len(arguments))]


def _start(context, stack):
    """Starts a process, and returns the pipe to it."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command hears Ctrl-C and ends it
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    stack.callback(process.join)
    stack.callback(ours.close)
    return ours
