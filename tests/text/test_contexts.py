"""Law: each id of a text keeps its context, in windows, in stretches and in tokens."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.text import contexts
from charlm.text.contexts import Runs
from charlm.text.encode import read
from charlm.training.training_windows import held_out_windows, training_windows
from corpora import Corpus, Document
from corpora.document import Speech


def speeches(count=30, words=40, seed=0, sure=1.0):
    """Texts in whose words every letter names the president: A speaks in a's, B in b's.

    Only a share of the words does, if it is not sure; the others are anybody's.
    """
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        who = "ABCD"[k % 4]
        letters = [who if rng.random() < sure else rng.choice([*"ABCD"]) for _ in range(words)]
        text = " ".join(x.lower() * rng.integers(1, 5) for x in letters) + "\n"
        found.append(Speech(f"{k}", text, 1900 + k, who, "none"))
    return Corpus("s", tuple(found))


def with_contexts(corpus, field="president"):
    return replace(read(corpus), contexts=contexts.read(corpus, field))


def check(text, ids, numbers):
    """Every letter is that of its context."""
    names = ("?", *text.contexts.known.names)
    for x, c in zip(np.ravel(ids), np.ravel(numbers), strict=True):
        letter = text.vocab.decode([x]).strip()
        assert set(letter) <= {names[c].lower()}, (letter, names[c])


def test_runs_are_what_they_stand_for(rng):
    for _ in range(50):
        lengths, numbers = rng.integers(0, 4, size=9), rng.integers(3, size=9)
        whole = np.repeat(numbers, lengths)
        if len(whole):
            places = rng.integers(3 * len(whole), size=(2, 5))
            np.testing.assert_array_equal(
                Runs.of(lengths, numbers).at(places), whole[places % len(whole)]
            )


def test_windows_have_the_context_of_each_id():
    text = with_contexts(speeches())
    assert text.contexts.known.names == ("A", "B", "C", "D")
    windows = training_windows(text, DataConfig(batch_size=3, window=7, restart_every=2))
    for step in range(len(windows)):
        (inputs, _), following = windows[step]
        assert inputs.shape == (3, 7, 2)
        check(text, inputs[..., 0], inputs[..., 1])
        np.testing.assert_array_equal(inputs[:, 1:, 0], following[:, :-1])
    (several, _), _ = windows[np.arange(4)]
    np.testing.assert_array_equal(several[3], windows[3][0][0])


@pytest.mark.parametrize("limit", [0, 100])
def test_held_out_windows_have_the_context_of_each_id(limit):
    text = with_contexts(speeches())
    for ids, numbers in zip(text.to_measure(limit), text.contexts_to_measure(limit), strict=True):
        check(text, ids, numbers)
    windows = held_out_windows(text, DataConfig(max_held_out=limit))
    seen = 0
    for step in range(len(windows)):
        (inputs, _), _, weights = windows[step]
        check(text, inputs[..., 0][weights > 0], inputs[..., 1][weights > 0])
        seen += (weights > 0).sum()
    assert seen == windows.targets
    assert windows.ids.max() < len(text.vocab)


@pytest.mark.parametrize("piece", [5, 2**20])
@pytest.mark.parametrize("unit", ["bpe:270", "words:20"])
def test_tokens_have_the_context_of_their_first_character(monkeypatch, unit, piece):
    monkeypatch.setattr(contexts, "PIECE", piece)
    text = with_contexts(speeches())
    split = text.translated(text.learned_vocab(unit))
    for part in ("training", "held_out"):
        ids, runs = getattr(split, part), getattr(split.contexts, part)
        before = getattr(text.contexts, part)
        starts = np.cumsum(split.vocab.lengths[ids]) - split.vocab.lengths[ids]
        np.testing.assert_array_equal(runs.at(np.arange(len(ids))), before.at(starts))
        assert runs.ends[-1] == len(ids)


def test_what_training_has_not_is_unknown():
    corpus = speeches(30)
    odd = replace(corpus.documents[15], president="Z")  # held out as a whole
    documents = (*corpus.documents[:15], odd, *corpus.documents[16:])
    text = with_contexts(replace(corpus, documents=documents))
    assert "Z" not in text.contexts.known.names
    numbers = [set(c.tolist()) for c in text.contexts_to_measure()]
    assert {0} in numbers
    assert all(len(x) == 1 for x in numbers)


def test_a_fingerprint_tells_values_apart():
    corpus = speeches()
    documents = (replace(corpus.documents[0], president="B"), *corpus.documents[1:])
    other = replace(corpus, documents=documents)
    assert read(other).sha256 == read(corpus).sha256
    a, b = (with_contexts(x).contexts.known for x in (corpus, other))
    assert a.names == b.names
    assert a.sha256 != b.sha256
    assert a == with_contexts(speeches()).contexts.known


@pytest.mark.parametrize(
    ("names", "about"),
    [
        (["A"] * 30, "two or more values of 'president' in the training text of s, found only 'A'"),
        ([""] * 30, "documents or records with 'president' in s, found none"),
        ([f"{k}" for k in range(1300)], r"at most 1,000 values of 'president' in s, found 1,170"),
    ],
)
def test_fields_that_tell_nothing_are_refused(names, about):
    documents = tuple(Speech(f"{k}", "text ", 1900, x, "none") for k, x in enumerate(names))
    with pytest.raises(InputError, match=about):
        contexts.read(Corpus("s", documents), "president")


def test_names_are_found_in_any_case_if_only_one_fits():
    known = contexts.KnownContexts(("Bush", "bush", "Ford"), "")
    assert [known.number(x) for x in ("Bush", "bush", "ford")] == [1, 2, 3]
    for name in ("BUSH", "Lincoln", ""):
        with pytest.raises(InputError, match=r"trained on \(Bush, bush, Ford\), found"):
            known.number(name)


def test_texts_of_no_document_are_refused_as_without_contexts():
    with pytest.raises(InputError, match="expected text in corpus"):
        with_contexts(Corpus("s", (Document("a", ""),)))
