"""Law: ids, vocabulary, fingerprint and split are those of the whole text, cached or not."""

import contextlib
import hashlib
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import corpora
from charlm import paths
from charlm.text import encode, encoded_text, id_cache
from charlm.text.mapped_ids import MappedIds
from charlm.text.vocab import UnknownCharacterError, Vocab
from charlm.text.windows import HeldOutWindows, TrainingWindows
from corpora import Corpus, CorpusError, Document, files
from corpora.document import cuts

LINES = "Pieces — of a naïve text: 😀\n" * 30


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of the cache, into which even a small text goes, in pieces of 64."""
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(encode, "IN_MEMORY", 0)
    monkeypatch.setattr(encode, "WORTH_A_THREAD", 32)
    monkeypatch.setattr(files, "PIECE", 64)
    monkeypatch.setattr("corpora.document.PIECE", 64)
    return tmp_path / "cache"


@pytest.fixture(params=["in memory", "cached"])
def either(request, tmp_path, monkeypatch):
    if request.param == "cached":
        return request.getfixturevalue("folder")
    return None


def read(name, encoding="utf-8", said=None):
    return encode.read(
        corpora.load(str(name), encoding), [].append if said is None else said.append
    )


def equals_all_of_it_read_at_once(found, texts):
    texts = [t for t in texts if t]
    kept = cuts([len(t) for t in texts])
    assert found.vocab.characters == "".join(sorted(set("".join(texts))))
    training = "".join(t[:n] for t, n in zip(texts, kept, strict=True))
    assert found.vocab.decode(found.training) == training
    held_out = [t[n:] for t, n in zip(texts, kept, strict=True) if t[n:]]
    assert [found.vocab.decode(d) for d in found.to_measure()] == held_out
    digest = hashlib.sha256()
    for t in texts:
        data = t.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    assert found.sha256 == digest.hexdigest()


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252"])
def test_a_file_of_any_encoding(either, tmp_path, encoding, newline):
    lines = LINES.replace("😀", "") if encoding == "cp1252" else LINES
    (tmp_path / "f.txt").write_bytes(lines.replace("\n", newline).encode(encoding))
    equals_all_of_it_read_at_once(read(tmp_path / "f.txt", encoding), [lines])


def test_a_folder_of_files_some_without_text(either, tmp_path):
    texts = [f"{k} " * 40 for k in range(26)]
    texts[3], texts[7] = "", "\ufeff"
    for k, t in enumerate(texts):
        (tmp_path / f"{k:02}.txt").write_text(t, encoding="utf-8")
    texts[7] = ""  # a byte order mark is none
    found = read(f"{tmp_path}/*.txt")
    assert len(found.held_out_lengths) == 2  # whole documents
    equals_all_of_it_read_at_once(found, texts)


def test_documents_in_memory_with_lone_surrogates(either):
    texts = ["abc\ud83d\ude00" * 30, "", "x" * 5]
    corpus = Corpus("c", tuple(Document(str(k), t) for k, t in enumerate(texts)))
    equals_all_of_it_read_at_once(encode.read(corpus, [].append), texts)


def test_standard_input(either, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES.encode())))
    equals_all_of_it_read_at_once(read("-"), [LINES])


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (70_000, "uint32")])
def test_ids_are_the_smallest_integers_that_hold_them(either, tmp_path, monkeypatch, size, dtype):
    monkeypatch.setattr(files, "PIECE", 5000)
    characters = "".join(map(chr, range(0x10000, 0x10000 + size)))
    (tmp_path / "f.txt").write_text(characters * 2)
    found = read(tmp_path / "f.txt")
    assert found.training.dtype == found.held_out.dtype == dtype
    equals_all_of_it_read_at_once(found, [characters * 2])


def test_fingerprints_of_runs_begun_before_are_found_again(either, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    (tmp_path / "b.txt").touch()
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf")
    (tmp_path / "d.txt").write_text("naïve — 😀", encoding="utf-8")
    stored = "461b456be8725f0e188c223250d7114b8365ce35fdcb5dd4ca12ce32aaf260d9"
    assert read(f"{tmp_path}/*.txt").sha256 == stored


def test_fingerprint_tells_texts_and_borders_apart(either):
    def print_of(*texts):
        corpus = Corpus("c", tuple(Document("", t) for t in texts))
        return encode.read(corpus, [].append).sha256

    prints = {print_of(*t) for t in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "d"])}
    assert len(prints) == 4


def test_threads_that_are_late_change_nothing(either, tmp_path, monkeypatch):
    class Late(ThreadPoolExecutor):
        def submit(self, *call):
            super().submit(time.sleep, 0.05)
            return super().submit(*call)

    monkeypatch.setattr(encode, "ThreadPoolExecutor", Late)
    monkeypatch.setattr(encode, "WORTH_A_THREAD", 32)
    (tmp_path / "f.txt").write_text(LINES[:50])  # one piece
    equals_all_of_it_read_at_once(read(tmp_path / "f.txt"), [LINES[:50]])


def test_no_text_at_all_is_refused(either, tmp_path):
    (tmp_path / "f.txt").touch()
    with pytest.raises(CorpusError, match=r"expected text in corpus .*f.txt', found none"):
        read(tmp_path / "f.txt")


def test_what_is_no_text_leaves_nothing_behind(folder, tmp_path):
    (tmp_path / "f.txt").write_bytes(b"abc" * 100 + b"\xff")
    with pytest.raises(CorpusError, match="offset 300"):
        read(tmp_path / "f.txt")
    assert [p.name for p in folder.iterdir()] == [paths.LOCK]


# --- the cache ---


def ids_in(folder):
    return sorted(p.name for p in folder.glob("*.ids"))


def test_a_small_text_goes_without_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "f.txt").write_text(LINES)
    assert isinstance(read(tmp_path / "f.txt").training, np.ndarray)
    assert not (tmp_path / "cache").exists()


def test_a_text_is_encoded_once_and_then_not_even_read(folder, tmp_path, monkeypatch):
    (tmp_path / "f.txt").write_text(LINES)
    shown = []

    @contextlib.contextmanager
    def progress(what, total):
        shown.append(what)
        told = []
        yield told.append
        assert sum(told) == total  # the whole file was counted

    monkeypatch.setattr(encode, "progress", progress)
    read(tmp_path / "f.txt")
    assert shown == [f"encoding {tmp_path}/f.txt into {folder}"]
    monkeypatch.setattr(files.File, "pieces", None)
    again = read(tmp_path / "f.txt")
    assert len(shown) == 1
    assert isinstance(again.training, MappedIds)
    equals_all_of_it_read_at_once(again, [LINES])


@pytest.mark.parametrize("change", ["touched", "moved", "other encoding"])
def test_the_same_text_under_another_name_is_kept_once(folder, tmp_path, change, monkeypatch):
    path = tmp_path / "f.txt"
    path.write_text(LINES.encode("ascii", "ignore").decode())
    first, encoding = read(path), "utf-8"
    if change == "touched":
        os.utime(path, (1, 1))
    elif change == "moved":
        path = path.rename(tmp_path / "g.txt")
    else:
        encoding = "latin-1"
    monkeypatch.setattr(encode, "_encode", None)
    assert read(path, encoding).sha256 == first.sha256
    assert len(ids_in(folder)) == 1
    monkeypatch.setattr(files.File, "pieces", None)
    read(path, encoding)  # the new name is known now


def test_a_file_in_another_encoding_is_another_text(folder, tmp_path):
    (tmp_path / "f.txt").write_text(LINES, encoding="utf-8")
    for encoding in ("utf-8", "latin-1", "utf-8"):
        equals_all_of_it_read_at_once(
            read(tmp_path / "f.txt", encoding), [LINES.encode().decode(encoding)]
        )
    assert len(ids_in(folder)) == 2


def test_another_text_of_the_same_name_size_and_time_is_another(folder, tmp_path):
    path = tmp_path / "f.txt"
    path.write_text(LINES)
    read(path)
    about = path.stat()
    time.sleep(0.02)  # the system's clock moves every few milliseconds
    path.write_text(LINES.replace("naïve", "evïan"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    equals_all_of_it_read_at_once(read(path), [LINES.replace("naïve", "evïan")])
    assert len(ids_in(folder)) == 2


def test_windows_of_a_mapped_text_are_those_of_one_in_memory(folder, tmp_path, monkeypatch):
    (tmp_path / "f.txt").write_text(LINES)
    mapped = read(tmp_path / "f.txt").training
    ours, plain = (TrainingWindows(x, 4, 5, seed=1) for x in (mapped, np.array(mapped)))
    for epoch in range(3):
        ours.set_epoch(epoch)
        plain.set_epoch(epoch)
        for step in (*range(len(plain)), np.arange(len(plain)).reshape(-1, 1)):
            for one, other in zip(*(sum_up(x[step]) for x in (ours, plain)), strict=True):
                np.testing.assert_array_equal(one, other)


def sum_up(item):
    (ids, fresh), targets = item
    return ids, fresh, targets


# --- what is measured on, other vocabularies ---


def numbered(m):
    """A text of which `m` characters are held out, all different."""
    vocab = Vocab("".join(map(chr, range(0x10000, 0x10000 + m))))
    lengths = [m // 3, 0, m - m // 3]
    return encoded_text.Text(vocab, "", np.zeros(9, np.uint8), np.arange(m), lengths)


@pytest.mark.parametrize("limit", [0, 1000, 5000])
def test_a_limit_above_what_is_held_out_changes_nothing(limit):
    assert [len(d) for d in numbered(1000).to_measure(limit)] == [333, 0, 667]


@pytest.mark.parametrize(("limit", "pieces"), [(2, 1), (600, 2), (9999, 20), (40_000, 64)])
def test_measured_on_are_stretches_spread_over_all_that_is_held_out(limit, pieces):
    found = numbered(50_000).to_measure(limit)
    assert len({len(d) for d in found}) == 1
    together = np.concatenate(found)
    assert limit - pieces < len(together) <= limit
    assert len(found) == pieces
    assert (np.diff(together) > 0).all()  # in order, none twice
    if pieces > 1:
        assert (together[0], together[-1]) == (0, 49_999)
        gaps = np.diff([d[0] for d in found])
        assert gaps.max() - gaps.min() <= 1
    assert HeldOutWindows(found).targets == len(together) - pieces


def test_translated_is_the_same_text_in_other_ids(either, tmp_path):
    (tmp_path / "f.txt").write_text(LINES)
    found = read(tmp_path / "f.txt")
    assert found.translated(Vocab(found.vocab.characters)) is found
    other = found.translated(Vocab.of([LINES + "ABC"]))
    assert (other.training != found.training).any()
    equals = other.vocab.decode(other.training) + other.vocab.decode(other.held_out)
    assert equals == LINES
    with pytest.raises(UnknownCharacterError):
        found.translated(Vocab("abc"))


@pytest.mark.parametrize("limit", [encoded_text.MAX_COUNTED, 512 * 4], ids=["all", "stretches"])
def test_log_shares_are_of_the_whole_text(monkeypatch, limit):
    monkeypatch.setattr(encoded_text, "MAX_COUNTED", limit)
    found = encode.read(Corpus("t", (Document("t", "ab" * 9000 + "c" * 9000 + "d" * 4000),)))
    assert found.vocab.decode(found.held_out[:1]) == "d"
    n = min(limit, len(found.training))
    shares = np.exp(found.log_shares(Vocab("abcx")))
    assert shares.dtype == np.float32
    tolerance = 1e-5 if limit > n else 0.03
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 1 / 3, 0], atol=1 / n + tolerance)
    assert 0 < shares[3] < 2 / n  # it may come


def test_log_shares_of_each_character_as_often_as_it_is_there_and_once_more():
    found = encode.read(Corpus("t", (Document("t", "aab" * 300 + "z" * 90),)))
    counts, n = np.bincount(found.training, minlength=3) + 1, len(found.training)
    expected = np.insert(counts, 2, 1) / (n + 4)
    np.testing.assert_allclose(np.exp(found.log_shares(Vocab("abxz"))), expected, rtol=1e-6)
