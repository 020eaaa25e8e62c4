"""Law: a prompt may end anywhere in a word; text is drawn as from all texts that begin with it."""

import itertools

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.generation import constraints, generate, healing
from charlm.generation.constraints import SamplingConstraints, probabilities
from charlm.reference.network import Network, initial_weights
from charlm.text.tokens import TokenVocab
from tests.generation.test_generate import joined, until

TEXT = "the then there, there the than; that the this. é the\n" * 30
VOCAB = TokenVocab.learned("bpe", 268, [TEXT])


@pytest.fixture
def network(rng):
    """A network of random weights whose output bias prefers the letters of the text."""
    config, V = ModelConfig(units=5), len(VOCAB)
    weights = initial_weights(config, V, rng)
    ids = VOCAB.encode(TEXT)
    weights["layers/dense/vars/1"][:] = -6
    weights["layers/dense/vars/1"][[*{*ids.tolist(), *VOCAB.encode("then ether the")}]] = 0
    weights["layers/dense/vars/0"] *= 5
    return Network(weights, V, config)


def by_definition(network, states, last, wanted, t):
    """{ids: probability} of all sequences that begin with these bytes, none longer than needed."""
    found, paths = {}, [((), last, states, 1.0)]
    while paths:
        ids, last, states, before = paths.pop()
        logits, after = network.step(np.array([last]), states)
        p = probabilities(logits, t)[0] * before
        rest = wanted[len(VOCAB.joined(ids)) :]
        for k, token in enumerate(VOCAB.bytes):
            if token.startswith(rest):
                found[(*ids, k)] = p[k]
            elif rest.startswith(token):
                paths.append(((*ids, k), k, after, p[k]))
    total = sum(found.values())
    return {ids: p / total for ids, p in found.items()}


