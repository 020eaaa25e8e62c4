"""Law: a grammar accepts exactly what its language has, and knows how much is missing."""

import json
import re

import pytest

from charlm.config import ModelConfig
from charlm.generation import generate, rules
from charlm.generation.grammars import Balanced, Json, JsonLines, Lines
from charlm.reference.network import Network, initial_weights
from charlm.text.vocab import Vocab

SIGNS = '{}[]",:0123456789.-+eE \t\n\r\\utrfalsnb/xé\x7f\x1f\u0663'  # the last is a digit, too
KEYS = ["", "a", "b c", 'q"', "\\", "é", "\u2028", "\x7f", "\n", "😀", "[{", ","]


def is_json(text):
    """By Python, without its own NaN and Infinity (RFC 8259)."""

    def refuse(name):
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def value(rng, depth=3):
    """A random JSON value."""
    kind = rng.integers(8 if depth else 6)
    if kind < 4:
        leaves = (None, True, False, int(rng.integers(-20, 200)), -0.0, 1e300, float(rng.random()))
        return (*leaves, 1.5e-7, *map(str, rng.choice(KEYS, size=3)))[rng.integers(11)]
    if kind < 6:
        return "".join(map(str, rng.choice(KEYS, size=rng.integers(4))))
    items = [value(rng, depth - 1) for _ in range(rng.integers(4))]
    return items if kind == 6 else {str(rng.choice(KEYS)): x for x in items}


def json_text(rng):
    """A random JSON text, with spaces and with or without escapes."""
    separators = [(",", ":"), (", ", ": "), (" ,\n", "\t:\r")][rng.integers(3)]
    indent = [None, 1][rng.integers(2)]
    text = json.dumps(
        value(rng), ensure_ascii=bool(rng.integers(2)), separators=separators, indent=indent
    )
    if rng.random() < 0.3:
        text = text.replace("b c", "\\u0062\\u00C9\\/").replace("e-", "E-").replace("e+", "E+")
    return " \n"[: rng.integers(3)] + text + "\t "[: rng.integers(3)]


def changed(rng, text):
    """The text with one character more, less, or another one."""
    at, new = int(rng.integers(len(text) + 1)), str(rng.choice([*SIGNS]))
    return text[:at] + ["", new, new][kind := rng.integers(3)] + text[at + (kind < 2) :]


def accepts(rule, text):
    try:
        return rule.missing(rules.state_after(rule, text)) == 0
    except ValueError:
        return False


def test_json_is_what_python_reads_as_json(rng):
    right = {True: 0, False: 0}
    for _ in range(700):
        text = json_text(rng)
        assert accepts(Json(), text), text
        for _ in range(3):
            text = changed(rng, text)
            right[is_json(text)] += 1
            assert accepts(Json(), text) == is_json(text), text
    assert min(right.values()) > 300


@pytest.mark.parametrize(
    "text",
    ["", " ", "NaN", "-Infinity", "01", "-", "1.", ".5", "1e", "1e+", "+1", "0x1", "1 2", "[1,]",
     "[,1]", '{"a"}', '{"a":}', '{"a":1,}', "{1:2}", "{,}", "[1}", "]", "tru", "True", "nulll",
     '"\t"', '"\\x"', '"\\u12g4"', '"\\u123"', "'a'", "\ufeff1", "1\u00a0", "1\u0663", "\u0663",
     '"\\', '{"a":1 "b":2}', "[1 2]", "--1", "1-1", "1.2.3", "1e5.5", "1e1e1"],
)  # fmt: skip
def test_what_is_no_json_is_none(text):
    assert not accepts(Json(), text)
    assert not is_json(text)


def test_numbers_are_pythons(rng):
    """All short texts of the characters of numbers, and random longer ones."""
    signs = [*"-+01.eE"]
    texts = [a + b + c for a in signs for b in ["", *signs] for c in ["", *signs]]
    texts += ["".join(rng.choice(signs, size=rng.integers(4, 9))) for _ in range(1500)]
    found = {text for text in texts if accepts(Json(), text)}
    assert found == {text for text in texts if is_json(text)}
    assert len(found) > 30


