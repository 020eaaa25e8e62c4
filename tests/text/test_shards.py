"""Law: a text in many files is the text in one; only the files that are read are open."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from charlm import encode as command
from charlm import evaluate, train
from charlm.errors import InputError
from charlm.evaluation.documents import held_out
from charlm.experiments.large_texts import sparse
from charlm.text import encode, mapped_ids, sharding, shards
from charlm.text.sharded_ids import Files, ShardedIds
from charlm.text.vocab import Vocab
from charlm.text.windows import HeldOutWindows, TrainingWindows
from corpora import Corpus, CorpusError, Document
from corpora.document import ENCODED
from tests.text.test_mapped_ids import opened, random_keys, stored

LETTERS = "abc dé\nß😀"


class Here:
    """Does what the pool of processes does, in this one."""

    def __init__(self, workers, tell):
        self.tell = tell

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def map(self, function, jobs):
        return [function(self.tell, *job) for job in jobs]


def write(documents, folder, size, normalize="none"):
    """Encodes documents without processes."""
    with mock.patch.object(sharding, "WorkerPool", Here):
        corpus = Corpus("texts", tuple(documents))
        return sharding.write(corpus, folder, normalize, size, 1, [].append)


def documents_of(rng, count, longest=300):
    lengths = rng.integers(0, longest, size=count) * (rng.random(count) < 0.9)
    texts = ["".join(rng.choice([*LETTERS], size=n)) for n in lengths]
    texts[-1] += "Z" * (count % 2)  # a character of one document only
    return [Document(f"{k:03}", text) for k, text in enumerate(texts)]


def described(text):
    return text.vocab, text.held_out_lengths, text.overlap


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_text_in_many_files_is_the_text_in_one(tmp_path, rng, count, monkeypatch):
    monkeypatch.setattr(shards, "MAX_OPEN", 2)
    for k in range(4):
        documents = documents_of(rng, count, 3000 // count)
        if not any(d.text for d in documents):
            continue
        if k % 3 == 0 and count > 7:
            documents[5] = Document("copy", documents[6].text)  # held out, and trained on
        whole = encode.read(Corpus("texts", tuple(documents)))
        size = int(rng.integers(1, 2000))
        write(documents, tmp_path / f"{k}", size)
        corpus = Corpus("texts", (), encoded=tmp_path / f"{k}")
        found = encode.read(corpus)
        assert described(found) == described(whole)
        np.testing.assert_array_equal(found.training, whole.training)
        np.testing.assert_array_equal(found.held_out, whole.held_out)
        for a, b in zip(found.to_measure(), whole.to_measure(), strict=True):
            np.testing.assert_array_equal(a, b)
        if found.held_out_lengths:
            measured = [(None, n) for n in found.held_out_lengths]
            assert [(x, len(ids)) for x, ids in held_out(corpus, found, 0)] == measured
        if not any(n > 1 for n in whole.held_out_lengths) or len(whole.training) < 20:
            continue
        B, T = (int(n) for n in rng.integers(1, 5, size=2))
        two = [TrainingWindows(x.training, B, T, k, 3, 1, 1) for x in (found, whole)]
        assert len(two[0]) == len(two[1])
        for a, b in zip(*map(windows_of, two), strict=True):
            equal(a, b)
        equal(*(HeldOutWindows(x.to_measure())[np.arange(1)] for x in (found, whole)))


def windows_of(windows):
    return [windows[k] for k in range(len(windows))] + [windows[np.arange(len(windows))]]


def equal(a, b):
    if isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bounds", [None, (37, 900), (500, 503), (4, 4)])
def test_an_index_gives_what_numpy_gives(tmp_path, rng, bounds):
    lengths = np.array([0, 300, 1, 0, 500, 200, 0])
    begins = rng.integers(0, 9, size=7)
    files = [rng.integers(9, size=n + 20).astype("<u2") for n in lengths]
    plain = np.concatenate([f[b:][:n] for f, b, n in zip(files, begins, lengths, strict=True)])
    plain = plain[slice(*bounds)] if bounds else plain
    sums = [stored(tmp_path / f"{k}", f) for k, f in enumerate(files)]

    def file(k):
        return opened(tmp_path / f"{k}", "<u2", sums[k])

    whole = ShardedIds(Files(file, begins, lengths, np.dtype("<u2")))
    found = whole.part(*bounds) if bounds else whole
    assert (len(found), found.shape, found.dtype) == (len(plain), plain.shape, plain.dtype)
    np.testing.assert_array_equal(found, plain)
    for key in random_keys(rng, len(plain)) if len(plain) else [slice(None), slice(3, 9)]:
        try:
            expected = plain[key]
        except IndexError:
            with pytest.raises(IndexError):
                found[key]
            continue
        np.testing.assert_array_equal(found[key], expected)
        assert np.shape(found[key]) == np.shape(expected)


@pytest.mark.parametrize("separator", [None, np.array([0])])
def test_each_process_reads_its_own_streams_and_opens_their_files_only(
    tmp_path, rng, separator, monkeypatch
):
    monkeypatch.setattr(mapped_ids, "BLOCK", 64)
    files = [rng.integers(5, size=400).astype("u1") for _ in range(20)]
    sums = [stored(tmp_path / f"{k}", f) for k, f in enumerate(files)]
    asked = []

    def file(k):
        asked.append(k)
        return opened(tmp_path / f"{k}", "u1", sums[k])

    B, T = 4, 9

    def read(own=slice(None)):
        asked.clear()
        ids = ShardedIds(Files(file, np.zeros(20, int), np.full(20, 400), np.dtype("u1")))
        windows = TrainingWindows(ids, B, T, 3, 20, 2, 0, separator, own=own)
        return [windows[k] for k in range(len(windows))], {*asked}

    whole, every = read()
    assert every == {*range(20)}
    for index in range(2):
        own = slice(2 * index, 2 * index + 2)
        mine, touched = read(own)
        for ((ids_of, fresh), following), ((all_ids, all_fresh), all_next) in zip(
            mine, whole, strict=True
        ):
            equal((ids_of, fresh, following), (all_ids[own], all_fresh[own], all_next[own]))
        assert len(touched) <= 14  # half of them, and what is read ahead


def test_the_fingerprint_is_of_the_text_and_its_documents_whatever_the_files(tmp_path, rng):
    documents = documents_of(rng, 30)
    sizes = [1, 300, 10**9]
    found = [write(documents, tmp_path / f"{n}", n) for n in sizes]
    assert len({x.sha256 for x in found}) == 1
    assert [len(x.training) for x in found][-1] == 1
    assert len(found[0].training) > len(found[1].training) > 1
    a, b = documents[-2:]
    moved = [*documents[:-2], Document("", a.text + b.text[:1]), Document("", b.text[1:])]
    assert write(moved, tmp_path / "moved", 300).sha256 != found[0].sha256


def test_an_interrupted_command_goes_on_with_what_is_missing(tmp_path, rng):
    documents = documents_of(rng, 30)
    first = write(documents, tmp_path / "a", 300)
    files = sorted((tmp_path / "a").glob("*.ids"))
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}
    files[1].unlink()
    (tmp_path / "a" / ENCODED).unlink()
    (tmp_path / "a" / "00001.ids.77.unfinished").write_bytes(b"half of it")
    files[2].write_bytes(before[files[2].name][0][:-1])  # it says that it is not whole
    damaged = bytearray(before[files[3].name][0])
    damaged[0] ^= 1
    files[3].write_bytes(damaged)
    assert write(documents, tmp_path / "a", 300) == first
    for p in files:
        content, time_of = before[p.name]
        assert p.read_bytes() == content
        assert (p.stat().st_mtime_ns != time_of) == (p in files[1:4])
    with pytest.raises(InputError, match=r"found --normalize none in .*a; name another folder"):
        write(documents, tmp_path / "a", 300, "nfc")
    with pytest.raises(InputError, match=r"in 4 files, found it in \d+ others in .*a; name"):
        write(documents, tmp_path / "a", 1000)  # a run may be reading them
    (tmp_path / "a" / ENCODED).unlink()
    assert write(documents, tmp_path / "a", 1000).sha256 == first.sha256
    assert len([*(tmp_path / "a").glob("*.ids*")]) == 4 < len(files)


def of_equal_lengths(letters):
    return [Document(f"{k}", letters[k] * 99) for k in range(20)]


def test_files_of_other_texts_are_never_taken_for_those_of_this_one(tmp_path):
    one, other = (of_equal_lengths(x) for x in ("abcdefghijklmnopqrst", "tsrqponmlkjihgfedcba"))
    write(one, tmp_path, 99)
    (tmp_path / ENCODED).unlink()  # as if it had been interrupted
    write(other, tmp_path, 99)
    text = shards.read(tmp_path)
    assert text.vocab.decode(text.training[:200]) == "t" * 99 + "s" * 99 + "rr"
    (tmp_path / "00001.ids").write_bytes((tmp_path / "00002.ids").read_bytes())
    with pytest.raises(InputError, match="it belongs to another encoded text"):
        np.asarray(shards.read(tmp_path).training)


def test_other_texts_and_other_files_are_never_overwritten(tmp_path, rng):
    write(documents_of(rng, 5), tmp_path / "a", 300)
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with pytest.raises(InputError, match=r"found another text .* in .*a; name another folder"):
        write(documents_of(rng, 6), tmp_path / "a", 300)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    (tmp_path / "a" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"expected a new or empty folder .* found 'thesis.txt'"):
        write(documents_of(rng, 5), tmp_path / "a", 300)
    with pytest.raises(CorpusError, match="expected text in corpus 'texts', found none"):
        write([Document("a", "")] * 9, tmp_path / "b", 300)
    assert not (tmp_path / "b").exists()
    (tmp_path / "file").write_text("")
    for name in ("file", "file/inner"):
        with pytest.raises(InputError, match=r"expected a folder to write in, found .*file, which"):
            write(documents_of(rng, 5), tmp_path / name, 300)


def test_files_that_appear_while_it_encodes_are_left_alone(tmp_path, rng, monkeypatch):
    folder, encode_group = tmp_path / "a", sharding._encode

    def meanwhile(*arguments):
        (folder / "notes.txt").write_text("mine")
        (folder / "folder").mkdir(exist_ok=True)
        return encode_group(*arguments)

    monkeypatch.setattr(sharding, "_encode", meanwhile)
    write(documents_of(rng, 5), folder, 300)
    assert (folder / "notes.txt").read_text() == "mine"


def test_files_that_change_between_the_two_passes_are_refused(tmp_path, rng, monkeypatch):
    texts, plan = ["abcdefgh"], sharding._plan

    class Changing(Document):
        def pieces(self, tell=None):
            yield texts[0]

    def planned(*arguments):
        texts[0] = "abcdefgg"  # as long, and of the same characters
        return plan(*arguments)

    monkeypatch.setattr(sharding, "_plan", planned)
    documents = [*documents_of(rng, 5), Changing("changing", "x")]
    with pytest.raises(CorpusError, match="cannot read changing: it changed while it was read"):
        write(documents, tmp_path / "a", 300)
    assert not (tmp_path / "a" / ENCODED).exists()


def damaged_index(**changes):
    def damage(folder):
        path = folder / ENCODED
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


DAMAGES = {
    "half an index": lambda f: (f / ENCODED).write_text("{"),
    "an empty mapping": lambda f: (f / ENCODED).write_text("{}"),
    "a list": lambda f: (f / ENCODED).write_text("[]"),
    "a field more": damaged_index(more=1),
    "no files": damaged_index(training=[], held_out=[]),
    "sizes below zero": damaged_index(training=[-1], held_out=[[2]], keys=[""]),
    "half a character": damaged_index(training=[0.5], held_out=[[2]], keys=[""]),
    "a size beyond all": damaged_index(training=[10**30], held_out=[[2]], keys=[""]),
    "deep": lambda f: (f / ENCODED).write_text('{"version": 1, "x": ' + "[" * 10**5),
    "figures in words": damaged_index(overlap={"repeated": "x"}),
    "letters twice": damaged_index(vocabulary=["a", "a"]),
    "a missing file": lambda f: (f / "00001.ids").unlink(),
    "a shorter file": lambda f: (f / "00001.ids").write_bytes(b"short"),
    "another file": lambda f: (f / "00001.ids").write_bytes((f / "00002.ids").read_bytes()),
    "a pipe": lambda f: ((f / "00001.ids").unlink(), os.mkfifo(f / "00001.ids")),
    "another character": lambda f: (f / "00001.ids").write_bytes(
        bytes([(f / "00001.ids").read_bytes()[0] ^ 1]) + (f / "00001.ids").read_bytes()[1:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_text_is_refused_when_it_is_read(tmp_path, rng, damage):
    write(documents_of(rng, 30), tmp_path, 300)
    np.asarray(shards.read(tmp_path).training)
    DAMAGES[damage](tmp_path)
    with pytest.raises(InputError, match=r"charlm encode") as found:
        np.asarray(shards.read(tmp_path).training)
    assert str(tmp_path) in str(found.value)


def test_a_text_of_another_version_is_not_called_damaged(tmp_path, rng):
    write(documents_of(rng, 5), tmp_path, 300)
    damaged_index(version=2)(tmp_path)
    with pytest.raises(
        InputError, match=r"expected an encoded text of version 1 .*found version 2"
    ):
        shards.read(tmp_path)


def test_another_vocabulary_of_characters_needs_the_files_themselves(tmp_path, rng):
    write([Document(f"{k}", "abab" * 50) for k in range(30)], tmp_path, 300)
    text = shards.read(tmp_path)
    assert text.translated(Vocab("ab")) is text
    with pytest.raises(InputError, match=r"other characters, .*; name the original files"):
        text.translated(Vocab("abc"))
    tokens = text.translated(text.learned_vocab("bpe:258"))
    assert len(tokens.training) < len(text.training)


def test_pages_of_many_open_files_are_let_go_of(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(shards, "MAX_MAPPED", 128 * 1000)
    write([Document(f"{k}", "ab" * 5000) for k in range(30)], tmp_path, 10_000)
    forgotten = []
    monkeypatch.setattr(
        mapped_ids._File, "has_read", lambda self, n: forgotten.append((self.most, n))
    )
    np.asarray(shards.read(tmp_path).training)
    assert {most for most, _ in forgotten} == {1000}
    assert sum(n for _, n in forgotten) >= 270_000


SPARSE = 200  # files of five gigabytes: a terabyte

READ = """if True:
    import os, resource, sys
    from pathlib import Path
    from charlm.text import shards
    from charlm.text.windows import HeldOutWindows, TrainingWindows
    text = shards.read(Path(sys.argv[1]))
    windows = TrainingWindows(text.training, 16, 64, seed=1)
    for k in range(3):
        windows[k * (len(windows) // 3)]
    HeldOutWindows(text.to_measure(100_000))
    text.log_shares(text.vocab)
    opened = len(os.listdir("/proc/self/fd"))
    print(opened, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
def test_memory_and_open_files_do_not_grow_with_the_text(tmp_path):
    """Ten gigabytes, then a terabyte, read by 16 streams."""
    found = []
    for files in (2, SPARSE):
        sparse(tmp_path / f"{files}", files, 5 * 10**9)
        argv = [sys.executable, "-c", READ, tmp_path / f"{files}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        found.append([*map(int, done.stdout.split())])
    (few, small), (many, large) = found
    assert few < many <= few + shards.MAX_OPEN
    assert large < small + 100_000  # KiB: the checksums of the files that are open


def texts(folder, rng):
    folder.mkdir()
    for d in documents_of(rng, 12, 900):
        (folder / f"{d.name}.txt").write_text(d.text)
    return folder


@pytest.mark.full
def test_a_run_on_the_encoded_text_is_the_run_on_its_files(tmp_path, rng, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "texts", rng)
    assert command.main(["texts", "-o", "encoded", "--workers", "2"]) == 0
    assert "train on it with: python -m charlm.train encoded" in capsys.readouterr().out
    flags = "--units 8 --epochs 1 --batch-size 4 --window 8 --sample-length 0"
    for name in ("texts", "encoded"):
        assert train.main([name, "--name", name, *flags.split()]) == 0
    rows = []
    for name in ("texts", "encoded"):
        with open(Path("saved_models", name, "history.csv"), newline="") as file:
            (row,) = csv.DictReader(file)
        rows.append((row["loss"], row["val_loss"]))
    assert rows[0] == rows[1]
    for name in ("texts", "encoded"):
        assert train.main(["--resume", name, "--epochs", "2"]) == 0
    capsys.readouterr()
    found = []
    for name in ("texts", "encoded"):
        assert evaluate.main([name]) == 0
        out, err = capsys.readouterr()
        found.append([x for x in out.splitlines() if x.startswith("this model") or " to " in x])
        assert ("no n-gram model, because an encoded text (encoded)" in err) == (name == "encoded")
    assert len(found[0]) > 5
    assert found[0] == found[1]
    assert evaluate.main(["encoded", "--samples"]) == 2
    assert "cannot use --samples with encoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("encode encoded -o other", "found encoded, which is encoded already"),
        ("encode texts -o texts/inner", "expected a folder outside the text, found --output"),
        ("encode half -o other", "found half, in which charlm encode has not finished"),
        ("train half", "found half, in which charlm encode has not finished"),
        ("import x.keras --vocab-from encoded", "x.keras"),
        ("encode - -o other", "which can be read only once"),
        ("encode texts -o texts", "expected a folder outside the text"),
        ("encode texts", "expected -o FOLDER, a folder for the encoded text, found none"),
        ("encode texts -o=", "expected -o FOLDER, a folder for the encoded text, found ''"),
        ("encode encoded -o other --normalize nfc", "found encoded, which is encoded already"),
        ("encode one.txt -o other", "expected at least 2 distinct characters in the corpus"),
        ("encode texts -o /proc/charlm", "cannot make the folder /proc/charlm"),
        ("encode texts -o other --workers 0", "expected --workers to be 1 or more"),
        ("train encoded --records line", "cannot use --records with encoded, an encoded text"),
        ("train encoded --context folder", "cannot use --context with encoded"),
        (
            "train encoded --normalize nfc",
            "expected a text encoded with --normalize nfc, found encoded, encoded",
        ),
        ("score encoded", "found encoded, an encoded text (made by charlm encode); name"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    tmp_path, rng, monkeypatch, capsys, flags, expected
):
    from charlm.__main__ import main

    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "texts", rng)
    documents = [Document(p.name, p.read_text()) for p in (tmp_path / "texts").iterdir()]
    write(documents, tmp_path / "encoded", 10**9)
    (tmp_path / "one.txt").write_text("aaa")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "00000.ids").write_bytes((tmp_path / "encoded/00000.ids").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    assert main(flags.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert expected in lines[-1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_signals_end_all_processes_and_keep_what_is_whole(tmp_path, rng, number, code):
    (tmp_path / "texts").mkdir()
    line = "".join(rng.choice([*LETTERS], size=2000))
    for k in range(30):
        (tmp_path / f"texts/{k}.txt").write_text(line * 2000)
    argv = [sys.executable, "-m", "charlm.encode", "texts", "-o", "out", "--file-size", "5"]
    env = os.environ | {"PYTHONPATH": str(Path(shards.__file__).parents[2])}

    def started():
        return subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)

    folder = tmp_path / "out"
    with started() as process:
        while process.poll() is None and not [*folder.glob("*.ids")]:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    after = ["files that are complete stay; start it again to write the others", "interrupted"]
    assert err.splitlines()[1:] == after * (number == signal.SIGINT)
    assert not (folder / ENCODED).exists()
    ends = time.monotonic() + 10
    while [*folder.glob("*.unfinished")] and time.monotonic() < ends:
        time.sleep(0.01)  # the processes end a moment later
    assert not [*folder.glob("*.unfinished")]
    whole = [p.stat().st_mtime_ns for p in folder.glob("*.ids")]
    assert whole
    with started() as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert {*whole} <= {p.stat().st_mtime_ns for p in folder.glob("*.ids")}
    assert sum(shards.read_index(folder).training) > 0
