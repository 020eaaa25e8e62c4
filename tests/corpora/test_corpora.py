"""Law: text comes in whole, in order and decoded, or not at all, with a line that says why."""

import io
import sys
import zipfile

import pytest

import corpora
from corpora import Corpus, CorpusError, CorpusNotFound, Document, files, state_union


def joined(corpus):
    return "".join(d.text for d in corpus.documents)


# --- the speeches ---


def test_all_speeches_in_year_order_with_year_and_president(speeches):
    d = speeches.documents
    assert len(d) == 65
    assert [x.year for x in d] == sorted(x.year for x in d)
    assert (d[0].year, d[0].president, d[-1].president) == (1945, "Truman", "GWBush")
    assert (d[20].name, d[20].president) == ("1965-Johnson-1", "Johnson")


def test_speeches_are_decoded_and_repaired(speeches):
    text = joined(speeches)
    assert len(set(text)) == 87
    assert "@" not in text  # in NLTK's reading, half of a Big5 space
    by_name = {d.name: d.text for d in speeches.documents}
    assert "cancellation of the ½¢ decrease" in by_name["1954-Eisenhower"]
    assert "will be remembered--not so much as the generation" in by_name["1970-Nixon"]
    assert all(d.text.endswith("\n") for d in speeches.documents)
    assert not any("C-Span" in d.text[:200] for d in speeches.documents)  # the README


def test_held_out_speeches(speeches):
    kept, held = speeches.split()
    assert [d.name for d in held] == [
        "1950-Truman", "1961-Kennedy", "1969-Johnson", "1979-Carter", "1989-Bush", "1998-Clinton",
    ]  # fmt: skip
    assert sum(len(d.text) for d in held) == 178_752
    assert len(kept) == 59
    assert not set(kept) & set(held)


def test_original_text_exactly(speeches):
    text = joined(corpora.load("state_union_original"))
    assert len(text) == 1_915_949
    assert len(set(text)) == 57
    kept, held = corpora.load("state_union_original").split()
    assert kept[0].text + held[0].text == text
    assert len(held[0].text) == 191_594


def test_a_damaged_archive_is_refused(tmp_path, monkeypatch):
    path = tmp_path / state_union.MEMBER
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state_union/1945-Truman.txt", "hello")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    with pytest.raises(CorpusError, match=r"expected sha256 366c1dc8.*found"):
        corpora.load("state_union")


def test_missing_and_offline_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    monkeypatch.setattr(
        "nltk.download", lambda *a, print_error_to, **k: print("no route", file=print_error_to)
    )
    with pytest.raises(CorpusNotFound, match=rf"{tmp_path}.*no route.*--corpus pydoc"):
        corpora.load("state_union")


# --- what Python brings ---


@pytest.mark.parametrize(("name", "few"), [("pydoc", 50), ("stdlib", 100)])
def test_python_own_texts_are_always_there(name, few):
    corpus = corpora.load(name)
    assert len(corpus.documents) > few
    assert len(joined(corpus)) > 300_000


# --- a user's text ---


def test_a_folder_is_one_document_a_file_in_order_of_name(tmp_path):
    for name, text in (("b.txt", "two"), ("a.txt", "one"), (".hidden", "no"), ("c.txt", "")):
        (tmp_path / name).write_text(text)
    for folder in ("d", ".git"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"\0")
    (tmp_path / "d" / "e.txt").write_text("three")
    assert [d.text for d in corpora.load(str(tmp_path)).documents] == ["one", "two", "three"]
    assert [d.text for d in corpora.load(f"{tmp_path}/[ab].txt").documents] == ["one", "two"]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode("latin-1"))))
    assert joined(corpora.load("-", "latin-1")) == "naïve"


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"a\r\nb\rc\n", "utf-8", "a\nb\nc\n"),
        (b"\xef\xbb\xbfx", "utf-8", "x"),
        ("ÿx".encode("utf-16"), "utf-16", "ÿx"),
        (b"\xe9", "latin-1", "é"),
    ],
)
def test_decoding(data, encoding, text):
    assert files.decode(data, "f", encoding) == text


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (b"abc\xff", "utf-8", "expected utf-8 text in .*found byte ff at offset 3.*--encoding"),
        (b"ab\0c", "utf-8", "binary data .a zero byte at offset 2"),
        (b"", "utf-8", "expected text in corpus .*found none"),
        (b"x", "utf-9", "expected a text encoding Python knows, found 'utf-9'"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, encoding, says):
    path = tmp_path / "f.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=says):
        corpora.load(str(path), encoding)


def test_what_is_not_there_or_never_ends_is_refused(tmp_path):
    with pytest.raises(CorpusNotFound, match="names: state_union"):
        corpora.load(str(tmp_path / "none.txt"))
    with pytest.raises(CorpusError, match="found none"):
        corpora.load(str(tmp_path))
    with pytest.raises(CorpusError, match="regular file"):
        corpora.load("/dev/zero")


# --- the split ---


def corpus_of(*texts):
    return Corpus("x", tuple(Document(str(k), t) for k, t in enumerate(texts)))


def test_one_document_gives_its_last_tenth():
    text = "".join(map(chr, range(1000, 1103)))
    kept, held = corpus_of(text).split()
    assert kept[0].text + held[0].text == text
    assert len(held[0].text) == 10


def test_few_documents_give_a_tenth_each():
    kept, held = corpus_of("a" * 20, "b" * 30).split()
    assert [len(d.text) for d in held] == [2, 3]
    assert [len(d.text) for d in kept] == [18, 27]


def test_many_documents_give_every_tenth_whole():
    texts = [str(k) * 5 for k in range(26)]
    texts = [t[:5] for t in texts]  # of equal length
    kept, held = corpus_of(*texts).split()
    assert [d.text for d in held] == [texts[5], texts[15], texts[25]]
    assert [d.text for d in kept] == [t for k, t in enumerate(texts) if k % 10 != 5]


def test_documents_of_very_different_lengths_give_a_tenth_each():
    texts = ["a" * 10] * 5 + ["b" * 1000]
    _, held = corpus_of(*texts).split()
    assert [len(d.text) for d in held] == [1] * 5 + [100]


def test_fingerprint_tells_texts_and_borders_apart():
    prints = {corpus_of(*t).sha256() for t in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "d"])}
    assert len(prints) == 4
