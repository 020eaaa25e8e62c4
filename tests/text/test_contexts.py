"""Law: each id of a text keeps its context, in windows, in stretches and in tokens."""

from dataclasses import replace

import numpy as np
import pytest

import corpora.contexts
from charlm.config import DataConfig
from charlm.errors import InputError
from charlm.text import contexts
from charlm.text.contexts import Stretches
from charlm.text.encode import read
from charlm.training.training_windows import held_out_windows, training_windows
from corpora import Corpus, Document, records, tunes
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
                Stretches.of(lengths, numbers).at(places), whole[places % len(whole)]
            )


def test_windows_have_the_context_of_each_id():
    text = with_contexts(speeches())
    assert text.contexts.known.names == ("A", "B", "C", "D")
    windows = training_windows(text, DataConfig(batch_size=3, window=7, restart_every=2))
    for step in range(len(windows)):
        (inputs, _), following = windows[step]
        assert inputs.shape == (3, 7, 2)
        check(text, following, inputs[..., 1])  # an id is read in the context of the next
        np.testing.assert_array_equal(inputs[:, 1:, 0], following[:, :-1])
    (several, _), _ = windows[np.arange(4)]
    np.testing.assert_array_equal(several[3], windows[3][0][0])


@pytest.mark.parametrize("limit", [0, 100])
def test_held_out_windows_have_the_context_of_each_id(limit):
    text = with_contexts(speeches())
    for ids, numbers in zip(text.to_measure(limit), text.contexts_to_measure(limit), strict=True):
        check(text, ids[1:], numbers[:-1])
    windows = held_out_windows(text, DataConfig(max_held_out=limit))
    seen = 0
    for step in range(len(windows)):
        (inputs, _), following, weights = windows[step]
        check(text, following[weights > 0], inputs[..., 1][weights > 0])
        seen += (weights > 0).sum()
    assert seen == windows.targets
    assert windows.ids.max() < len(text.vocab)


@pytest.mark.parametrize("piece", [5, 2**20])
@pytest.mark.parametrize("unit", ["bpe:270", "words:20"])
def test_tokens_have_the_context_of_their_first_character(monkeypatch, unit, piece):
    monkeypatch.setattr(contexts, "PIECE", piece)
    corpus = speeches()
    ends = ["", "\u00e9", "\u20ac", "\U0001f601"]  # which the tokens spell in bytes
    documents = (replace(d, text=f"{d.text}{ends[k % 4]}") for k, d in enumerate(corpus.documents))
    text = with_contexts(replace(corpus, documents=tuple(documents)))
    split = text.translated(with_contexts(corpus).learned_vocab(unit))
    for part in ("training", "held_out"):
        ids, found = getattr(split, part), getattr(split.contexts, part)
        before, lengths = getattr(text.contexts, part), split.vocab.lengths[ids]
        assert 0 in lengths
        of = np.maximum(np.cumsum(lengths > 0) - 1, 0)  # the token that has the character
        starts = (np.cumsum(lengths) - lengths)[lengths > 0][of]
        np.testing.assert_array_equal(found.at(np.arange(len(ids))), before.at(starts))
        assert found.ends[-1] == len(ids)


def test_what_training_has_not_is_unknown():
    corpus = speeches(30)
    odd = replace(corpus.documents[15], president="Z")  # held out as a whole
    documents = (*corpus.documents[:15], odd, *corpus.documents[16:])
    text = with_contexts(replace(corpus, documents=documents))
    assert "Z" not in text.contexts.known.names
    numbers = [set(c.tolist()) for c in text.contexts_to_measure()]
    assert {0} in numbers
    assert all(len(x) == 1 for x in numbers)
    first, note = text.contexts.describe("president")
    assert first == "4 contexts by president: A, B, C, D"
    assert "% of the held-out text is in contexts that training does not read (Z)" in note


def test_texts_without_a_value_are_counted():
    corpus = speeches()
    pairs = enumerate(corpus.documents)
    documents = (replace(d, president=d.president * (k % 2)) for k, d in pairs)
    found = with_contexts(replace(corpus, documents=tuple(documents))).contexts
    lines = found.describe("president")
    assert lines[0] == "2 contexts by president: B, D"
    read = [d.text for k, d in enumerate(corpus.documents) if k % 10 != 5]  # those trained on
    numbers = [k for k in range(30) if k % 10 != 5]
    none = sum(len(x) for k, x in zip(numbers, read, strict=True) if k % 2 == 0)
    share = none / sum(map(len, read))
    assert found.training.share(0) == pytest.approx(share)
    assert lines[1] == f"NOTE: {share:.0%} of the training text has no known president"


