"""Law: an import gives each character the id that it had in training, or is refused.

What its ids stand for comes from a text in an order, or from a file; a model that then tells the
text worse than its unigram model is refused with both figures, and the order that fits is named.
"""

import contextlib
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from threadpoolctl import threadpool_info

from charlm import evaluate, export, gradients, import_weights, sample, train
from charlm.interop.keras_files import measure, readings
from charlm.reference.network import Network
from charlm.runs import checkpoint
from charlm.text.encode import read
from corpora import load
from tests.conftest import SMALL_TEXT

L = keras.layers
LAST = Path("saved_models/a/last.weights.h5")
ANYWAY = "--allow-worse-than-unigram"


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path


def by_code_point(text):
    return sorted(set(text))


def by_frequency(text):
    """What `keras.preprocessing.text.Tokenizer(char_level=True)` does with a text."""
    counts = {}
    for character in text:
        counts[character] = counts.get(character, 0) + 1
    return [c for c, _ in sorted(counts.items(), key=lambda row: row[1], reverse=True)]


ORDERS = {"codepoint": by_code_point, "frequency": by_frequency}


def random_model(rng, V, ids):
    first = [keras.Input((None,)), L.Embedding(V, 3)] if ids else [keras.Input((None, V))]
    model = keras.Sequential([*first, L.GRU(4, return_sequences=True), L.Dense(V)])
    model.set_weights([0.5 * rng.normal(size=w.shape) for w in model.weights])
    return model


def bigram_model(characters, text, first=0):
    """One that knows which character follows which, with these ids from `first` on."""
    V = first + len(characters)
    ids = np.array([characters.index(c) + first for c in text])
    counts = np.full((V, V), 0.1, "float32")
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    model = keras.Sequential(
        [keras.Input((None, V)), L.SimpleRNN(V, return_sequences=True), L.Dense(V)]
    )
    kernel = np.eye(V) + 0.5  # whichever the id, the logits are a row of the table
    table = np.log(counts / counts.sum(-1, keepdims=True))
    model.set_weights(
        [
            kernel,
            np.zeros((V, V)),
            np.zeros(V),
            np.linalg.solve(np.tanh(kernel), table),
            np.zeros(V),
        ]
    )
    return model


def probabilities(text):
    """The imported run's of each next character: {character: (n,)}."""
    saved = checkpoint.read(LAST)
    network = Network(saved.weights, len(saved.vocab), saved.config.model)
    logits, _, _ = network.forward(saved.vocab.encode(text)[None], network.initial_states(1))
    p = ops.convert_to_numpy(ops.softmax(logits[0]))
    return dict(zip(saved.vocab.characters, p.T, strict=True))


def assert_same_network(model, text, characters, first, ids):
    """The run tells what the model tells, under the condition that it is a character."""
    x = np.array([characters.index(c) + first for c in text])[None]
    logits = ops.convert_to_numpy(model(x if ids else np.eye(model.output_shape[-1])[x]))[0]
    expected = ops.convert_to_numpy(ops.softmax(logits[:, first:]))
    found = probabilities(text)
    assert set(found) == set(characters)
    for c, p in zip(characters, expected.T, strict=True):
        np.testing.assert_allclose(found[c], p, atol=1e-6)


