"""Law: tokens give every text back, count its characters, and do not depend on how it is cut."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import regex

import corpora
from charlm.errors import InputError
from charlm.text import encode, id_cache, token_ids, tokenizing, units
from charlm.text.tokenizing import NAMES
from charlm.text.tokens import TokenVocab, from_stored
from charlm.text.vocab import UnknownCharacterError
from corpora import Corpus
from corpora.document import Document

WORDS = ["the", "people", "naïve", "state", "of", "don't", "Union", "1945", "--", "»", "мир"]
HARD = [
    "", "\n", " ", "a", "\0\x01\x7f", "\r\n\r", "  \t \n\n  x", "é e\u0301 ﬁ", "😀👩‍👩‍👧",
    "\U0010ffff",
    "日本語の文章", "שלום עולם", "x" * 5000, "=" * 200 + "\n", "[UNK] <s> </s> ##a Ġthe Ċ",
]  # fmt: skip
VOCABS = {"bpe": 290, "words": 12}


def text(rng, n=400):
    return "".join(rng.choice(WORDS) + rng.choice([" ", " ", "\n", ". ", ""]) for _ in range(n))


@pytest.fixture(scope="module", params=VOCABS)
def vocab(request):
    rng = np.random.default_rng(5)
    return TokenVocab.learned(request.param, VOCABS[request.param], [text(rng), text(rng)])


def any_text(rng):
    """Characters of all planes, between words."""
    codes = rng.integers(0, 0x110000, size=40)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]
    parts = [chr(c) for c in codes] + rng.choice(WORDS, 40).tolist() + [" ", "\n"] * 20
    return "".join(rng.permutation(parts))


def test_every_text_is_given_back(vocab, rng):
    for x in [*HARD, *(any_text(rng) for _ in range(50))]:
        ids = vocab.encode(x)
        assert vocab.decode(ids) == x
        assert vocab.lengths[ids].sum() == len(x)
        decode, cuts = vocab.decoder(), np.sort(rng.integers(0, len(ids) + 1, 5))
        assert "".join(decode(part) for part in np.split(ids, cuts)) == x
        assert x in vocab
        assert ids.max(initial=0) < len(vocab) <= 1 + np.iinfo(vocab.dtype).max


def test_words_are_tokens_and_pairs_are_merged(vocab):
    x = "the people of the state of the people"
    assert len(vocab.encode(x)) < len(x) / 1.6
    assert (" people" if vocab.kind == "words" else "of") in vocab.texts


def test_half_a_character_is_refused_by_name_and_place(vocab):
    with pytest.raises(UnknownCharacterError, match=r"'\\ud800' at position 2"):
        vocab.encode("ab\ud800")
    found = encode.read(Corpus("made", (Document("a", "the people of \ud800 " * 99),)))
    with pytest.raises(InputError, match=r"expected Unicode text for --tokens words:1"):
        found.learned_vocab("words:1")
    assert vocab.known("ab\ud800c") == "abc"
    assert "\ud800" not in vocab


@pytest.mark.parametrize("separator", [None, "\n\n", "of the", "\n", "--"])
@pytest.mark.parametrize("unit", VOCABS)
def test_tokens_do_not_depend_on_blocks_and_stay_within_records(unit, separator, rng, monkeypatch):
    monkeypatch.setattr(tokenizing, "BLOCK", 40)
    vocab = TokenVocab.learned(unit, VOCABS[unit], [text(rng), "\n\n" * 9], separator)
    end, count = vocab.encode(separator or "x").tolist(), 0
    for _ in range(10):
        x = text(rng, 60) + "\n\n" + text(rng, 60) + "\n\n\n\n" + text(rng, 60)
        assert len([*tokenizing.blocks(x, separator)]) > 5
        ids = vocab.encode(x).tolist()
        assert ids == vocab.tokenizer.encode(x).ids
        begins = np.cumsum([0, *(len(vocab.bytes[k]) for k in ids)]).tolist()
        for found in regex.finditer(regex.escape((separator or "").encode()), x.encode()):
            if separator:  # has its own tokens, everywhere
                k = begins.index(found.start())
                assert ids[k : k + len(end)] == end
                count += 1
    assert (count > 0) == (separator is not None)


def test_blocks_end_before_blanks_or_where_there_are_none(monkeypatch):
    monkeypatch.setattr(tokenizing, "BLOCK", 4)
    assert [*tokenizing.blocks("ab cd ef gh")] == ["ab cd", " ef gh"]
    assert [*tokenizing.blocks("abcdefghijk")] == ["abcdefgh", "ijk"]
    assert [*tokenizing.blocks("abcd f gh ij", "d f")] == ["abcd f", " gh ij"]


@pytest.mark.parametrize("unit", VOCABS)
def test_learning_twice_gives_the_same_tokens(unit, rng):
    parts = [text(rng, 3000), text(rng, 3000)]
    one, two = (TokenVocab.learned(unit, VOCABS[unit], parts) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert len(one) == VOCABS[unit] + 256 * (unit == "words")


def test_words_are_the_most_frequent():
    vocab = TokenVocab.learned("words", 2, ["a sun, a sun, the sun, the moon"] * 2)
    assert vocab.texts[256:] == [" sun", " the"]
    ids = vocab.encode(" suns")
    assert [vocab.texts[k] for k in ids] == [" sun", "s"]


@pytest.mark.parametrize("unit", VOCABS)
def test_too_many_tokens_are_refused_with_the_most_that_there_are(unit):
    parts = ["the people of the state of the people"] * 3
    with pytest.raises(InputError, match=rf"--tokens {unit}:N with N at most (\d+).*:9999") as e:
        TokenVocab.learned(unit, 9999, parts)
    most = int(regex.search(r"at most (\d+)", str(e.value))[1])
    assert len(TokenVocab.learned(unit, most, parts)) == most + 256 * (unit == "words")
    with pytest.raises(InputError):
        TokenVocab.learned(unit, most + 1, parts)


def test_what_is_stored_is_read_back(vocab, rng):
    again = from_stored(json.loads(json.dumps(vocab.stored())))
    assert again == vocab
    x = text(rng)
    np.testing.assert_array_equal(again.encode(x), vocab.encode(x))


def changes(stored):
    """Yields descriptions that are no vocabulary."""
    fitting = {
        "separator": [None, "bpe ", " "],
        "merges": ["", " "],
    }  # a text without pairs has none
    for key in stored:
        yield {k: v for k, v in stored.items() if k != key}
        for value in (None, 3, "bpe ", "", " ", [], {}, [[]], [None], "\ud800", "x" * 1001):
            if value not in fitting.get(key, []):
                yield stored | {key: value}
    yield stored | {"more": 1}
    names, merges = stored["tokens"].split(), stored["merges"].split()
    for place, value in (
        (0, ""), (0, names[1]), (0, "a b"), (0, "日"), (280, "Ġ" * 1001), (279, names[280]),
    ):  # fmt: skip
        yield stored | {"tokens": " ".join([*names[:place], value, *names[place + 1 :]])}
    more = [f"{x}{y}" for x in NAMES for y in NAMES]
    yield stored | {"tokens": " ".join([*names, *more])}
    yield stored | {"tokens": " ".join(names[:280])}
    yield stored | {"tokens": " ".join(names[1:])}
    for pair in (["0"], ["0", "1", "2"], ["-1", "0"], ["0", "99999"], ["0", "0.5"], ["60", "255"],
                 ["0", "9" * 5000], ["³", "1"]):  # fmt: skip
        yield stored | {"merges": " ".join([*pair, *merges])}
    yield [*stored]
    yield None


def test_a_vocabulary_of_a_stranger_is_refused_unless_it_is_whole(rng):
    stored = TokenVocab.learned("bpe", 290, [text(rng)]).stored()
    from_stored(stored)
    for other in changes(stored):
        with pytest.raises(InputError):
            from_stored(other)


def test_merges_belong_to_byte_pairs():
    stored = TokenVocab.learned("words", 3, ["a sun, a sun, the sun, the moon " * 3]).stored()
    with pytest.raises(InputError, match="byte pairs only"):
        from_stored(stored | {"merges": "0 1"})


@pytest.fixture(params=["in memory", "cached"])
def corpus(request, tmp_path, monkeypatch, rng):
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    if request.param == "cached":
        monkeypatch.setattr(token_ids, "IN_MEMORY", 0)
    monkeypatch.setattr(token_ids, "PIECE", 1000)
    monkeypatch.setattr(tokenizing, "BLOCK", 60)
    documents = tuple(Document(str(k), text(rng, 90)) for k in range(25))
    return encode.read(Corpus("made", documents))


@pytest.mark.parametrize("tokens", ["bpe:300", "words:11"])
def test_a_text_in_tokens_is_the_same_text(corpus, tokens):
    vocab = corpus.learned_vocab(tokens)
    found = corpus.translated(vocab)
    assert vocab.decode(np.asarray(found.training)) == corpus.vocab.decode(corpus.training)
    held_out = [vocab.decode(np.asarray(d)) for d in found.to_measure()]
    assert held_out == [corpus.vocab.decode(d) for d in corpus.to_measure()]
    assert found.training.dtype == vocab.dtype
    assert (found.training_characters, found.held_out_characters) == (
        len(corpus.training), len(corpus.held_out),
    )  # fmt: skip
    assert found.translated(vocab) is found
    assert (found.sha256, found.overlap) == (corpus.sha256, corpus.overlap)
    stretches = found.to_measure(500)
    assert sum(vocab.lengths[d].sum() for d in stretches) == pytest.approx(500, rel=0.2)
    counts = np.bincount(np.asarray(found.training), minlength=len(vocab)) + 1
    np.testing.assert_allclose(found.log_shares(vocab), np.log(counts / counts.sum()), rtol=1e-6)


def test_a_large_text_is_encoded_once(corpus, tmp_path, monkeypatch):
    vocab = corpus.learned_vocab("bpe:300")
    first = corpus.translated(vocab)
    files = [*tmp_path.glob("cache/*.ids")]
    monkeypatch.setattr(TokenVocab, "encode", None if files else TokenVocab.encode)
    second = corpus.translated(vocab)
    np.testing.assert_array_equal(np.asarray(first.training), np.asarray(second.training))
    assert len(files) == (token_ids.IN_MEMORY == 0)


def test_two_texts_of_the_same_sizes_have_their_own_files(tmp_path, monkeypatch):
    monkeypatch.setenv(id_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(token_ids, "IN_MEMORY", 0)
    for word in ("peace ", "state "):
        found = encode.read(Corpus("made", (Document("a", word * 100),)))
        vocab = TokenVocab("bpe", [*tokenizing.NAMES])
        tokens = found.translated(vocab)
        assert vocab.decode(np.asarray(tokens.training)) == found.vocab.decode(found.training)


@pytest.mark.parametrize("separator", ["|| ", "x. \n", ";\n\n", "||"])
def test_pieces_of_a_text_have_its_tokens(separator, rng, monkeypatch):
    """A separator is cut neither by blocks nor where a piece of the text ends."""
    monkeypatch.setattr(tokenizing, "BLOCK", 40)
    x = "".join(text(rng, 4) + separator * rng.integers(2) for _ in range(60))
    found = encode.read(Corpus("made", (Document("a", x),)))
    vocab = TokenVocab.learned("bpe", 280, [x], separator)
    monkeypatch.setattr(tokenizing, "BLOCK", 10**6)
    whole = vocab.encode(x[: len(found.training)]).tolist()
    monkeypatch.setattr(tokenizing, "BLOCK", 40)
    for size in range(97, 200, 7):
        monkeypatch.setattr(token_ids, "PIECE", size)
        assert found.translated(vocab).training.tolist() == whole


def test_measured_stretches_begin_with_whole_characters(rng):
    x = "".join(rng.permutation([*"мир日本é"] * 500))
    found = encode.read(Corpus("made", (Document("a", x),)))
    tokens = found.translated(found.learned_vocab("bpe:256"))
    for ids in tokens.to_measure(limit=150):
        assert tokens.vocab.decode(ids).rstrip("\ufffd") in x


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_splits_texts_too():
    program = (
        "import os\n"
        "from charlm.text.tokens import TokenVocab\n"
        "x = 'the people of the state\\n' * 9000\n"
        "vocab = TokenVocab.learned('bpe', 260, [x])\n"
        "n = len(vocab.encode(x))\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if len(vocab.encode(x)) == n else 3)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr


def test_texts_are_cut_at_the_whitespace_of_the_library():
    for k in (*range(0x300), *range(0x1600, 0x3100)):
        x = f"a{chr(k)}b"
        assert [m.start() for m in tokenizing.CUT.finditer(x)] == [1] * bool(
            regex.match(r"\s", x[1])
        )


def test_words_need_blanks_between_them():
    found = encode.read(Corpus("made", (Document("a", "今日は天気がいいです。\n" * 40 + "Yes, "),)))
    with pytest.raises(InputError, match=r"blanks between its words.*give --tokens bpe:N"):
        found.learned_vocab("words:5")
    assert len(found.learned_vocab("bpe:260")) == 260
    assert found.learned_vocab("characters") is found.vocab


def test_the_missing_library_is_named(monkeypatch, rng):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"tokenizers is not installed; pip install -e '\.\[tok"):
        TokenVocab.learned("bpe", 300, [text(rng)])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("characters", None), ("bpe:256", ("bpe", 256)), ("bpe:65536", ("bpe", 65536)),
        ("words:1", ("words", 1)), ("words:65280", ("words", 65280)),
    ],
)  # fmt: skip
def test_units_are_read(value, found):
    assert units.is_valid(value)
    assert units.parse(value) == found


@pytest.mark.parametrize(
    "value",
    ["", "bpe", "bpe:", "bpe:255", "bpe:65537", "bpe:1_000", "bpe: 300", "bpe:-300", "bpe:³00",
     "words:0", "words:65281", "word:5", "characters:5", "Bpe:300", "bpe:300:2",
     "bpe:" + "9" * 5000],
)  # fmt: skip
def test_other_units_are_not(value):
    assert not units.is_valid(value)


def test_the_speeches_have_fewer_tokens_than_characters():
    name = "pydoc"
    found = encode.read(corpora.load(name))
    tokens = found.translated(found.learned_vocab("bpe:1000"))
    assert len(tokens.training) < 0.5 * len(found.training)
