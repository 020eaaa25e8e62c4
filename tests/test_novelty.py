"""Law: what is said to be new, copied or repeated is so by comparing all stretches of the texts."""

import numpy as np
import pytest

from charlm import novelty
from charlm.novelty import Known, repeated, source, words
from corpora.document import Document


def grams(ids, n):
    return [tuple(ids[k : k + n]) for k in range(len(ids) - n + 1)]


@pytest.fixture
def texts(rng):
    """A text of few characters, and one that is half copied from it."""
    known, new = rng.integers(4, size=500), rng.integers(4, size=200)
    new[40:90] = known[300:350]
    return known, new


@pytest.mark.parametrize("block", [7, 2**22])
def test_new_n_grams_are_those_that_are_not_there(texts, block, monkeypatch):
    monkeypatch.setattr(novelty, "BLOCK", block)
    known, new = texts
    found = Known(known, "")
    for n in (1, 2, 3, 4, 5, 8, 13, 50, 51):
        there = set(grams(known, n))
        expected = np.mean([gram not in there for gram in grams(new, n)])
        assert found.new(new, n) == pytest.approx(expected)
    assert found.new(new, 201) is None


def test_the_longest_copy(texts):
    known, new = texts
    at, length = Known(known, "").longest_copy(new)
    assert 50 <= length <= 60  # it may go on by chance
    assert tuple(new[at : at + length]) in grams(known, length)
    assert not set(grams(new, length + 1)) & set(grams(known, length + 1))
    assert Known(known, "").longest_copy(known) == (0, 500)
    assert Known(known, "").longest_copy(known[17:200]) == (0, 183)
    assert Known(known, "").longest_copy(new + 4)[1] == 0


def test_repeated_runs(rng):
    ids = rng.integers(3, size=300)
    for n in (1, 2, 3, 6):
        seen, again = set(), 0
        for gram in grams(ids, n):
            again += gram in seen
            seen.add(gram)
        assert repeated(ids, n) == pytest.approx(again / (301 - n))
    assert repeated(ids, 301) == 0


def test_hashes_tell_n_grams_apart(rng):
    """The numbers that stand for a million different stretches are different."""
    ids = rng.integers(90, size=1_000_000)
    for n in (8, 13):
        assert len(np.unique(novelty._hashes(ids, n))) == len(ids) - n + 1
    same = novelty._hashes(np.tile([5, 0, 0, 7, 1], 50), 5)
    assert len(np.unique(same)) == 5


def test_words():
    assert words("It's the WORLD's 2nd über-plan, don't-ask_me.") == [
        "it's", "the", "world's", "nd", "über", "plan", "don't", "ask", "me",
    ]  # fmt: skip
    known = Known(np.zeros(1, int), "The best of times")
    assert known.known_words("xx best of tomes tim") == pytest.approx(2 / 3)  # ends may be cut
    assert known.known_words("of") is None


def test_the_source_of_a_text_is_found_across_pieces(monkeypatch):
    monkeypatch.setattr("corpora.document.PIECE", 5)
    documents = [Document("a", "0123456789abcdefghij"), Document("b", "zzzzzzzzz89abcXYZ")]
    assert source(documents, "89abc") == ("a", 8)
    assert source(documents, "89abcX") == ("b", 9)
    assert source(documents, "0") == ("a", 0)
    assert source(documents, "hij") == ("a", 17)
    assert source(documents, "3456789abcdefgh") == ("a", 3)
    assert source(documents, "jz") is None