@pytest.mark.product(3)
@pytest.mark.usual(2)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_whatever_the_order_the_run_is_the_same_network(
    here, rng, capsys, order, lower, first, ids
):
    text = "Ünder The Elms. " + SMALL_TEXT.replace("worst", "Worst") + "A B Z"
    Path("small.txt").write_text(text)
    text = text.lower() if lower else text
    characters = ORDERS[order](text)
    model = random_model(rng, first + len(characters), ids)
    model.save("x.keras")
    flags = ["--vocab-from", "small.txt", "--vocab-order", order, "--name", "a", ANYWAY]
    assert import_weights.main(["x.keras", *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("the text is read in lower case" in out) == lower
    assert ("id 0 is left out" in out) == (first == 1)
    assert_same_network(model, text[-60:], characters, first, ids)
    assert ("--corpus FILE, the text in lower case" in out) == lower


def test_the_order_of_frequency_is_that_of_a_tokenizer(here, rng):
    for n in (3, 40, 900):
        text = "".join(rng.choice([*"zyxwvutsRSTUabcé \n"], n))
        folder = here / f"{n}"
        folder.mkdir()
        for k, part in enumerate((text[: n // 3], text[n // 3 :])):
            (folder / f"{k}.txt").write_text(part)
        assert readings.by_frequency(load(str(folder))) == "".join(by_frequency(text))


def figures(line):
    return [float(x) for x in re.findall(r"\d+\.\d\d(?= bits|:|, which fits)", line)]


def unigram_bits(text):
    """Of the last tenth, by the shares in the rest with one more of each."""
    n = len(text) - int(len(text) * 0.1)
    counts = {c: text[:n].count(c) + 1 for c in set(text)}
    return np.mean([-np.log2(counts[c] / sum(counts.values())) for c in text[n + 1 :]])


def model_bits(model, characters, text):
    ids = np.array([characters.index(c) for c in text])[-int(len(text) * 0.1) :]
    logits = model(np.eye(len(characters))[ids[None, :-1]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(ids[None, 1:], logits)) / np.log(2)


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize(
    ("asked", "right"), [("codepoint", "frequency"), ("frequency", "codepoint")]
)
def test_the_wrong_order_is_refused_and_the_right_one_named(here, capsys, asked, right):
    characters = ORDERS[right](SMALL_TEXT)
    model = bigram_model(characters, SMALL_TEXT)
    model.save("x.keras")
    flags = ["--vocab-from", "small.txt", "--name", "a"]
    flags += ["--vocab-order", asked] if asked == "frequency" else []
    assert import_weights.main(["x.keras", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert not Path("saved_models").exists()
    assert f"--vocab-order {right} gives" in err
    assert "which fits" in err
    unigram, wrong, fits = figures(err)
    assert unigram == pytest.approx(unigram_bits(SMALL_TEXT), abs=0.006)
    assert wrong == pytest.approx(
        model_bits(model, ORDERS[asked](SMALL_TEXT), SMALL_TEXT), abs=0.006
    )
    assert fits == pytest.approx(model_bits(model, characters, SMALL_TEXT), abs=0.006)
    assert fits < unigram < wrong
    assert import_weights.main(["x.keras", *flags, "--vocab-order", right]) == 0
    out, _ = capsys.readouterr()
    assert (
        f"{fits:.2f} bits/char on 211 characters of small.txt (a unigram model, which only knows "
        f"how frequent each character is: {unigram:.2f})" in out
    )
    assert sample.main(["a", "--length", "20", "--seed", "1"]) == 0


def test_a_model_of_another_text_is_refused_unless_it_is_wanted(here, capsys):
    characters = list("".join(ORDERS["codepoint"](SMALL_TEXT))[::-1])
    bigram_model(characters, SMALL_TEXT).save("x.keras")
    flags = ["--vocab-from", "small.txt", "--name", "a"]
    assert import_weights.main(["x.keras", *flags]) == 2
    _, err = capsys.readouterr()
    assert re.search(r"--vocab-order frequency gives [\d.]+; give the text .* as --vocab-from", err)
    assert "or its characters as --vocab; --allow-worse-than-unigram imports it" in err
    assert import_weights.main(["x.keras", *flags, ANYWAY]) == 0
    bits, unigram = figures(capsys.readouterr().out)[:1], unigram_bits(SMALL_TEXT)
    assert bits[0] > unigram


@pytest.mark.soak
def test_lower_case_goes_on_training_with_a_text_in_lower_case(here, capsys):
    text = SMALL_TEXT.replace("worst", "Worst")
    Path("small.txt").write_text(text)
    Path("lower.txt").write_text(text.lower())
    bigram_model(by_frequency(text.lower()), text.lower()).save("x.keras")
    flags = ["--vocab-from", "small.txt", "--name", "a", "--vocab-order", "frequency"]
    assert import_weights.main(["x.keras", *flags]) == 0
    small = ["--epochs", "1", "--batch-size", "4", "--window", "16", "--sample-length", "0"]
    assert train.main(["--resume", "a", *small]) == 2
    assert "expected the text the run was trained on" in capsys.readouterr().err
    assert train.main(["--resume", "a", "--corpus", "lower.txt", *small]) == 0


def test_an_id_that_the_model_does_not_have_is_not_passed_over(here, capsys):
    bigram_model("abcd", "abcd").save("x.keras")
    Path("v.json").write_text(json.dumps(["", *"abcd"]))
    assert import_weights.main(["x.keras", "--vocab", "v.json", "--name", "a"]) == 2
    assert (
        "expected a vocabulary of 4 characters, as x.keras has, found 5" in capsys.readouterr().err
    )


def test_a_guess_that_cannot_be_measured_is_not_taken(here, capsys):
    Path("few.txt").write_text("It was the best of times. ")
    V = len(set("It was the best of times. ".lower()))
    for more in (0, 2):  # in lower case, and with an id too many
        model = bigram_model([*map(chr, range(97, 97 + V + more))], "abc")
        model.save("x.keras")
        assert import_weights.main(["x.keras", "--vocab-from", "few.txt", "--name", "a"]) == 2
        err = capsys.readouterr().err
        assert (
            f"expected a vocabulary of {V + more} characters, as x.keras has, found {V + 1}" in err
        )


def test_a_model_of_words_is_named(here, rng, capsys):
    random_model(rng, 300, ids=True).save("x.keras")
    assert import_weights.main(["x.keras", "--vocab-from", "small.txt", "--name", "a"]) == 2
    assert "300 characters, as x.keras has (is it a model of words?), f" in capsys.readouterr().err


# --vocab


FORMS = {
    "list": lambda c, first: c,
    "text": lambda c, first: "".join(c),
    "characters to ids": lambda c, first: {x: k for k, x in enumerate(c, first)},
    "ids to characters": lambda c, first: {str(k): x for k, x in enumerate(c, first)},
}


@pytest.mark.product(6)
@pytest.mark.usual(2)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize(
    ("form", "first", "reserved"),
    [
        ("list", 0, 0),
        ("text", 0, 0),
        ("characters to ids", 0, 0),
        ("characters to ids", 1, 1),
        ("characters to ids", 1, 0),  # a Tokenizer's, of which one was subtracted
        ("ids to characters", 0, 0),
        ("ids to characters", 1, 1),
    ],
)
def test_a_file_of_the_vocabulary(here, rng, capsys, form, first, reserved, with_text, ids):
    characters = list(rng.permutation([*sorted(set(SMALL_TEXT)), "é", "\U0001f600", "7"]))
    characters = [str(c) for c in characters]
    Path("vocab.json").write_text(json.dumps(FORMS[form](characters, first)))
    model = random_model(rng, len(characters) + reserved, ids)
    model.save("x.keras")
    more = ["--vocab-from", "small.txt", ANYWAY] if with_text else []
    assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a", *more]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("bits/char on 211 characters of small.txt" in out) == with_text
    assert ("not checked whether the ids" in out) != with_text
    V = len(characters)
    shifted = f"ids 1 to {V} of vocab.json mean 0 to {V - 1}"
    assert (shifted in out) == (first > reserved)
    assert_same_network(model, "é7" + SMALL_TEXT[:50], characters, reserved, ids)
    again = "--resume saved_models/a" if with_text else "--init-from saved_models/a --corpus FILE"
    assert out.endswith(f"python -m charlm.train {again}\n")
    assert sample.main(["a", "--length", "9", "--seed", "1"]) == 0


@pytest.mark.parametrize("form", ["list", "characters to ids", "ids to characters"])
def test_tokens_of_keras_s_layers_stand_for_no_character(here, rng, capsys, form):
    characters = by_frequency(SMALL_TEXT)
    Path("vocab.json").write_text(json.dumps(FORMS[form](["", "[UNK]", *characters], 0)))
    model = random_model(rng, len(characters) + 2, ids=True)
    model.save("x.keras")
    assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a"]) == 0
    assert "ids 0, 1 are left out, because they stand for no" in capsys.readouterr().out
    assert_same_network(model, SMALL_TEXT[:50], characters, 2, ids=True)


def test_a_mark_of_the_byte_order_is_no_part_of_a_vocabulary(here, rng):
    random_model(rng, 3, ids=False).save("x.keras")
    Path("vocab.json").write_text('["c", "a", "b"]', encoding="utf-8-sig")
    assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a"]) == 0
    assert checkpoint.read(LAST).vocab.characters == "abc"


@pytest.mark.full
def test_a_run_without_a_text_begins_another(here, rng, capsys):
    Path("vocab.json").write_text(json.dumps(by_code_point(SMALL_TEXT)))
    bigram_model(by_code_point(SMALL_TEXT), SMALL_TEXT).save("x.keras")
    assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a"]) == 0
    small = ["--epochs", "1", "--batch-size", "4", "--window", "16", "--sample-length", "0"]
    assert train.main(["--init-from", "a", "--corpus", "small.txt", "--name", "b", *small]) == 0


@pytest.mark.product(1)
@pytest.mark.usual(1)
@pytest.mark.parametrize("of_export", [False, True])
def test_a_run_without_a_text_names_none(here, capsys, of_export):
    small = ["--epochs", "1", "--batch-size", "4", "--window", "16", "--sample-length", "0"]
    if of_export:
        argv = ["--corpus", "small.txt", "--units", "4", *small, "--name", "first"]
        assert train.main(argv) == 0
        assert export.main(["first", "--format", "safetensors"]) == 0
        assert import_weights.main(["first.safetensors", "--name", "a"]) == 0
    else:
        Path("vocab.json").write_text(json.dumps(by_code_point(SMALL_TEXT)))
        bigram_model(by_code_point(SMALL_TEXT), SMALL_TEXT).save("x.keras")
        assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a"]) == 0
    capsys.readouterr()
    for command, argv in (
        (evaluate, ["a"]), (train, ["--resume", "a", *small]), (gradients, ["a", "--steps", "3"])
    ):  # fmt: skip
        assert command.main(argv) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "cannot find the run's text: it was imported without one" in err
        assert "with --init-from RUN --corpus FILE" in err
    assert evaluate.main(["a", "--corpus", "small.txt"]) == 0
    assert train.main(["--resume", "a", "--corpus", "small.txt", *small]) == (0 if of_export else 2)
    assert ("(--init-from)" in capsys.readouterr().err) != of_export


def test_a_vocabulary_that_does_not_fit_its_text_is_refused(here, rng, capsys):
    characters = by_code_point(SMALL_TEXT)
    bigram_model(characters, SMALL_TEXT).save("x.keras")
    Path("vocab.json").write_text(json.dumps(characters[::-1]))
    flags = ["x.keras", "--vocab", "vocab.json", "--name", "a", "--vocab-from", "small.txt"]
    assert import_weights.main(flags) == 2
    err = capsys.readouterr().err
    assert re.search(r"--vocab-order codepoint without --vocab gives [\d.]+, which fits", err)
    Path("vocab.json").write_text(json.dumps([*characters[:-1], "é"]))
    assert import_weights.main(flags) == 2
    err = capsys.readouterr().err
    assert (
        f"expected the characters of vocab.json in small.txt, found others: {characters[-1]!r}"
        in err
    )


def test_a_vocabulary_in_lower_case_reads_its_text_in_lower_case(here, capsys):
    text = SMALL_TEXT.lower()
    characters = [*by_frequency(text), "é"]
    bigram_model(characters, text).save("x.keras")
    Path("vocab.json").write_text(json.dumps(characters))
    flags = ["x.keras", "--vocab", "vocab.json", "--name", "a", "--vocab-from", "small.txt"]
    assert import_weights.main(flags) == 0
    assert "the text is read in lower case" in capsys.readouterr().out


BAD = {  # of the characters a, b, c
    '["a", "b", "a"]': r"an id for each character, found 'a' at 0 and 2",
    '["a", "bc", "d"]': r'found .bc. for id 1; .* use "" for an id that stands for',
    '["a", "b", 3]': r"one character for each id, found 3 for id 2",
    '["a", "b", ["c"]]': r"one character for each id, found \['c'\] for id 2",
    '["a", "b", "\\ud83d"]': r"a character for id 2, found half of a surrogate pair, '\\ud83d'",
    '["a", "b"]': r'of 3 characters, as x.keras has, found 2 in vocab.json; if id 0 .* "" first',
    '["a", "b", "c", "d", "e"]': r"found 5 in vocab.json; give the vocabulary",
    '["a"]': r"two characters or more, found 1",
    '{"a": 0, "b": 1, "c": 3}': r"ids from 0 or 1 on without a gap, found none for id 2",
    '{"a": 2, "b": 3, "c": 4}': r"without a gap, found 2 as the first id",
    '{"a": -1, "b": 0, "c": 1}': r"without a gap, found -1 as the first id",
    '{"a": 0, "b": 1, "c": 1}': r"an id for each character, found 1 twice",
    '{"a": 0, "b": 1, "a": 2}': r"an id for each character, found 'a' at 0 and 2",
    '{"0": "a", "1": "b", "1": "c"}': r"an id for each character, found 1 twice",
    '{"a": 0, "b": 1, "the": 2}': r"found 'the' for id 2; charlm's models are of characters",
    '{"a": 0, "b": true, "c": 2}': r"expected a JSON list .*found a mapping of something else",
    '{"a": 0.0, "b": 1.0, "c": 2.0}': r"expected a JSON list .*found a mapping of something else",
    '{"char_to_idx": {"a": 0}}': r"found a mapping of something else",
    '{"1" : "a", "02": "b", "3": "c"}': r"found a mapping of something else",
    "{}": r"two characters or more, found 0",
    "7": r"expected a JSON list .*found 7",
    "null": r"expected a JSON list .*found None",
    "abc": r"found no JSON .*; a plain text is for --vocab-from",
    "": r"found no JSON",
    "[" * 100_000: r"expected a JSON list .*found it damaged \(maximum recursion depth",
    '{"a": ' + "9" * 10_000 + "}": r"found no JSON",
    b"\x80\x04\x95": r"found a file of Python's pickling, which could run code",
    b'["a", "b", "\xff"]': r"found no JSON",
    b" " * (2**22 + 1): r"expected a file of 4194304 bytes at most, found 4194305",
}


@pytest.mark.product(6)
@pytest.mark.usual(5)
@pytest.mark.parametrize("value", BAD, ids=lambda x: repr(x[:20]))
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line(here, rng, capsys, value):
    random_model(rng, 3, ids=False).save("x.keras")
    Path("vocab.json").write_bytes(value if isinstance(value, bytes) else value.encode())
    before = sorted(here.iterdir())
    assert import_weights.main(["x.keras", "--vocab", "vocab.json", "--name", "a"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "vocab.json" in err
    assert re.search(BAD[value], err), err
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ([], "expected --vocab-from, .* or --vocab, .* found neither"),
        (
            ["--vocab", "v", "--vocab-order", "codepoint"],
            "--vocab-order has no effect with --vocab",
        ),
        (["--vocab", "none.json"], "none.json: cannot read a vocabulary: No such file"),
        (["--vocab", "."], "expected a vocabulary, found a folder"),
        (["--vocab", "pipe"], "expected a vocabulary, found a pipe or device"),
        (["--vocab-from", "small.txt", "--vocab-order", "size"], "vocab-order"),
    ],
)
def test_flags_that_say_nothing_or_too_much(here, rng, capsys, flags, match):
    os.mkfifo("pipe")
    random_model(rng, 3, ids=False).save("x.keras")
    assert import_weights.main(["x.keras", "--name", "a", *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(match, err), err


# How it is measured


def long_text(rng):
    words = "".join(rng.choice([*"abcdefgh"], 400))
    return "".join(words[k : k + 30] for k in rng.integers(370, size=5000))


def test_pieces_are_measured_side_by_side_on_one_core(here, rng, monkeypatch):
    Path("long.txt").write_text(long_text(rng))
    characters = by_code_point(long_text(rng))
    random_model(rng, len(characters), ids=False).save("x.keras")
    seen = []

    def forward(self, ids, states):
        seen.append(
            (ids.shape, {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"})
        )
        return before(self, ids, states)

    before = Network.forward
    monkeypatch.setattr(Network, "forward", forward)
    flags = ["--vocab-from", "long.txt", "--name", "a", ANYWAY]
    assert import_weights.main(["x.keras", *flags]) == 0
    shapes, threads = zip(*seen, strict=True)
    assert {rows for rows, _ in shapes} == {15}  # of 15,000 held-out characters
    assert sum(steps for _, steps in shapes) <= measure.PIECE + 512 + measure.WINDOW
    assert set.union(*threads) == {1}


def test_side_by_side_it_measures_the_same(here, rng):
    """But for what pieces forget of what was read more than 512 characters before."""
    Path("long.txt").write_text(long_text(rng))
    text = read(load("long.txt"))
    characters = text.vocab.characters
    random_model(rng, len(characters), ids=False).save("x.keras")
    flags = ["--vocab-from", "long.txt", "--name", "a", ANYWAY]
    assert import_weights.main(["x.keras", *flags]) == 0
    saved = checkpoint.read(LAST)
    told = []
    reading = readings.of_characters(dict(enumerate(characters)), text)
    windows = measure.held_out(text)
    found = measure.measure(reading, saved.to_network(), windows, told.append)
    (ids,) = text.to_measure()
    network, x = saved.to_network(), ids[None].astype(int)
    logits, _, _ = network.forward(x[:, :-1], network.initial_states(1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(x[:, 1:], logits)
    assert found.bits == pytest.approx(float(loss) / np.log(2), abs=1e-5)
    assert found.unigram == pytest.approx(unigram_bits(Path("long.txt").read_text()), abs=1e-5)
    assert sum(told) == found.characters == len(ids) - 1
    assert len(told) > 10


def test_measuring_shows_how_far_it_is(here, rng, monkeypatch, capsys):
    Path("long.txt").write_text(long_text(rng))
    random_model(rng, len(set(long_text(rng))), ids=False).save("x.keras")
    flags = ["--vocab-from", "long.txt", "--name", "a", "--overwrite", ANYWAY]
    shown = {}

    @contextlib.contextmanager
    def progress(what, total):
        told = []
        yield told.append
        shown[what] = sum(told) / total

    monkeypatch.setattr("charlm.interop.keras_files.choice.progress", progress)
    assert import_weights.main(["x.keras", *flags]) == 0
    assert shown == {"measuring on long.txt": 1}