@pytest.mark.parametrize("text", ["[]", '{"a": [1, {}]}', '"a"', "true", "12 ", "{} \n"])
def test_a_value_is_finished_at_its_end(text):
    """But a number, which may go on, and which a space ends."""
    rule, end = Json(), text.rstrip("\n ") if text != "12 " else text
    for k in range(len(text) + 1):
        state = rules.state_after(rule, text[:k])
        assert rule.is_finished(state) == (k >= len(end))
    assert not rule.is_finished(rules.state_after(rule, "12"))


def completion(rule, state, signs):
    """The text by which the rule's shortest end is reached, a character less missing each time.

    No character may lower what is missing by more than one.
    """
    found = ""
    while missing := rule.missing(state):
        following = {c: x for c in signs if (x := rule.read(state, c)) is not None}
        after = {c: rule.missing(x) for c, x in following.items()}
        assert min(after.values()) == missing - 1, (state, after)
        character = next(c for c in after if after[c] == missing - 1)
        found, state = found + character, following[character]
    return found


def test_what_json_misses_is_the_shortest_completion(rng):
    rule, seen = Json(), set()
    for _ in range(120):
        text = json_text(rng)
        for k in range(len(text)):
            state = rules.state_after(rule, text[:k])
            kind = state.expected, len(state.done), state.is_key
            if kind in seen and rng.random() < 0.9:
                continue
            seen.add(kind)
            found = completion(rule, state, SIGNS)
            assert len(found) == rule.missing(state)
            assert is_json(text[:k] + found)
    assert len(seen) > 15
    assert {expected for expected, *_ in seen} == {
        "value", "item", "member", "key", "colon", "end", "string", "number", "literal",
    }  # fmt: skip


def test_nothing_that_json_accepts_leads_nowhere(rng):
    """Any text that is accepted so far has a completion, and what it misses never jumps."""
    rule = Json()
    for _ in range(250):
        text, state = "", rule.begin()
        for _ in range(rng.integers(25)):
            following = [(c, x) for c in SIGNS if (x := rule.read(state, c)) is not None]
            if not following:
                break
            character, state = following[rng.integers(len(following))]
            text += character
        assert is_json(text + completion(rule, state, SIGNS))


BRACKETS = "()[]{}ab"


def balanced(text):
    """By definition: pairs without brackets between them are left out until none is left."""
    text = re.sub(r"[^()\[\]{}]", "", text)
    while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", text)) != text:
        text = shorter
    return text


def test_brackets_are_balanced_by_definition(rng):
    rule, accepted = Balanced(), 0
    for _ in range(3000):
        text = "".join(rng.choice([*BRACKETS], size=rng.integers(1, 9)))
        rest = balanced(text)
        if set(rest) & set(")]}"):
            with pytest.raises(ValueError, match=r"^\d+$") as raised:
                rules.state_after(rule, text)
            at = raised.value.args[0]
            assert set(balanced(text[: at + 1])) & set(")]}")
            assert not set(balanced(text[:at])) & set(")]}")
            continue
        accepted += 1
        state = rules.state_after(rule, text)
        assert rule.missing(state) == len(rest)
        assert balanced(text + completion(rule, state, BRACKETS)) == ""
        assert not rule.is_finished(state)
    assert accepted > 500


def test_lines_parse_or_are_empty(rng):
    rule, accepted = Lines(str.isdigit), 0
    for _ in range(1000):
        text = "".join(rng.choice([*"12a\n"], size=rng.integers(1, 9), p=[0.4, 0.2, 0.1, 0.3]))
        *lines, last = text.split("\n")
        right = all(line.isdigit() or not line for line in lines)
        assert accepts(rule, text) == (right and not last)
        accepted += right
        if right:
            state = rules.state_after(rule, text)
            assert rule.unfinished(state) == len(last)
            assert rule.missing(state) == bool(last)
            assert rule.place(state) == f"line {len(lines) + 1}"
            assert (rule.read(state, "\n") is not None) == (last.isdigit() or not last)
    assert 100 < accepted < 900


