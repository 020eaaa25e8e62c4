"""Law: the records of a file, joined, are the file, whatever pieces it is read in."""

import csv
import io
import json
import re
import unicodedata

import numpy as np
import pytest

import corpora
from charlm.config import DataConfig
from corpora import Corpus, CorpusError, Document, records, suggest, tables
from corpora.records import parts, parts_of, separator

SEPARATORS = ["\n", "\n\n", "%%", "ab", "aba", "\n%\n"]


def in_pieces(rng, text, longest=6):
    while text:
        n = int(rng.integers(1, longest))
        yield text[:n]
        text = text[n:]


def records_of(found):
    """The records, from pieces and the places in them where records end."""
    text, ends, at = "", [0], 0
    for piece, inside in found:
        assert piece
        ends += [at + k for k in inside]
        text, at = text + piece, at + len(piece)
    return [text[a:b] for a, b in zip(ends, [*ends[1:], None], strict=True) if text[a:b]]


@pytest.mark.parametrize("end", SEPARATORS)
def test_records_end_after_all_separators_in_a_row_in_any_pieces(rng, end):
    alike = len({*end}) == 1  # then a character more goes on with the separator
    run = re.compile(f"{end[0]}{{{len(end)},}}" if alike else f"(?:{re.escape(end)})+")
    for _ in range(300):
        text = "".join(rng.choice([*"\n\nab%"], size=rng.integers(1, 25)))
        found = records_of(parts(in_pieces(rng, text), end))
        assert "".join(found) == text
        ends = [m.end() for m in run.finditer(text) if m.start() > 0 and m.end() < len(text)]
        assert found == [text[a:b] for a, b in zip([0, *ends], [*ends, None], strict=True)]


@pytest.mark.parametrize(
    ("given", "column", "found"),
    [(None, None, None), ("blank", None, "\n\n"), ("line", None, "\n"), (None, "x", "\n\n"),
     ("line", "x", "\n"), (r"\n%\n", None, "\n%\n"), ("a|b", None, "a|b"), (r"\t", None, "\t")],
)  # fmt: skip
def test_what_the_settings_say_ends_a_record(given, column, found):
    assert separator(given, column) == found


def test_a_corpus_without_the_settings_is_the_same_object():
    corpus = Corpus("c", (Document("d", "a\nb\n"),))
    assert records.of_corpus(corpus, None, None) is corpus
    (found,) = records.of_corpus(corpus, "line", None).documents
    assert (found.name, found.size, found.identity) == ("d", 4, None)
    assert records_of(parts_of(found)) == ["a\n", "b\n"]
    assert list(parts_of(corpus.documents[0])) == [("a\nb\n", ())]


def test_the_cache_tells_separators_and_columns_of_a_file_apart(tmp_path):
    (tmp_path / "f.csv").write_text("a,b\nx,y\n")
    whole = corpora.load(str(tmp_path / "f.csv"))
    kinds = ("line", None), ("blank", None), (None, "a"), (None, "b")
    found = [records.of_corpus(whole, *kind).documents[0].identity for kind in kinds]
    assert len({*map(json.dumps, found), json.dumps(whole.documents[0].identity)}) == 5


def texts(rng, n=40):
    """Texts with all that CSV and JSON must quote, and no empty line."""
    made = ("".join(rng.choice([*'ab,";\t{\n 😀é'], size=rng.integers(1, 12))) for _ in range(n))
    return [x for t in made if (x := re.sub(r"\n+", "\n", t).strip("\n"))]


def as_csv(rows, delimiter=","):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerows([["id", "text", "x"], *([k, t, ""] for k, t in enumerate(rows))])
    return file.getvalue()


