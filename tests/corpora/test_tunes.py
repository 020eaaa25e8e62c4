"""Law: a file of tunes in ABC notation is read as records, each a tune with the chosen fields."""

import json

import numpy as np
import pytest

import corpora
from charlm.cli import loading
from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.music import notation
from charlm.music.fields import KNOWN, header, only_fields
from charlm.text.encode import read
from corpora import Corpus, CorpusError, Document, contexts, tunes
from corpora.records import Records, parts_of
from tests.corpora.test_records import records_of
from tests.music.test_bars import METRES, made

CHOSEN = "", "MK", "TMK", "XL"


def file_of(rng, count):
    """A file of tunes, and the tunes; between them are empty lines and other text."""
    found, text = [], str(rng.choice(["", "\ufeff", "A collection\n\n", "\n \n"]))
    for _ in range(count):
        tune, *_ = made(rng, str(rng.choice([*METRES])))
        found.append(tune)
        text += tune + str(rng.choice(["\n", " \n\n", "\n\t\n\n", "\nother text\n\n"]))
    return text, found


def corpus_of(*texts):
    return Corpus("book", tuple(Document(f"f{k}", text) for k, text in enumerate(texts)))


@pytest.mark.parametrize("fields", CHOSEN)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_each_tune_is_a_record_with_its_chosen_fields(rng, fields, end):
    books = [file_of(rng, count) for count in (1, 7, 3)]
    corpus = corpus_of(*(text.replace("\n", end) for text, _ in books))
    settings = DataConfig(abc_fields=fields or "K")
    whole = loading.read_as(settings, corpus)
    assert settings.separator == "\n\n"
    for document, (_, expected) in zip(whole.documents, books, strict=True):
        found = records_of(parts_of(document))
        assert isinstance(document, Records)
        assert found == [only_fields(tune, settings.abc_fields) + "\n" for tune in expected]
        assert all(notation.read(text).events for text in found)
        for text in found:
            assert set(header(text)) <= {*settings.abc_fields, *"KL"}
            assert text.endswith("\n\n")
            assert "\n\n" not in text[:-1]
            assert "\r" not in text
    split = read(whole)
    total = sum(len("".join(d.pieces())) for d in whole.documents)
    assert len(split.training) + len(split.held_out) == total


@pytest.mark.parametrize("fields", CHOSEN)
def test_a_piece_is_a_tune_whatever_pieces_the_file_comes_in(rng, fields, monkeypatch, tmp_path):
    text, expected = file_of(rng, 5)
    path = tmp_path / "book.abc"
    path.write_text(text)
    for size in (1, 3, 1000):
        monkeypatch.setattr("corpora.document.PIECE", size)
        for corpus in (corpus_of(text), corpora.load(str(path))):
            told = []
            (found,) = tunes.of_corpus(corpus, fields).documents
            assert [*found.pieces(told.append)] == [only_fields(x, fields) + "\n" for x in expected]
            assert found.name == corpus.documents[0].name
            assert found.facts == corpus.documents[0].facts
            assert found.size == corpus.documents[0].size
        assert sum(told) == len(text.encode())


def test_what_is_no_tune_is_left_out():
    text = (
        "\ufeffX:1\nK:D\nD|\n\nwords\n\nX:1\nT:no key\n\nX:2\nK:C\nAB|\n\nK:D\nno number|\n\n"
        "T:words\nX:4\nT:t\nK:G\nC|\n\nX:5\nV:1\nK:C\nA|\n\nX:6\nK:C\n[V:2]A|\n"  # voices
    )
    (found,) = tunes.of_corpus(corpus_of(text), "XT").documents
    assert [*found.pieces()] == [
        "X:1\nK:D\nD|\n\n", "X:2\nK:C\nAB|\n\n", "X:4\nT:t\nK:G\nC|\n\n",
    ]  # fmt: skip


def test_a_text_has_tunes_where_a_line_begins_with_their_number(rng):
    assert tunes.has_tunes(corpus_of(file_of(rng, 1)[0]))
    assert tunes.has_tunes(corpus_of("words", "X:1"))
    assert not tunes.has_tunes(corpus_of("M:6/8\nK:D\nABc|\n", "see X:1\n"))


def test_without_fields_a_corpus_is_the_same_object(rng):
    corpus = corpus_of(file_of(rng, 2)[0])
    assert tunes.of_corpus(corpus, None) is corpus
    assert loading.read_as(DataConfig(), corpus) is corpus
    (plain,) = loading.read_as(DataConfig(records="blank"), corpus).documents
    assert "T:t" in "".join(plain.pieces())