@pytest.mark.parametrize("t", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("prompt", ["the th", "t", "there than", "the é"])
def test_the_first_ids_have_the_probabilities_of_all_that_agree(network, prompt, t, monkeypatch):
    monkeypatch.setattr(healing, "KEPT", 10**6)
    start = healing.begin(VOCAB, prompt)
    assert prompt.endswith(start.taken_back)
    assert VOCAB.decode(start.ids) + start.taken_back in (prompt, "\n" + prompt)
    states = network.initial_states(1)
    for k in start.ids[:-1, None]:
        _, states = network.step(k, states)
    taken_back, last = start.healing.taken_back, int(start.ids[-1])
    expected = by_definition(network, states, last, taken_back, t)
    n = 4000
    found, after = healing.heal(network.step, states, last, start.healing, [t] * n, 3)
    for ids, p in expected.items():
        share = sum(tuple(x) == ids for x in found) / n
        assert abs(share - p) < 5 * np.sqrt(max(p * (1 - p), 1e-4) / n)
    for j in range(3):  # the states are those before the last id
        expected = states
        for k in [last, *found[j][:-1]]:
            _, expected = network.step(np.array([k]), expected)
        np.testing.assert_allclose(after[0][0][j], expected[0][0][0], rtol=1e-5)


def test_the_most_probable_sequences_are_kept(network, monkeypatch):
    monkeypatch.setattr(healing, "KEPT", 2)
    start = healing.begin(VOCAB, "there thenthe")
    states, last = network.initial_states(1), int(start.ids[-1])
    exact = by_definition(network, states, last, start.healing.taken_back, 1.0)
    found, _ = healing.heal(network.step, states, last, start.healing, [1.0] * 500, 3)
    drawn = {tuple(x) for x in found}
    assert len(drawn) < len(exact)
    assert sum(exact[ids] for ids in drawn) > 0.5


def test_the_greedy_text_is_the_most_probable_sequence(network):
    start = healing.begin(VOCAB, "the th")
    states, last = network.initial_states(1), int(start.ids[-1])
    for k in start.ids[:-1, None]:
        _, states = network.step(k, states)
    exact = by_definition(network, states, last, start.healing.taken_back, 1.0)
    (found,), _ = healing.heal(network.step, states, last, start.healing, [0.0], 3)
    assert tuple(found) == max(exact, key=exact.get)


PROMPTS = [
    "",
    "t",
    "the th",
    "the ",
    "é",
    "the é",
    "\n",
    "then",
    "ththth",
    "x" * 100,
    "日" * 20 + "x",
]


@pytest.mark.usual(8)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("separator", [None, "\n"])
def test_a_text_does_not_depend_on_others_or_on_length(network, prompt, separator):
    args = prompt, 60, [1.0, 0.5, 2.0], 3
    options = {"separator": separator, "stops": ["\0\0\0"]}  # never drawn
    texts = joined(generate.texts(network, VOCAB, *args, **options))
    assert [len(x) for x in texts] == [60] * 3
    for n in (1, 7, 59):
        short = joined(generate.texts(network, VOCAB, prompt, n, args[2], 3, **options))
        assert short == [x[:n] for x in texts]
    (alone,) = joined(generate.texts(network, VOCAB, prompt, 60, [1.0], 3, **options))
    assert alone == texts[0]


@pytest.mark.parametrize("t", [1e-3, 5e-3, 30.0])
@pytest.mark.filterwarnings("error")
def test_any_temperature_draws_what_agrees(network, t):
    for prompt in ("the th", "the Zq", "\0\0"):
        start = healing.begin(VOCAB, prompt)
        states, last = network.initial_states(1), int(start.ids[-1])
        found, _ = healing.heal(network.step, states, last, start.healing, [t] * 9, 3)
        assert all(VOCAB.joined(ids).startswith(start.healing.taken_back) for ids in found)


def test_constraints_select_among_the_sequences(network):
    rules = SamplingConstraints(top_k=1)
    texts = [joined(generate.texts(network, VOCAB, "the th", 9, [1.0], k, rules)) for k in range(9)]
    greedy = joined(generate.texts(network, VOCAB, "the th", 9, [0.0], 0))
    assert texts == [greedy] * 9
    few = SamplingConstraints(top_p=0.01)
    assert joined(generate.texts(network, VOCAB, "the th", 9, [1.0], 1, few)) == greedy


@pytest.mark.parametrize(
    ("prompt", "separator", "taken_back"),
    [
        ("the don'", None, " don'"), ("they'l", None, "they'l"), ("we ", None, " "),
        ("the\n", None, "\n"), ("a  \n b", None, "  \n b"), ("the|end", "|", "end"),
        ("the|", "|", ""), ("", "|", ""), ("the of|the", "of|", "the"),
    ],
)  # fmt: skip
def test_the_last_word_is_drawn_again(prompt, separator, taken_back):
    vocab = VOCAB.with_separator(separator)
    start = healing.begin(vocab, prompt, separator)
    assert start.taken_back == taken_back
    assert (separator or "") + prompt in vocab.decode(start.ids) + taken_back


def test_a_beam_does_not_end_within_a_character(network):
    lead = VOCAB.names.index("Ð")
    network.weights["layers/dense/vars/1"][lead] = 50
    again = Network(network.weights, len(VOCAB), network.config)
    for text, _ in generate.beam_search_text(again, VOCAB, "the", 3, 4):
        assert len(text) == 3
        assert not text.endswith("\ufffd") or VOCAB.encode(text).size > 3


def test_a_prompt_within_a_word_continues_it(network):
    network.weights["layers/dense/vars/1"][VOCAB.encode(" there")] = 12
    again = Network(network.weights, len(VOCAB), network.config)
    texts = joined(generate.texts(again, VOCAB, "then the", 2, [0.5] * 20, 3))
    assert sum(x == "re" for x in texts) > 15
    (best, _), *_ = generate.beam_search_text(again, VOCAB, "then the", 2, 8)
    assert best == "re"


@pytest.mark.parametrize("min_length", [0, 9])
@pytest.mark.parametrize("stops", [("e",), ("he", "t ")])
def test_a_stop_may_lie_within_a_token(network, stops, min_length):
    args = "the th", 60, [1.0] * 10, 3
    free = joined(generate.texts(network, VOCAB, *args))
    found = joined(generate.texts(network, VOCAB, *args, stops=stops, min_length=min_length))
    assert found == [until(text, stops, min_length) for text in free]
    assert any(len(x) < 60 for x in found)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_ids_that_repeat_are_those_of_the_definition(rng, n):
    pieces = [*"abc", "ab", "ba", "abca", "aaaa", "cbacb", "bbccaabb"]
    tokens = constraints._Tokens(pieces, n)
    for _ in range(200):
        ids = rng.integers(len(pieces), size=rng.integers(12))
        text = "".join(pieces[k] for k in ids)

        def repeats(piece, text=text):
            whole = text + piece
            old = {text[k : k + n] for k in range(len(text) - n + 1)}
            new = [whole[k : k + n] for k in range(max(0, len(text) - n + 1), len(whole) - n + 1)]
            inside = [piece[k : k + n] for k in range(len(piece) - n + 1)]
            return bool(old & {*new}) or len({*inside}) < len(inside)

        found = constraints._SeenText(tokens, ids).again()
        assert found == {k for k, piece in enumerate(pieces) if repeats(piece)}


@pytest.mark.parametrize("n", [2, 5])
def test_repetitions_are_counted_in_characters(network, n):
    rules = SamplingConstraints(repetition_penalty=1e30, repetition_length=n)
    prompt = "the then there is th"
    longest = max(map(len, VOCAB.texts))  # of the word that is drawn without constraints
    for text in joined(generate.texts(network, VOCAB, prompt, 40, [1.0] * 5, 3, rules)):
        whole = prompt + text
        for k in range(len(prompt) + longest, len(whole) - n + 1):
            gram = whole[k : k + n]  # bytes that are no character have no text
            assert gram not in whole[: k + n - 1] or "\ufffd" in gram
    free = joined(generate.texts(network, VOCAB, prompt, 40, [1.0], 3))[0]
    assert len({*itertools.pairwise(free)}) < 30


def test_a_token_that_repeats_itself_is_penalized(network):
    vocab = TokenVocab.learned("bpe", 258, ["====\n" * 50])
    config = network.config
    again = Network(initial_weights(config, 258, np.random.default_rng(1)), 258, config)
    again.weights["layers/dense/vars/1"][vocab.names.index("====")] = 20
    rules = SamplingConstraints(repetition_penalty=1e30, repetition_length=2)
    last = Network(again.weights, 258, config)
    assert "====" in joined(generate.texts(last, vocab, "", 40, [1.0], 3))[0]
    assert "===" not in joined(generate.texts(last, vocab, "", 40, [1.0], 3, rules))[0]


@pytest.mark.parametrize("width", [1, 3, 40])
def test_beams_have_the_length_that_was_asked_for(network, width):
    found = generate.beam_search_text(network, VOCAB, "the th", 5, width)
    assert {len(text) for text, _ in found} == {5}
    assert [nats for _, nats in found] == sorted(nats for _, nats in found)
    assert len({text for text, _ in found}) == len(found)


def test_the_best_beam_is_the_most_probable_text(network):
    """A wide beam finds the best of all sequences of ids that reach the length."""
    (best, nats), *_ = generate.beam_search_text(network, VOCAB, "", 2, 3000)
    states = network.initial_states(1)
    logits, states = network.step(VOCAB.encode("\n"), states)
    first = np.log(probabilities(logits, 1.0)[0])
    found = []
    for k, token in enumerate(VOCAB.texts):
        if len(token) >= 2:
            found.append((-first[k] / len(token), token[:2]))
        elif len(token) == 1:
            second = np.log(probabilities(network.step(np.array([k]), states)[0], 1.0)[0])
            for j, after in enumerate(VOCAB.texts):
                if after:
                    loss = -(first[k] + second[j]) / (1 + len(after))
                    found.append((loss, (token + after)[:2]))
    expected, text = min(found)
    assert (best, nats) == (text, pytest.approx(expected, rel=1e-5))


def test_half_characters_are_kept_until_they_are_whole(network):
    lead, rest = (VOCAB.names.index(x) for x in ("Ã", "©"))
    bias = network.weights["layers/dense/vars/1"]
    bias[:], bias[lead], bias[rest] = -50, 9, 9
    again = Network(network.weights, len(VOCAB), network.config)
    (text,) = joined(generate.texts(again, VOCAB, "", 30, [1.0], 3))
    assert len(text) == 30
    assert {*text} <= {"é", "\ufffd"}
    pieces = itertools.chain.from_iterable(generate.texts(again, VOCAB, "", 30, [1.0], 3))
    assert "é" in "".join(pieces)
