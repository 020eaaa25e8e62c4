"""Law: what is said to be new, copied or repeated is so by comparing all stretches of the texts."""

import numpy as np
import pytest

from charlm.evaluation import novelty
from charlm.evaluation.novelty import TrainingTextIndex, self_repetition, source, words
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
    found = TrainingTextIndex(known, "")
    for n in (1, 2, 3, 4, 5, 8, 13, 50, 51):
        there = set(grams(known, n))
        several = [new[:60], new[60:61], new[61:]]  # no gram goes from one to the next
        expected = np.mean([gram not in there for text in several for gram in grams(text, n)])
        assert found.novel_ngram_share(several, n) == pytest.approx(expected)
    assert found.novel_ngram_share([new, new[:5]], 201) is None


def test_the_longest_copy(texts):
    known, new = texts
    copy = TrainingTextIndex(known, "").longest_copy([new[:20], new])
    assert 50 <= len(copy) <= 60  # it may go on by chance
    assert tuple(copy) in set(grams(known, len(copy))) & set(grams(new, len(copy)))
    assert not set(grams(new, len(copy) + 1)) & set(grams(known, len(copy) + 1))
    cut = TrainingTextIndex(known, "").longest_copy([new[:60], new[60:]])
    assert len(cut) < 40  # 20 of it in the one, 30 in the other
    for text in (known, known[17:200]):
        np.testing.assert_array_equal(TrainingTextIndex(known, "").longest_copy([new, text]), text)
    assert len(TrainingTextIndex(known, "").longest_copy([new + 4])) == 0


def test_repeated_runs_are_of_one_text(rng):
    texts = [rng.integers(3, size=n) for n in (300, 40, 2)]
    for n in (1, 2, 3, 6):
        again = total = 0
        for ids in texts:
            seen = set()
            for gram in grams(ids, n):
                again += gram in seen
                total += 1
                seen.add(gram)
        assert self_repetition(texts, n) == pytest.approx(again / total)
    assert self_repetition([texts[0]] * 5, 6) == self_repetition(texts[:1], 6)
    assert self_repetition(texts, 301) is None


@pytest.mark.full
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
    known = TrainingTextIndex(np.zeros(1, int), "The best of times")
    texts = ["xx best of tomes tim", "xx of times xx"]  # the ends of each may be cut
    assert known.known_words(texts) == pytest.approx(4 / 5)
    assert known.known_words(["of", ""]) is None


def test_the_source_of_a_text_is_found_across_pieces(monkeypatch):
    monkeypatch.setattr("corpora.document.PIECE", 5)
    documents = [Document("a", "0123456789abcdefghij"), Document("b", "zzzzzzzzz89abcXYZ")]

    def found(text, *counts):
        return source(
            [(d.name, d.pieces(), n) for d, n in zip(documents, counts, strict=True)], text
        )

    for text, expected in {
        "89abc": ("a", 8), "89abcX": ("b", 9), "0": ("a", 0), "hij": ("a", 17),
        "3456789abcdefgh": ("a", 3), "jz": None,
    }.items():  # fmt: skip
        assert found(text, 20, 17) == expected
    text = documents[0].text
    for begin in range(20):
        for end in range(begin + 1, 21):
            assert found(text[begin:end], 20, 0) == ("a", begin)
    assert found("89abc", 13, 17) == ("a", 8)
    assert found("89abc", 12, 17) == ("b", 9)  # what is held out does not count
    assert found("89abc", 12, 13) is None
