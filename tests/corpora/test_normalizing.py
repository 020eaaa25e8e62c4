"""Law: a text normalized in pieces is the text normalized as a whole."""

import itertools
import unicodedata

import pytest

import corpora
from corpora import Corpus, Document
from corpora.normalizing import APART, in_pieces, normalize, normalized

FORMS = "nfc", "nfd", "nfkc"
# letters, marks of several classes, Hangul letters, compatibility forms, what decomposes to marks
AWKWARD = (
    "ae\u00e9\u00c5\u0301\u0307\u0323\u0327\u0344\u0345\u1100\u1161\u11a8\uac00\uac01\u0f71\u0f72"
    "\u0f73\u09c7\u09be\u0dd9\u0dcf\u3099\u304b\uff76\uff9e\ufb01\ufb2c\u212b\u00a8\u00b4\u4e00"
    "\uf900\u037a\u1fbd\n \ud800\U0001d15e\U0001d165\U00011131\U00011127\u3164\uffa1"
)


def random_text(rng, n):
    return "".join(rng.choice([*AWKWARD], n))


@pytest.mark.parametrize("form", FORMS)
def test_pieces_equal_the_whole(rng, form):
    for _ in range(300):
        text = random_text(rng, rng.integers(1, 30))
        cuts = sorted(rng.integers(0, len(text) + 1, rng.integers(0, 6)))
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        found = [*in_pieces(pieces, form)]
        assert "".join(found) == unicodedata.normalize(form.upper(), text)
        assert all(found)


@pytest.mark.parametrize("form", FORMS)
def test_where_a_text_is_cut_nothing_joins(form):
    before = {c: normalized(c, form) for c in AWKWARD}
    every = [*range(0x300), *range(0x300, 0x110000, 397)]
    marks = filter(unicodedata.combining, map(chr, range(0x110000)))
    for c in filter(APART.match, [*map(chr, every), *marks]):
        alone = normalized(c, form)
        assert not unicodedata.combining(alone[0])
        assert all(normalized(b + c, form) == x + alone for b, x in before.items())


def test_a_long_text_is_not_kept_back(rng):
    pieces = ["e\u0301 \u4e00" * 50] * 9
    assert len([*in_pieces(iter(pieces), "nfc")]) >= 9


def test_a_file_has_an_identity_in_each_form(tmp_path):
    (tmp_path / "f").write_text("x")
    corpus = corpora.load(str(tmp_path / "f"))
    found = [normalize(corpus, form).documents[0].identity for form in ("none", *FORMS)]
    assert len({str(x) for x in found}) == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_corpus_has_each_document_in_the_form(rng, form):
    texts = [random_text(rng, n) for n in (9, 1, 40)]
    corpus = Corpus("c", tuple(Document(str(k), text) for k, text in enumerate(texts)))
    found = normalize(corpus, form)
    assert [d.text for d in found.documents] == [normalized(text, form) for text in texts]
    assert [(d.name, d.identity) for d in found.documents] == [(str(k), None) for k in range(3)]
    assert normalize(corpus, "none") is corpus