def test_training_texts_are_counted_by_context():
    corpus = speeches()
    documents = (replace(d, president="ABC"[min(k % 4, 2)]) for k, d in enumerate(corpus.documents))
    known = with_contexts(replace(corpus, documents=tuple(documents))).contexts.known
    trained = [min(k % 4, 2) for k in range(30) if k % 10 != 5]
    assert known.counts == tuple(trained.count(k) for k in range(3))


def test_tunes_have_an_upbeat():
    music = {"C 0": "M:C\nL:1/8\nK:D\nd8|d8|]", "C 1/8": "M:C\nL:1/8\nK:D\nA|d8|d7|]",
             "6/8 1/4": "M:6/8\nL:1/8\nK:D\nA2|d6|d4:|", "": "M:C\nL:1/8\nK:D\nd8&|"}  # fmt: skip
    found = [(value, f"X:{k}\n{tune}") for k, (value, tune) in enumerate(5 * [*music.items()])]
    file = Document("t.abc", "\n\n".join(tune for _, tune in found) + "\n")
    corpus = records.of_corpus(tunes.of_corpus(Corpus("t", (file,)), "MK"), "blank", None, "nfc")
    spans = [*corpora.contexts.spans(corpus, "upbeat")]
    assert [value for _, value in spans] == [value for value, _ in found]
    assert sum(n for n, _ in spans) == len("".join(corpus.documents[0].pieces()))
    text = with_contexts(corpus, "upbeat")
    assert text.contexts.known.names == ("6/8 1/4", "C 0", "C 1/8")
    plain = records.of_corpus(Corpus("t", (file,)), "blank", None)
    with pytest.raises(InputError, match="records with 'upbeat' in t, found none"):
        with_contexts(plain, "upbeat")


def test_a_fingerprint_tells_values_apart():
    corpus = speeches()
    documents = (replace(corpus.documents[0], president="B"), *corpus.documents[1:])
    other = replace(corpus, documents=documents)
    assert read(other).sha256 == read(corpus).sha256
    a, b = (with_contexts(x).contexts.known for x in (corpus, other))
    assert a.names == b.names
    assert a.sha256 != b.sha256
    swap = {"A": "B", "B": "A"}  # everywhere
    documents = (replace(d, president=swap.get(d.president, d.president)) for d in corpus.documents)
    swapped = with_contexts(replace(corpus, documents=tuple(documents))).contexts.known
    assert swapped.names == a.names
    assert swapped.sha256 != a.sha256
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
    known = contexts.KnownContexts(("Bush", "bush", "Jose\u0301"), "")
    assert [known.number(x) for x in ("Bush", "bush", "jos\u00e9")] == [1, 2, 3]
    for name in ("BUSH", "Lincoln", ""):
        with pytest.raises(InputError, match=r"trained on, found .*; give one of Bush, bush, Jose"):
            known.number(name)


def test_what_ends_a_record_is_read_in_the_context_of_the_next_one():
    """So the first character of a record depends on its context, as when it is sampled."""
    rows = [f"{'AB'[k % 3 > 0]},{'ab'[k % 3 > 0] * 3}" for k in range(60)]
    table = Document("t", "\n".join(["who,text", *rows]) + "\n")
    corpus = records.of_corpus(Corpus("t", (table,)), "line", "text")
    text = with_contexts(corpus, "who")
    data = DataConfig(
        batch_size=2, window=9, restart_every=1, column="text", records="line", context="who"
    )
    windows = training_windows(text, data)
    for step in range(len(windows)):
        (inputs, fresh), following = windows[step]
        check(text, following, inputs[..., 1])
        assert fresh.all()
        assert (inputs[:, 0, 0] == text.vocab.encode("\n")).all()
    held_out = held_out_windows(text, data)
    for step in range(len(held_out)):
        (inputs, _), following, weights = held_out[step]
        check(text, following[weights > 0], inputs[..., 1][weights > 0])
