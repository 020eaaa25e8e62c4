"""Law: text comes in whole, in order and decoded, or not at all, with a line that says why."""

import io
import os
import sys
import zipfile

import pytest

import corpora
from corpora import CorpusError, CorpusNotFound, decoding, inaugural, state_union
from corpora.document import cuts


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


def test_inaugural_addresses_are_decoded_and_repaired(speeches):
    d = corpora.load("inaugural").documents
    text = joined(corpora.load("inaugural"))
    assert (len(d), len(text), len(set(text))) == (59, 807_230, 77)
    assert all(c in " \n" or c.isascii() for c in text)
    assert [x.year for x in d] == [*range(1789, 2022, 4)]
    assert [d[k].president for k in (0, 9, -1)] == ["Washington", "JQAdams", "Biden"]
    by_name = {x.name: x.text for x in d}
    assert "years of sabbatical--and then there came a day of fire" in by_name["2005-Bush"]
    assert "America's vital interests and our deepest beliefs" in by_name["2005-Bush"]
    assert not any("C-Span" in x.text for x in d)


def test_held_out_speeches(speeches):
    d = speeches.documents
    kept = cuts([len(x.text) for x in d])
    held = [x for x, cut in zip(d, kept, strict=True) if cut < len(x.text)]
    assert [x.name for x in held] == [
        "1950-Truman", "1961-Kennedy", "1969-Johnson", "1979-Carter", "1989-Bush", "1998-Clinton",
    ]  # fmt: skip
    assert sum(kept) == sum(len(x.text) for x in d) - 178_752


def test_original_text_exactly(speeches):
    text = joined(corpora.load("state_union_original"))
    assert len(text) == 1_915_949
    assert len(set(text)) == 57
    assert cuts([len(text)]) == [1_915_949 - 191_594]


@pytest.mark.parametrize("corpus", [state_union, inaugural])
def test_a_damaged_archive_is_refused(tmp_path, monkeypatch, corpus):
    path = tmp_path / corpus.ARCHIVE.member
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state_union/1945-Truman.txt", "hello")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    with pytest.raises(CorpusError, match=r"expected sha256 (366c1dc8|7c5fb579).*found"):
        corpus.load()


def test_missing_and_offline_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    monkeypatch.setattr(
        "nltk.download", lambda *a, print_error_to, **k: print("no route", file=print_error_to)
    )
    with pytest.raises(CorpusNotFound, match=r"cannot find .*--corpus pydoc") as error:
        corpora.load("state_union")
    assert len(f"error: {error.value}") <= 160
    (details,) = error.value.__notes__
    assert str(tmp_path) in details
    assert "no route" in details


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
    for folder in ("d", ".git", "__pycache__"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"\0")
    (tmp_path / "__pycache__" / "notes.txt").write_text("no")
    (tmp_path / "d" / "e.txt").write_text("three")
    assert [d.text for d in corpora.load(str(tmp_path)).documents] == ["one", "two", "", "three"]
    assert [d.text for d in corpora.load(f"{tmp_path}/[ab].txt").documents] == ["one", "two"]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode("latin-1"))))
    assert joined(corpora.load("-", "latin-1")) == "naïve"


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"a\r\nb\rc\n", "utf-8", "a\nb\nc\n"),
        (b"\xef\xbb\xbfx", "utf-8", "x"),
        (b"\xef\xbb\xbf\xef\xbb\xbfx", "utf-8", "\ufeffx"),
        ("ÿx".encode("utf-16"), "utf-16", "ÿx"),
        (b"\xe9", "latin-1", "é"),
    ],
)
def test_decoding(data, encoding, text):
    assert "".join(decoding.decoded([data], "f", encoding)) == text
    one_by_one = [data[k : k + 1] for k in range(len(data))]
    assert "".join(decoding.decoded(one_by_one, "f", encoding)) == text


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (b"abc\xff", "utf-8", "expected utf-8 text in .*found byte ff at offset 3.*--encoding"),
        (b"ab\0c", "utf-8", "a zero byte at offset 2; it seems to be binary data"),
        (b"x", "utf-9", "expected a text encoding Python knows, found 'utf-9'"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, encoding, says):
    path = tmp_path / "f.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=says):
        joined(corpora.load(str(path), encoding))


def test_what_is_not_there_or_never_ends_is_refused(tmp_path):
    with pytest.raises(CorpusNotFound, match="names: state_union"):
        corpora.load(str(tmp_path / "none.txt"))
    with pytest.raises(CorpusError, match="found none"):
        corpora.load(str(tmp_path))
    with pytest.raises(CorpusError, match="regular file"):
        corpora.load("/dev/zero")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("before")
    corpus = corpora.load(str(path))
    path.write_text("after!")
    os.utime(path, (1, 1))  # the system's clock may not have moved
    with pytest.raises(CorpusError, match=r"cannot read .*f.txt: it changed.*start again"):
        joined(corpus)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("encoding", "sample"),
    [
        ("utf-8", "naïve — 😀\r\n\ufeff\r\r\n"),
        ("utf-8-sig", "né\r\nx"),
        ("utf-16", "né😀\r\n"),
        ("utf-32-be", "\ufeffné\r\nx"),
        ("cp1252", "né’\r"),
        ("shift_jis", "日本語ｶﾅ\r\nx"),
        ("gb18030", "中文😀\r\n"),
        ("iso2022_jp", "日本語 x 日本\r"),
        ("utf-7", "né 中文\r\n"),
    ],
)
def test_a_file_read_in_pieces_is_the_text_read_at_once(encoding, sample, size):
    data = (sample * 3).encode(encoding)
    whole = data.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    chunks = [data[k : k + size] for k in range(0, len(data), size)]
    assert "".join(decoding.decoded(chunks, "f", encoding)) == whole


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"caf\xe9 x", "utf-8"), ("né".encode() * 3 + b"\xff", "utf-8"), (b"n\xc3", "utf-8"),
     (b"ab\x81\x20", "shift_jis"), (b"abcdefg\0h", "latin-1")],
)  # fmt: skip
def test_the_offset_of_what_is_no_text_is_of_the_whole_file(data, encoding):
    def found(size):
        with pytest.raises(CorpusError) as error:
            list(decoding.decoded([data[k : k + size] for k in range(0, 20, size)], "f", encoding))
        return str(error.value).partition(";")[0]  # then comes the likely encoding of what was read

    assert found(1) == found(2) == found(20)


# --- the split ---


def test_one_document_gives_its_last_tenth():
    assert cuts([103]) == [93]


def test_few_documents_give_a_tenth_each():
    assert cuts([20, 30]) == [18, 27]


def test_many_documents_give_every_tenth_whole():
    assert cuts([5] * 26) == [0 if k in (5, 15, 25) else 5 for k in range(26)]


def test_documents_of_very_different_lengths_give_a_tenth_each():
    assert cuts([10] * 5 + [1000]) == [9] * 5 + [900]
