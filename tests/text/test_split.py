"""Law: records are split as documents are, by the one rule, whatever pieces they are read in."""

import hashlib

import numpy as np
import pytest

import corpora
from charlm.errors import InputError
from charlm.evaluation.documents import held_out, parts
from charlm.text import encode, id_cache
from charlm.text.mapped_ids import MappedIds
from charlm.text.split import Ends, Split
from corpora import Corpus, Document, files, records
from corpora.document import cuts


def drawn(rng, few):
    """Lengths of documents that are split by whole ones, or of ones that are not."""
    return rng.integers(1, 9, 57) if few else np.append(rng.integers(1, 9, 7), 300)


@pytest.mark.parametrize("few", [True, False], ids=["whole documents", "a tenth of each"])
def test_arrays_follow_the_rule_of_the_documents(rng, few, monkeypatch):
    monkeypatch.setattr("charlm.text.split.BLOCK", 7)
    lengths = drawn(rng, few)
    kept = np.concatenate([
        np.arange(n) < k for n, k in zip(lengths.tolist(), cuts(lengths.tolist()), strict=True)
    ])  # fmt: skip
    split = Split(np.cumsum(lengths))
    for _ in range(200):
        begin, end = np.sort(rng.integers(len(kept) + 1, size=2)).tolist()
        sections, trained = split.sections(begin, end)
        np.testing.assert_array_equal(np.repeat(trained, sections), kept[begin:end])
        assert split.trained(begin, end) == kept[begin:end].sum()


def test_ends_are_collected_piece_by_piece():
    ends = Ends()
    for length, inside in ((3, []), (4, [2, 4]), (2, [1])):
        ends.add(length, inside)
    ends.end_document()
    ends.add(3, [3])
    ends.end_document()  # ends with a record
    assert (ends.at, ends.count) == (12, 5)
    np.testing.assert_array_equal(ends.split().ends, [5, 7, 8, 9, 12])


# --- encoding ---

RECORDS = [f"{'abcdefghi'[k % 9] * (k % 4 + 2)}{k % 10}é" for k in range(57)]


@pytest.fixture(params=["in memory", "cached"])
def folder(request, tmp_path, monkeypatch):
    """Two files of records, read in small pieces, with the cache or without it."""
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(files, "PIECE", 16)
    if request.param == "cached":
        monkeypatch.setattr(encode, "IN_MEMORY", 0)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(RECORDS[:33]))
    (tmp_path / "texts" / "b.txt").write_text("\n\n\n".join(RECORDS[33:]) + "\n\n")
    return tmp_path / "texts"


def read(folder, how):
    return encode.read(records.of_corpus(corpora.load(str(folder)), how, None), [].append)


def test_every_tenth_record_is_held_out(folder):
    found = read(folder, "blank")
    text = [f"{r}\n\n" for r in RECORDS[:32]] + [RECORDS[32]]
    text += [f"{r}\n\n\n" for r in RECORDS[33:-1]] + [f"{RECORDS[-1]}\n\n"]
    assert found.vocab.decode(found.training) == "".join(
        r for k, r in enumerate(text) if k % 10 != 5
    )
    files = [found.vocab.decode(d) for d in found.to_measure()]
    assert files == ["".join(text[5:33:10]), "".join(text[35:57:10])]
    assert len(found.training) + len(found.held_out) == len("".join(text))


def test_the_fingerprint_is_that_of_the_files_but_the_split_is_another(folder):
    kinds = [read(folder, how) for how in (None, "blank", "b", "blank")]
    assert len({x.sha256 for x in kinds}) == 1
    shares = [hashlib.sha256(np.asarray(x.training).tobytes()).hexdigest() for x in kinds]
    assert len({*shares}) == 3
    assert shares[1] == shares[3]


def test_a_second_start_does_not_read_the_files(folder, monkeypatch):
    first = read(folder, "blank")
    if isinstance(first.training, MappedIds):
        monkeypatch.setattr(files.File, "pieces", None)
        np.testing.assert_array_equal(read(folder, "blank").held_out, first.held_out)


def test_evaluate_names_the_files_whose_records_are_held_out(folder):
    corpus = records.of_corpus(corpora.load(str(folder)), "blank", None)
    own = encode.read(corpus, [].append)
    assert [n - k for _, n, k in parts(corpus)] == own.held_out_lengths
    assert [name for name, _ in held_out(corpus, own, 0)] == [
        str(folder / "a.txt"), str(folder / "b.txt"),
    ]  # fmt: skip


@pytest.mark.parametrize(("how", "says"), [("blank", r"end with '\\n\\n'"), ("%", "end with '%'")])
def test_a_text_without_the_separator_is_refused(how, says):
    corpus = records.of_corpus(Corpus("c", (Document("f", "a\nb\n"),)), how, None)
    with pytest.raises(InputError, match=f"{says} in f, found one text; .*--records blank, line"):
        encode.read(corpus, [].append)
