"""Law: a text ends where it should, and how it is cut into pieces does not show."""

import itertools

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.generation import generate, sampler
from charlm.generation.constraints import SamplingConstraints
from charlm.reference.network import Network, initial_weights
from charlm.text.vocab import Vocab

VOCAB = Vocab("abc")


def network(rng, **settings):
    config = ModelConfig(units=4, **settings)
    return Network(initial_weights(config, 3, rng), 3, config)


def joined(pieces):
    return ["".join(text) for text in zip(*pieces, strict=True)]


def until(text, stops, min_length):
    """By definition."""
    for n in range(max(min_length, 1), len(text) + 1):
        if text[:n].endswith(tuple(stops)):
            return text[:n]
    return text


@pytest.mark.parametrize("piece", [1, 2, 5, 16])
@pytest.mark.parametrize("min_length", [0, 1, 7, 40])
@pytest.mark.parametrize(
    "stops", [(), ("a",), ("abc",), ("ccb", "ca", "bbbb"), ("a" * 300,)], ids=str
)
def test_a_text_ends_with_the_first_stop(rng, stops, min_length, piece, monkeypatch):
    monkeypatch.setattr(sampler, "PIECE", piece)
    net = network(rng)
    free = joined(generate.texts(net, VOCAB, "ab", 120, [1.0, 2.0, 0.0], 3))
    given = {"stops": stops, "min_length": min_length}
    found = joined(generate.texts(net, VOCAB, "ab", 120, [1.0, 2.0, 0.0], 3, **given))
    assert found == [until(text, stops, min_length) for text in free]


def test_the_prompt_is_no_part_of_a_stop(rng):
    found = joined(generate.texts(network(rng), VOCAB, "ab", 60, [1.0] * 20, 3, stops=["abc"]))
    assert not any(text == "c" for text in found)
    assert any(text.startswith("c") for text in found)


@pytest.mark.parametrize(("prompt", "stops"), [("", ()), ("a", ()), ("bc", ("ca", "b"))])
def test_a_record_begins_after_a_separator_and_ends_with_one(rng, prompt, stops):
    net, end = network(rng), "cb"
    args = 60, [1.0] * 20, 3
    free = joined(generate.texts(net, VOCAB, end + prompt, *args))
    found = joined(generate.texts(net, VOCAB, prompt, *args, stops=stops, separator=end))
    assert found == [until(text, stops or (end,), 0) for text in free]
    args = 8, 6, stops or (end,)
    plain = generate.beam_search_text(net, VOCAB, end + prompt, *args)
    assert generate.beam_search_text(net, VOCAB, prompt, 8, 6, stops, separator=end) == plain


def test_drawing_stops_when_all_have_ended(rng):
    net = network(rng)
    pieces = list(generate.texts(net, VOCAB, "", 10_000, [1.0, 2.0], 3, stops=["a"]))
    assert len(pieces) < 20


@pytest.mark.parametrize("settings", [{}, {"cell": "gru", "reset": "before"}], ids=str)
@pytest.mark.parametrize("rules", [{}, {"top_p": 0.99}], ids=str)
def test_stopped_texts_are_not_drawn(rng, rules, settings, monkeypatch):
    """In machine code and in NumPy; the rows of each step are those of texts that go on."""
    monkeypatch.setattr(sampler, "PIECE", 4)
    net, rows, rules = network(rng, **settings), [], SamplingConstraints(**rules)

    def counted(function):
        def call(ids, *rest):
            rows.append(len(ids))
            return function(ids, *rest)

        return call

    step, block = generate.stepper(net)
    assert (block is None) == bool(settings)
    counters = counted(step), block and counted(block)
    monkeypatch.setattr(generate, "stepper", lambda _: counters)
    given = VOCAB, "ab", 400, [1.0] * 9, 3, rules, ("abba", "cacb", "cc")
    pieces = list(generate.texts(net, *given))
    ends = [sum(any(text[k:]) for k in range(len(text))) for text in zip(*pieces, strict=True)]
    assert len(set(ends)) > 2
    by_block = block is not None and rules == SamplingConstraints()
    expected = [sum(end > k for end in ends) for k in range(len(pieces))]
    found = rows[1:] if by_block else rows[1 :: sampler.PIECE]
    assert (rows[0], found) == (1, expected)


def test_the_likeliest_text_is_no_less_likely_than_any_other_of_its_length(rng):
    net = network(rng)
    found = generate.beam_search_text(net, VOCAB, "ab", 4, 81)
    assert len(found) == 81
    losses = {}
    for ids in itertools.product(range(3), repeat=4):
        states, total = net.initial_states(1), 0.0
        text = [0, 1, *ids]
        for at, (before, after) in enumerate(itertools.pairwise(text)):
            logits, states = net.step(np.array([before]), states)
            if at:
                total -= logits[0, after] - np.log(np.exp(logits[0]).sum())
        losses[VOCAB.decode(ids)] = total / 4
    assert {text for text, _ in found} == set(losses)
    for text, nats in found:
        assert nats == pytest.approx(losses[text], rel=1e-4)
    assert [nats for _, nats in found] == sorted(nats for _, nats in found)


def test_the_likeliest_texts_end_with_a_stop_that_is_not_too_soon(rng):
    found = generate.beam_search_text(
        network(rng), VOCAB, "", 8, 6, stops=["c", "ab"], min_length=3
    )
    for text, _ in found:
        assert until(text, ["c", "ab"], 3) == text
    assert not any(len(text) < 3 for text, _ in found)
    assert any(
        len(t) < 3 for t, _ in generate.beam_search_text(network(rng), VOCAB, "", 8, 6, stops=["c"])
    )
    assert any(len(text) < 8 for text, _ in found)