def as_json_lines(rows, ascii_only=True):
    lines = (json.dumps({"id": k, "text": t}, ensure_ascii=ascii_only) for k, t in enumerate(rows))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "write",
    [as_csv, lambda x: as_csv(x, ";"), lambda x: as_csv(x, "\t"), as_json_lines,
     lambda x: "\n" + as_json_lines(x, ascii_only=False)],
    ids=["csv", "semicolons", "tabs", "json lines", "json lines after an empty line"],
)  # fmt: skip
def test_a_column_of_a_table_in_any_pieces(rng, write):
    rows = texts(rng)
    pieces = in_pieces(rng, write(rows), 30)
    assert list(tables.fields(pieces, "text", "f")) == rows
    corpus = Corpus("c", (Document("d", write(rows)),))
    (found,) = records.of_corpus(corpus, None, "text").documents
    assert records_of(parts_of(found)) == [f"{t}\n\n" for t in rows]


def test_a_table_is_read_before_its_texts_are_normalized():
    """Else a fullwidth comma or quotation mark would end a text."""
    texts = ["\u4f60\uff0c\uff02one\uff02", "e\u0301 \ufb01ne"]
    table = "te\u0301xt,n\n" + "".join(f"{text},{k}\n" for k, text in enumerate(texts))
    corpus = Corpus("c", (Document("t.csv", table),))
    (found,) = records.of_corpus(corpus, None, "te\u0301xt", "nfkc").documents
    expected = "".join(unicodedata.normalize("NFKC", text) + "\n\n" for text in texts)
    assert "".join(found.pieces()) == expected
    corpus = Corpus("c", (Document("f", "one\u00e9two\u00e9"),))
    (found,) = records.of_corpus(corpus, "\u00e9", None, "nfd").documents
    assert "".join(text for text, _ in found.parts()) == "onee\u0301twoe\u0301"
    assert sum(len(ends) for _, ends in found.parts()) == 2
    assert DataConfig(records="\u00e9", normalize="nfd").separator == found.separator == "e\u0301"


def test_rows_without_a_text_are_left_out():
    table = 'a,b\n1,\n\n2,"\n\n"\n3,x\n'
    assert list(tables.fields([table], "b", "f")) == ["x"]
    table = '{"b": null}\n{}\n\n{"b": ""}\n{"b": "x"}\n'
    assert list(tables.fields([table], "b", "f")) == ["x"]


def test_a_field_may_be_longer_than_the_limit_of_the_csv_module():
    assert list(tables.fields(["a,b\n1,", "x" * 200_000, "\n"], "b", "f")) == ["x" * 200_000]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("a,b\n1,2\n", r"expected a column 'text' in f, which has a, b; name one of"),
        ("", "which is neither"),
        ('[{"text": "x"}]\n', "which is neither CSV nor JSON Lines"),
        ('{"a": "x"}\n', "expected a column 'text' in f, which has a;"),
        ("{}\n", "which is neither CSV nor JSON Lines"),
        ("{text\n", "cannot read f as JSON Lines: .* in row 1; write one object in each line"),
        ('{"text": "x"}\n\n{"text\n', "JSON Lines: .* in row 3"),
        ('{"text": "x"}\n[2]\n', "row 2 is no object"),
        ("a,text\n1,x, y\n", "expected 2 fields in line 2 of f, found 3"),
        ('{"text": 5}\n', "expected text in column 'text' of f, found 5 in row 1"),
        ('{"text": ' + "[" * 99_999 + "\n", "nested too deeply in row 1"),
        ("a,text\n1,x\n2\n", "expected 2 fields in line 3 of f, found 1"),
        ('text\nx\n"y\nz\n', "cannot read f as CSV: unexpected end of data in line"),
        ('text\n"y"z\n', "cannot read f as CSV: .* in line 2"),
        ('text\n"y\n\nz"\n', r"without the separator '\\n\\n' in f, found it in y"),
    ],
)
def test_what_is_no_such_table_is_refused(table, says):
    corpus = Corpus("c", (Document("f", table),))
    (found,) = records.of_corpus(corpus, None, "text").documents
    with pytest.raises(CorpusError, match=says):
        list(found.pieces())