def test_json_lines_are_json_or_empty(rng):
    rule, seen = JsonLines(), {True: 0, False: 0}
    for _ in range(300):
        lines = [json_text(rng).replace("\n", " ") for _ in range(rng.integers(3))]
        text = "\n".join(["", *lines, ""][rng.integers(2) :])
        assert accepts(rule, text), text
        for _ in range(3):
            text = changed(rng, text)
            right = all(is_json(line) for line in text.split("\n") if line.strip(" \t\r"))
            assert accepts(rule, text) == right, text
            seen[right] += 1
    assert min(seen.values()) > 100


def test_what_json_lines_miss_is_the_shortest_completion(rng):
    rule = JsonLines()
    for _ in range(60):
        text = "1\n" + json_text(rng).replace("\n", " ") + "\n"
        for k in rng.integers(len(text) + 1, size=8):
            state = rules.state_after(rule, text[:k])
            found = completion(rule, state, SIGNS)
            assert accepts(rule, text[:k] + found)
            assert accepts(rule, text[:k] + found + "\n")
            assert not rule.is_finished(state)


# --- with a model ---


def drawn(rng, rule, signs, prompt, length, count, **settings):
    """Texts of a network that knows nothing, each with its prompt."""
    vocab = Vocab("".join(sorted({*signs, *prompt})))
    config = ModelConfig(units=5)
    net = Network(initial_weights(config, len(vocab), rng), len(vocab), config)
    settings["machine"] = generate.stepper(net)
    for n in range(count):
        found = rules.draw_text(rule, net, vocab, prompt, length, 1.0, 1, n, **settings)
        assert len(found.text) <= length
        yield prompt + found.text


@pytest.mark.parametrize("prompt", ["", "{", '[{"a', '[1, "\\u', "[-", "tru", '{"a":{"b":[['])
def test_a_model_that_knows_nothing_writes_json(rng, prompt):
    state, ends = rules.state_after(Json(), prompt), set()
    missing = Json().missing(state)
    for length in (missing, missing + 1, 30):
        for text in drawn(rng, Json(), '{}[]":,01-.e\\u \ntrue', prompt, length, 5):
            assert is_json(text)
            whole = Json().is_finished(rules.state_after(Json(), text))
            assert whole or len(text) == len(prompt) + length
            ends.add(whole)
    assert True in ends


@pytest.mark.parametrize("prompt", ["", "a(", "([{b"])
def test_a_model_that_knows_nothing_balances_brackets(rng, prompt):
    for length in (3, 20):
        for text in drawn(rng, Balanced(), BRACKETS, prompt, length, 8):
            assert balanced(text) == ""
            assert len(text) == len(prompt) + length
    for text in drawn(rng, Balanced(), BRACKETS, prompt, 50, 8, stops=["a"]):
        assert balanced(text) == ""
        assert text.find("a", len(prompt)) in (-1, len(text) - 1)


@pytest.mark.parametrize("prompt", ["", "12\n", "1", "2\n\n21", "12\n\n"])
def test_a_model_that_knows_nothing_writes_lines_that_parse(rng, prompt):
    lines = []
    for text in drawn(rng, Lines(str.isdigit), "12a\n", prompt, 9, 8):
        *found, last = text.split("\n")
        assert last == ""
        assert all(line.isdigit() or not line for line in found)
        lines += found
    assert len(set(lines)) > 5


@pytest.mark.parametrize("prompt", ["", "1\n", "[1", '[1]\n\n["', "[1]\n\n"])
def test_a_model_that_knows_nothing_writes_json_lines(rng, prompt):
    lines = []
    for text in drawn(rng, JsonLines(), '{}[]:",01\n -', prompt, 25, 8):
        found = text.split("\n")
        assert all(is_json(line) for line in found if line.strip())
        assert len(text) == len(prompt) + 25
        lines += found
    assert len(set(lines)) > 8
