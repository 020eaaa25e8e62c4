"""Law: what makes held-out text an unfair measure is counted, cached or not."""

import pytest

import corpora
from charlm.text import encode, id_cache
from charlm.text.overlap import Overlap
from corpora.document import cuts


@pytest.fixture(params=["in memory", "cached"], autouse=True)
def either(request, tmp_path, monkeypatch):
    if request.param == "cached":
        monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
        monkeypatch.setattr(encode, "IN_MEMORY", 0)
        monkeypatch.setattr(encode, "WORTH_A_THREAD", 32)
    monkeypatch.setattr("corpora.files.PIECE", 16)


def overlap(folder, texts):
    folder.mkdir()
    for k, text in enumerate(texts):
        (folder / f"{k:03}").write_text(text)
    found = encode.read(corpora.load(str(folder)), [].append)
    said = []
    assert encode.read(corpora.load(str(folder)), said.append).overlap == found.overlap
    assert not said  # the second time, the ids of a large text come from the cache
    return found


def test_figures_are_those_of_all_documents_compared(tmp_path, rng):
    for turn in range(9):
        same = ["".join(rng.choice([*"abcé"], n)) for n in (20, 50)]
        other = ["".join(rng.choice([*"abxyz😀"], n)) for n in rng.choice([20, 33, 50], 30)]
        texts = [str(rng.choice([*same, x])) for x in other[: rng.integers(5, 30)]]
        kept = cuts([*map(len, texts)])
        training = "".join(t[:n] for t, n in zip(texts, kept, strict=True))
        whole = [t for t, n in zip(texts, kept, strict=True) if n]
        held_out = [(t, t[n:]) for t, n in zip(texts, kept, strict=True) if t[n:]]
        copies = [t for t, part in held_out if t == part and t in whole]
        rest = "".join(part for _, part in held_out)
        unseen = {c: rest.count(c) for c in rest if c not in training}
        found = overlap(tmp_path / str(turn), texts)
        assert found.overlap == Overlap(len(copies), sum(map(len, copies)), unseen)


def test_documents_of_one_length_that_end_alike_are_no_copies(tmp_path):
    found = overlap(tmp_path / "alike", [f"{k:02} It was the best of times" for k in range(20)])
    assert found.overlap.repeated == 0


def test_copies_and_unseen_characters_have_a_line_each(tmp_path):
    texts = ["It was the best."] * 20
    found = overlap(tmp_path / "same", texts)
    (line,) = found.overlap.notes(len(found.held_out_lengths), len(found.held_out))
    assert "2 of 2 held-out documents (32 of 32 held-out characters) also stand" in line
    texts[5] = "It ½ was ½ the€"
    found = overlap(tmp_path / "other", texts)
    lines = found.overlap.notes(len(found.held_out_lengths), len(found.held_out))
    assert "1 of 2 held-out documents (16 of 31 held-out" in lines[0]
    assert "held-out text: 2 ('½€'), 3 of 31 held-out characters" in lines[1]


def test_a_fair_split_has_no_line(tmp_path):
    found = overlap(tmp_path / "fair", ["It was the best. " * 9])
    assert found.overlap.notes(len(found.held_out_lengths), len(found.held_out)) == []