@pytest.mark.parametrize(
    ("text", "end"), [("xab", "aba"), ("x-", "--"), ("-x", "--"), ("x--y", "--"), ("--", "--")]
)
def test_a_text_that_makes_a_separator_with_those_around_it_is_refused(text, end):
    """For example x ab|aba would end after x aba."""
    with pytest.raises(CorpusError, match=f"found it in {text}"):
        list(tables.ended(["a", text], end, "f"))


def test_any_other_text_ends_where_its_separator_does():
    assert list(tables.ended(["-a", "b"], "\n%\n", "f")) == ["-a\n%\n", "b\n%\n"]
    assert list(tables.ended(["xa"], "aba", "f")) == ["xaaba"]


# --- the suggestion ---

NAMES = [f"Name{k} of{k % 7}" for k in range(150)]
TUNES = [f"X:{k}\nT:Tune {k * k}\nabc|\n" for k in range(30)]
PROSE = "It was a night, and\nthe rain fell on\nThe town as it was\nits way. So\n"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("f.txt", "\n".join(TUNES), "many short texts between blank lines; --records blank "),
        ("f.txt", "\n".join(NAMES) + "\n", "many short texts of one line; --records line "),
        ("f.txt", "\n".join(x.lower().split()[0] for x in NAMES) + "\n", "--records line "),
        ("f.txt", "%\n".join(f"{PROSE * 2}{k}\n" for k in range(30)), r"--records '\n%\n' "),
        ("f.abc", "\n".join(f"{x}K:D\n" for x in TUNES), "tunes in ABC notation; --preset tunes "),
        ("f.csv", "id,text\n1,x\n", "a table; --column NAME .*(id, text)"),
        ("f.tsv", "id\ttext\n1\tx\n", "(id, text)"),
        ("f.jsonl", '{"id": 1, "text": "x"}\n', "(text)"),
    ],
)
def test_what_looks_like_records_gets_a_suggestion(name, text, says):
    found = suggest.suggestion(Corpus(name, (Document(name, text),)))
    assert found.startswith(f"NOTE: {name} may be ")
    assert re.search(re.escape(says).replace(r"\.\*", ".*"), found)


@pytest.mark.parametrize(
    "text",
    [
        PROSE * 99,
        "\n\n".join(f"{chr(97 + k % 26)}{k} begins" for k in range(99)),
        "\n\n".join(f"    def f{k}" for k in range(99)),
        "def f():\n    pass\n" * 99,
        "the same line\n" * 200,
        "\n".join(NAMES[:30]),
        "x" * 99,
        "\n" * 99,
    ],
)
def test_prose_and_code_get_none(text):
    assert suggest.suggestion(Corpus("f.txt", (Document("f.txt", text),))) is None


def test_several_files_get_none():
    text = "\n".join(NAMES) + "\n"
    assert suggest.suggestion(Corpus("f", (Document("a", text), Document("b", text)))) is None


def test_only_the_beginning_of_a_file_is_read():
    def pieces(self=None):
        yield "\n".join(TUNES * 200)
        raise AssertionError

    document = Document("f", "")
    object.__setattr__(document, "pieces", pieces)
    assert "--records blank" in suggest.suggestion(Corpus("f", (document,)))


@pytest.mark.parametrize("end", ["\n", "\n\n", "%"])
def test_the_ends_are_those_of_the_joined_text(rng, end):
    """A million records are places in arrays, so what encodes them reads no single one."""
    text = end.join(f"text {k}" for k in range(500)) + end
    ends = [at + k for at, inside in _with_places(parts(in_pieces(rng, text, 90), end))
            for k in inside]  # fmt: skip
    lengths = np.diff(ends, prepend=0)
    assert lengths.tolist() == [len(f"text {k}{end}") for k in range(500)]


def _with_places(found):
    at = 0
    for piece, inside in found:
        yield at, inside
        at += len(piece)