@pytest.mark.parametrize("text", ["", "It was the best of times.\n", "X:1\nT:t\n\nK:C\nABc|\n"])
def test_a_file_without_tunes_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "book.txt").write_text(text)
    for corpus in (corpora.load(str(tmp_path / "book.txt")), corpus_of(text)):
        whole = loading.read_as(DataConfig(abc_fields="MK"), corpus)
        with pytest.raises(CorpusError, match="expected tunes in ABC notation") as raised:
            read(whole)
        assert "leave out --abc-fields" in str(raised.value)
        assert whole.documents[0].name in str(raised.value)
        assert "\n" not in str(raised.value)


def test_the_cache_tells_fields_apart(rng, tmp_path):
    path = tmp_path / "book.abc"
    path.write_text(file_of(rng, 8)[0])
    settings = [{}, {"records": "blank"}, *({"abc_fields": x} for x in ("K", "MK", "TMK"))]
    settings.append({"abc_fields": "K", "normalize": "nfd"})

    def read_as(values):
        return loading.read_as(DataConfig(**values), corpora.load(str(path)))

    def identities():
        return [json.dumps(read_as(values).documents[0].identity) for values in settings]

    first = identities()
    assert len({*first}) == len(settings)
    assert identities() == first
    path.write_text(file_of(rng, 9)[0])
    assert not {*identities()} & {*first}
    assert tunes.of_corpus(corpus_of(""), "K").documents[0].identity is None
    texts = [read(read_as(values)).sha256 for values in settings]
    again = [read(read_as(values)).sha256 for values in settings]
    assert texts == again  # the second time from the cache
    assert len({*texts[2:5]}) == 3


@pytest.mark.parametrize("form", ["nfc", "nfd"])
def test_the_text_is_normalized_after_it_was_read(form):
    text = "X:1\nT:\u00e9 e\u0301\nK:C\nAB|\n\n"
    settings = DataConfig(abc_fields="T", normalize=form)
    (found,) = loading.read_as(settings, corpus_of(text)).documents
    one = {"nfc": "\u00e9", "nfd": "e\u0301"}[form]
    assert "".join(found.pieces()) == f"T:{one} {one}\nK:C\nAB|\n\n"


def test_a_field_may_be_the_context(rng):
    text, expected = file_of(rng, 12)
    whole = loading.read_as(DataConfig(abc_fields="MK"), corpus_of(text))
    found = [value for _, value in contexts.spans(whole, "M")]
    assert found == [header(tune)["M"] for tune in expected]


# --- settings ---


def test_settings_that_do_not_fit_together_are_refused():
    for others in ({"records": "line"}, {"records": "%"}, {"column": "text"}):
        with pytest.raises(InputError, match="--abc-fields has its own records; leave out"):
            DataConfig(abc_fields="MK", **others)
        assert DataConfig(**others).record_ends == others.get("records")
    assert DataConfig(abc_fields="MK", records="blank").separator == "\n\n"
    assert DataConfig(abc_fields="MK").record_ends == "blank"


@pytest.mark.parametrize(
    "fields", ["", "Y", "mk", "M K", "MK:", "M,K", "W", "KE", "\u039a", "V", "MKM"]
)
def test_letters_that_are_no_fields_are_refused(fields):
    with pytest.raises(
        InputError, match=f"--abc-fields to be different letters of fields .{KNOWN}., found"
    ):
        DataConfig(abc_fields=fields)


def test_all_fields_are_kept_if_asked_for(rng):
    letters = [*np.array([*KNOWN])[rng.permutation(len(KNOWN))]]
    lines = [f"{x}:{ {'M': '6/8', 'L': '1/8', 'K': 'C'}.get(x, 'x') }" for x in letters if x != "K"]
    text = "\n".join(["X:1", *(x for x in lines if x[0] != "X"), "K:C", "ABc def|", ""])
    (found,) = tunes.of_corpus(corpus_of(text), "".join(letters)).documents
    assert "".join(found.pieces()) == text + "\n"


def test_an_encoded_text_has_its_fields_already(tmp_path, monkeypatch):
    corpus = Corpus("folder", (), encoded=tmp_path)
    monkeypatch.setattr(loading.shards, "read_index", lambda folder: DataConfig())
    assert loading.read_as(DataConfig(), corpus) is corpus
    with pytest.raises(InputError, match="cannot use --abc-fields with folder, an encoded text"):
        loading.read_as(DataConfig(abc_fields="MK"), corpus)
