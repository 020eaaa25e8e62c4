"""Law: every document and record has the value of its file, column, header or speaker."""

import csv
import io
import json

import numpy as np
import pytest

import corpora
from charlm.text.encode import read
from charlm.text.split import Ends
from corpora import Corpus, CorpusError, Document, contexts, records
from corpora.presidents import PARTIES, person


def corpus_of(text, name="x"):
    return Corpus(name, (Document(name, text),))


def spans(corpus, field):
    return [*contexts.spans(corpus, field)]


def test_speeches_have_their_presidents_parties_and_years(speeches):
    found = dict(zip([d.name for d in speeches.documents], speeches.documents, strict=True))
    assert found["1961-Kennedy"].facts == {
        "president": "Kennedy", "party": "Democratic", "year": "1961", "decade": "1960s",
    }  # fmt: skip
    assert found["1969-Johnson"].facts["party"] == "Democratic"  # in the year of Nixon's first
    lengths = [(len(d.text), d.party) for d in speeches.documents]
    assert spans(speeches, "party") == lengths
    assert {party for _, party in lengths} == {"Democratic", "Republican"}


def test_no_two_presidents_share_a_name(speeches):
    documents = corpora.load("inaugural").documents + speeches.documents
    assert {d.president for d in documents} == set(PARTIES)
    years = {}
    for d in documents:
        years.setdefault(d.president, []).append(d.year)
    # nobody speaks over more than Franklin Roosevelt's 12 years, but Cleveland, who came back
    assert {name for name, found in years.items() if max(found) - min(found) > 12} == set()
    assert person("Bush", 1989) == "Bush"
    assert person("Bush", 2001) == person("GWBush", 2005) == "GWBush"
    by_year = {d.year: d for d in corpora.load("inaugural").documents}
    assert [by_year[y].party for y in (1789, 1797, 1801, 1841, 1849, 1861, 1905, 1933)] == [
        "none", "Federalist", "Democratic-Republican", "Whig", "Whig", "Republican", "Republican",
        "Democratic",
    ]  # fmt: skip


def test_files_have_their_folder_and_name(tmp_path, monkeypatch):
    for name in ("a/one.txt", "b/two.md", "three.txt"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    for where in ("top", tmp_path / "top"):
        found = corpora.load(str(where))
        values = {x: [v for _, v in spans(found, x)] for x in ("folder", "file")}
        order = [d.path.stem for d in found.documents]
        assert values["file"] == order
        folders = {"one": "a", "two": "b", "three": "top"}
        assert values["folder"] == [folders[name] for name in order]
    monkeypatch.chdir(tmp_path / "top" / "a")
    assert [v for _, v in spans(corpora.load("one.txt"), "folder")] == ["a"]


def table(rng, form):
    """A table of texts and values, and the rows that have a text, in order."""
    rows = []
    for _ in range(30):
        words = rng.choice(["x", "yz", "", "\n", 'a "b"', "e\u0301"], size=rng.integers(4))
        rows.append((" ".join(words), str(rng.choice(["A", "b c", "", " d "]))))
    buffer = io.StringIO()
    if form == "csv":
        writer = csv.writer(buffer)
        writer.writerows([("who", "text", "other"), *((v, t, "-") for t, v in rows)])
    else:
        for text, value in rows:
            print(json.dumps({"text": text, "who": value or None, "other": 1}), file=buffer)
    return buffer.getvalue(), [(t.strip("\n"), v.strip()) for t, v in rows if t.strip("\n")]


@pytest.mark.parametrize("end", ["blank", "\\n%\\n"])
@pytest.mark.parametrize("normal", ["none", "nfc"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_of_a_table_have_the_other_column(rng, form, normal, end):
    for _ in range(5):
        text, rows = table(rng, form)
        whole = records.of_corpus(corpus_of(text), end, "text", normal)
        found = spans(whole, "who")
        assert [value for _, value in found] == [value for _, value in rows]
        ends = Ends()
        for piece, inside in records.parts_of(whole.documents[0]):
            ends.add(len(piece), inside)
        ends.end_document()
        np.testing.assert_array_equal(np.cumsum([n for n, _ in found]), ends.split().ends)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_records_have_what_their_header_says(rng, monkeypatch, size):
    monkeypatch.setattr("corpora.document.PIECE", size)
    texts, values = [], []
    for _ in range(20):
        value = str(rng.choice(["G", "A minor", ""]))
        lines = ["T:x", f"K:{value}" if rng.random() < 0.8 else "N:K:no", "abc|"]
        values.append(value if lines[1].startswith("K:") else "")
        texts.append("\n".join(lines[: rng.integers(2, 4)]) + "\n" * rng.integers(2, 4))
    whole = records.of_corpus(corpus_of("\n\n" + "".join(texts)), "blank", None)
    found = spans(whole, "K")
    assert [value for _, value in found] == values
    assert sum(n for n, _ in found) == len("".join(texts)) + 2
    split = read(whole)
    assert len(split.training) + len(split.held_out) == sum(n for n, _ in found)


def test_records_of_files_have_their_folder(tmp_path):
    for k in (1, 2):
        (tmp_path / f"f{k}").mkdir()
        (tmp_path / f"f{k}" / "t.txt").write_text("one\ntwo\n" * k)
    found = records.of_corpus(corpora.load(str(tmp_path)), "line", None)
    assert spans(found, "folder") == [(4, "f1")] * 2 + [(4, "f2")] * 4
    assert spans(found, "file") == [(4, "t")] * 6


@pytest.mark.parametrize(
    ("corpus", "field", "about"),
    [
        (corpus_of("text"), "year", "expected the field 'year' in x, which has no fields"),
        (records.of_corpus(corpus_of("who,text\na,b\n"), None, "text"), "whom", "a column 'whom'"),
        (records.of_corpus(corpus_of("who,who,text\na,b,c\n"), None, "text"), "who", "one column"),
        (
            records.of_corpus(corpus_of(f"K:{'x' * 201}\n\nb"), "blank", None),
            "K",
            "200 characters at most, without control",
        ),
        (
            records.of_corpus(corpus_of("K:\x1b[2J\n\nb"), "blank", None),
            "K",
            "200 characters at most, without control",
        ),
    ],
)
def test_other_fields_are_refused(corpus, field, about):
    with pytest.raises(CorpusError, match=about):
        spans(corpus, field)


def test_values_are_one_line_whatever_their_spaces():
    rows = ["a,St.\xa0Louis", 'b,"two\nlines"', "c,\u3000x  y ", "d,\u0645\u06cc\u200c\u062e", "e,"]
    table = records.of_corpus(corpus_of("\n".join(["text,where", *rows])), None, "text")
    values = ["St. Louis", "two lines", "x y", "\u0645\u06cc\u200c\u062e", ""]
    assert [value for _, value in spans(table, "where")] == values


def test_objects_may_lack_the_field():
    table = '{"text": "a"}\n{"text": "b", "who": "X"}\n{"text": "c", "who": null}\n'
    found = spans(records.of_corpus(corpus_of(table), None, "text"), "who")
    assert [value for _, value in found] == ["", "X", ""]


def test_fields_of_files_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(
        CorpusError, match=r"'president' in .*which has folder, file; --context takes one"
    ):
        spans(corpora.load(str(tmp_path)), "president")
