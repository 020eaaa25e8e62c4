"""Encodes a large text into several files, by several processes; `charlm.text.shards` reads them.

The documents are divided into groups, one for each file. A first pass over all groups finds the
distinct characters and the lengths, from which the split into training and held-out parts follows;
a second one encodes. Complete files of the same text are kept, so a command that was interrupted
writes only what is missing.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm import paths
from charlm.errors import InputError, in_words
from charlm.notes import progress
from charlm.text import id_cache, shards
from charlm.text.encoded_text import check_can_learn
from charlm.text.overlap import Unseen, repeated
from charlm.text.shards import Index
from charlm.text.vocab import Characters, Vocab
from charlm.text.worker_pool import Tell, WorkerPool
from corpora import Corpus, CorpusError
from corpora.document import ENCODED, cuts

UNFINISHED = ".unfinished"
PIECE = 2**24  # ids that are verified at a time
NOT_KEPT = OSError, ValueError, KeyError, TypeError, InputError  # errors of damaged files
OURS = re.compile(rf"(\d{{5,}}\.ids|{ENCODED})(\.\d+{UNFINISHED})?|{paths.LOCK}")


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
    _check_folder(folder)
    groups = _groups(corpus.documents, size)
    total = 2 * sum(d.size for d in corpus.documents)  # everything is read twice
    with (
        progress(f"encoding {corpus.title} into {folder}", total) as tell,
        WorkerPool(min(workers, len(groups)), tell) as pool,
    ):
        plan = _plan(groups, pool.map(_survey, [(group,) for group in groups]), corpus)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the folder {folder}: {error.strerror}; name another one with --output"
            ) from error
        try:
            with _locked(folder, say):
                return _write(plan, folder, normalize, pool)
        except OSError as error:  # of reading, it would be a CorpusError
            raise OSError(
                f"cannot write the encoded text in {folder}: {in_words(error)}; files that are "
                "complete stay; make room and start again, or name another folder with --output"
            ) from error


@dataclass(frozen=True)
class _Survey:
    """Results of the first pass over a group of documents."""

    lengths: list[int]
    """The number of characters of each."""
    digests: list[bytes]
    """The SHA-256 of each in UTF-8."""
    characters: str
    """The distinct characters."""
    marks: dict[str, int]
    """See `Corpus.marks`."""


@dataclass(frozen=True)
class _Group:
    """The documents of a file, which have text."""

    documents: list[Any]
    lengths: list[int]
    digests: list[bytes]
    trained: list[int]
    """The number of first characters of each that are trained on."""

    def key(self, vocab: Vocab) -> str:
        """Returns a text that identifies the content of the file."""
        parts = [vocab.stored(), self.trained, [d.hex() for d in self.digests]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _plan(groups, surveys, corpus):
    """Returns the groups of documents that have text, and the vocabulary."""
    characters = Characters()
    for survey in surveys:
        characters.add(survey.characters)
        corpus.marks.update(survey.marks)
    lengths = [n for survey in surveys for n in survey.lengths if n]
    if not lengths:
        raise CorpusError(f"expected text in corpus {corpus.title!r}, found none (empty)")
    trained = iter(cuts(lengths))
    found = []
    for group, survey in zip(groups, surveys, strict=True):
        rows = [row for row in zip(group, survey.lengths, survey.digests, strict=True) if row[1]]
        if rows:
            columns = [*map(list, zip(*rows, strict=True)), [next(trained) for _ in rows]]
            found.append(_Group(*columns))
    vocab = characters.vocab()
    check_can_learn(vocab, corpus)
    return found, vocab


def _write(plan, folder, normalize, pool):
    groups, vocab = plan
    every = [row for g in groups for row in zip(g.digests, g.lengths, g.trained, strict=True)]
    digests, lengths, trained = zip(*every, strict=True)
    sha256, keys = hashlib.sha256(b"".join(digests)).hexdigest(), [g.key(vocab) for g in groups]
    _check_same(folder, sha256, normalize, keys)
    files = [folder / shards.name(k) for k in range(len(groups))]
    jobs = [(g, vocab.characters, *row) for g, *row in zip(groups, files, keys, strict=True)]
    unseen = pool.map(_encode, jobs)
    found = repeated([int.from_bytes(d) for d in digests], lengths, trained)
    index = Index(
        vocabulary=[*vocab.characters],
        sha256=sha256,
        normalize=normalize,
        training=[sum(g.trained) for g in groups],
        held_out=[
            [n - cut for n, cut in zip(g.lengths, g.trained, strict=True) if n > cut]
            for g in groups
        ],
        keys=keys,
        overlap=found | {"unseen": _unseen(unseen)},
    )
    _write_index(folder, index)
    kept = {*files, folder / ENCODED, folder / paths.LOCK}
    for path in folder.iterdir():  # left over by a command that was interrupted
        if OURS.fullmatch(path.name) and path not in kept:
            path.unlink()
    return index


def _write_index(folder, index):
    temporary = _temporary(folder / ENCODED)
    temporary.unlink(missing_ok=True)  # of an earlier process with the same number
    with open(temporary, "xb") as file:
        file.write(index.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / ENCODED)


def _temporary(path):
    return path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")


def _groups(documents: Sequence[Any], size: int) -> list[list[Any]]:
    """Divides documents into groups of about `size` bytes."""
    starts = itertools.accumulate((d.size for d in documents), initial=0)
    places = zip(starts, documents, strict=False)
    groups = itertools.groupby(places, lambda place: place[0] // size)
    return [[d for _, d in group] for _, group in groups]


def _check_folder(folder):
    """Raises InputError if the folder holds something else, or cannot be made or written in."""
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise InputError(
            f"expected a folder to write in, found {there}, which is none; name another one with "
            "--output"
        )
    names = sorted(os.listdir(folder)) if there == folder else []
    other = [x for x in names if not OURS.fullmatch(x)]
    if other:
        raise InputError(
            f"expected a new or empty folder for the encoded text, found {other[0]!r} in {folder}; "
            "name another one with --output"
        )


@contextlib.contextmanager
def _locked(folder, say):
    """Keeps other commands from writing in the folder, where the file system has locks."""
    with contextlib.ExitStack() as stack:
        try:
            waiting = f"waiting for another process, which writes {folder}"
            stack.enter_context(paths.locked(folder, lambda: say(waiting)))
        except OSError as error:
            say(
                f"NOTE: {folder} cannot be locked ({error.strerror}); write in it by one command "
                "at a time"
            )
        yield


def _check_same(folder, sha256, normalize, keys):
    """Raises InputError if the folder holds another text, or the same one encoded otherwise."""
    if not os.path.lexists(folder / ENCODED):
        return
    before = shards.read_index(folder)
    if before.sha256 != sha256:
        raise InputError(
            f"expected a new folder, or one with this text (sha256 {sha256[:12]}), found another "
            f"text ({before.sha256[:12]}) in {folder}; name another folder with --output"
        )
    if before.normalize != normalize:
        raise InputError(
            f"expected a new folder, or one encoded with --normalize {normalize}, found "
            f"--normalize {before.normalize} in {folder}; name another folder with --output"
        )
    if before.keys != keys:  # a run may be reading them
        raise InputError(
            f"expected a new folder, or one with this text in {len(keys):,} files, found it in "
            f"{len(before.keys):,} others in {folder}; name another folder with --output, or give "
            "the --file-size that was given first"
        )


def _unseen(counts):
    """Returns the characters that no file has in a training part, and how often they occur."""
    never = set.intersection(*(set(x) for x in counts))
    return {c: sum(x[c] for x in counts) for c in sorted(never)}


def _survey(tell: Tell, documents: list[Any]) -> _Survey:
    """Reads a group of documents for the first time, in a process of the pool."""
    characters, lengths, digests = Characters(), [], []
    marks: dict[str, int] = {}
    for d in documents:
        length, digest = 0, hashlib.sha256()
        for piece in d.pieces(tell):
            characters.add(piece)
            digest.update(piece.encode("utf-8", "surrogatepass"))
            length += len(piece)
        lengths.append(length)
        digests.append(digest.digest())
        marks |= getattr(d, "marks", {})
    return _Survey(lengths, digests, characters.vocab().characters, marks)


def _encode(tell: Tell, group: _Group, characters: str, path: Path, key: str) -> dict[str, int]:
    """Writes a group's file, in a process of the pool, unless it is there.

    Returns:
        The characters that the group has in no training part, and how often each occurs.
    """
    with contextlib.suppress(*NOT_KEPT), open(path, "rb") as file:
        ids, about = id_cache.opened(file, path)
        if about["key"] == key:
            for k in range(0, len(ids), PIECE):  # verifies all blocks
                _ = ids[k : k + PIECE]
            tell(sum(d.size for d in group.documents))
            return about["unseen"]
    vocab = Vocab(characters)
    unseen = Unseen(vocab)

    def fill(file, dtype):
        at = [0, sum(group.trained)]  # where the next training ids go, and the next held-out ids
        rows = zip(group.documents, group.lengths, group.digests, group.trained, strict=True)
        for d, length, expected, cut in rows:
            place, digest = 0, hashlib.sha256()
            for piece in d.pieces(tell):
                ids = vocab.encode(piece, dtype)
                digest.update(piece.encode("utf-8", "surrogatepass"))
                border = max(0, min(len(ids), cut - place))
                place += len(ids)
                parts = ids[:border], ids[border:]
                unseen.add(*parts)
                for k, part in enumerate(parts):
                    file.seek(at[k] * dtype.itemsize)
                    file.write(part)
                    at[k] += len(part)
            if (place, digest.digest()) != (length, expected):
                raise CorpusError(f"cannot read {d.name}: it changed while it was read")
        return {"key": key, "unseen": unseen.counts()}

    id_cache.write_to(_temporary(path), path, vocab.dtype, sum(group.lengths), fill)
    return unseen.counts()
