"""Law: a request draws what `charlm sample` draws, and scores as `charlm score` does."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from charlm.evaluation import losses
from charlm.generation import generate
from charlm.generation.constraints import SamplingConstraints
from charlm.reference.loss import log_softmax
from charlm.serving.completion import Left, Writer, _Shown
from charlm.serving.fields import RequestError
from charlm.serving.request import Completion
from tests.serving.conftest import NAME, checkpoint


def answered(writer, **given):
    """(text, tokens, finish) of each choice."""
    c = writer.prepared(Completion(**given))
    found = {}
    for p in writer.pieces(c):
        text, tokens, _ = found.get(p.choice, ("", [], None))
        found[p.choice] = text + p.text, tokens + p.tokens, p.finish
    return [found[k] for k in sorted(found)]


def drawn(saved, prompt, length, temperature, n, seed, rules, stops=()):
    """Texts as `charlm sample` prints them, without the prompt."""
    pieces = generate.texts(
        saved.to_network(), saved.vocab, prompt, length, [temperature] * n, seed, rules, stops, 0,
        saved.config.data.separator,
    )  # fmt: skip
    return ["".join(text) for text in zip(*pieces, strict=True)]


CASES = [*itertools.product((0.0, 0.6, 1.0), ({}, {"top_k": 3}, {"top_p": 0.7}), (None, 0, 2))]


@pytest.mark.product(12)
@pytest.mark.usual(5)
@pytest.mark.parametrize(("temperature", "rules", "logprobs"), CASES, ids=str)
def test_choices_are_the_texts_of_sample(writer, saved, temperature, rules, logprobs):
    found = answered(
        writer, prompts=("ab", ""), max_tokens=90, temperature=temperature, n=3, seed=4,
        logprobs=logprobs, **rules,
    )  # fmt: skip
    expected = [
        text for prompt in ("ab", "")
        for text in drawn(saved, prompt, 90, temperature, 3, 4, SamplingConstraints(**rules))
    ]  # fmt: skip
    assert [text for text, *_ in found] == expected
    assert temperature == 0 or len(set(expected[:3])) == 3
    assert {finish for *_, finish in found} == {"length"}
    for text, tokens, _ in found:
        assert "".join(t.character for t in tokens) == (text if logprobs is not None else "")


@pytest.mark.parametrize("logprobs", [None, 1])
@pytest.mark.parametrize("stops", [("e",), ("th", "h"), (" ", "ab\n"), ("zq\U0001f600zq",), ("→",)])
def test_a_text_ends_before_its_stop_sequence(writer, saved, stops, logprobs):
    found = answered(
        writer, prompts=("a",), max_tokens=300, n=5, seed=2, stop=stops, logprobs=logprobs
    )
    texts = drawn(saved, "a", 300, 1.0, 5, 2, SamplingConstraints(), stops)
    for (text, tokens, finish), whole in zip(found, texts, strict=True):
        ends = [x for x in stops if whole.endswith(x)]
        assert text == whole.removesuffix(max(ends, key=len, default=""))
        assert finish == ("stop" if ends else "length")
        assert not any(x in text for x in stops)
        assert len(tokens) == (0 if logprobs is None else len(text))


@pytest.mark.parametrize("cut", range(1, 7))
def test_the_beginning_of_a_stop_sequence_is_held_back(cut):
    text, stops = "abababc", ("babc", "zz")
    shown = _Shown(stops, 100)
    parts = [shown.add(text[k : k + cut], []) for k in range(0, len(text), cut)]
    assert "".join(part for part, *_ in parts) == "aba"
    assert parts[-1][2] == "stop"
    assert shown.drawn == len(text)
    assert shown.add("", []) == ("", [], None)
    released = _Shown(stops, 5)
    assert released.add("abab", [])[0] == "a"
    assert released.add("a", []) == ("baba", [], "length")


def test_the_log_probabilities_of_an_echo_are_those_of_score(writer, saved, rng):
    text = saved.vocab.decode(rng.integers(len(saved.vocab), size=400))
    ((echo, tokens, finish),) = answered(
        writer, prompts=(text,), max_tokens=0, echo=True, logprobs=3
    )
    (expected,) = losses.stateful_losses(saved.to_network(), [saved.vocab.encode(text)])
    assert (echo, finish) == (text, "length")
    assert tokens[0].logprob is None
    found = -np.array([t.logprob for t in tokens[1:]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.sum(), expected.sum(), rtol=1e-6)
    for t in tokens[1:]:
        assert t.top[t.character] == t.logprob
        assert len(t.top) in (3, 4)
        assert max(t.top.values()) >= t.logprob


def test_log_probabilities_of_drawn_text_are_those_of_its_echo(writer, saved):
    ((text, tokens, _),) = answered(
        writer, prompts=("the",), max_tokens=50, seed=1, top_k=2, temperature=2.0, logprobs=1,
        echo=True,
    )  # fmt: skip
    assert text.startswith("the")
    ((again, scored, _),) = answered(writer, prompts=(text,), max_tokens=0, echo=True, logprobs=1)
    assert again == text
    assert tokens == scored
    _, one = answered(writer, prompts=("the",), max_tokens=50, seed=1, top_k=2, temperature=2.0,
                      logprobs=1, n=2)[0][:2]  # fmt: skip
    assert one == tokens[3:]


def test_without_a_prompt_a_text_follows_what_sample_begins_with(writer, saved):
    ((_, tokens, _),) = answered(writer, max_tokens=5, seed=1, logprobs=0, echo=True)
    net = saved.to_network()
    logits, _ = net.step(saved.vocab.encode("\n"), net.initial_states(1))
    expected = log_softmax(logits)[0, saved.vocab.encode(tokens[0].character)[0]]
    np.testing.assert_allclose(tokens[0].logprob, expected, rtol=1e-4)


def test_a_model_of_records_draws_one_record_and_scores_as_score_does():
    saved = checkpoint(records="line")
    writer = Writer(saved, NAME)
    found = answered(writer, prompts=("ab",), n=4, max_tokens=200, seed=3, logprobs=0, echo=True)
    texts = drawn(saved, "ab", 200, 1.0, 4, 3, SamplingConstraints())
    assert any(text.endswith("\n") for text in texts)
    assert [text for text, *_ in found] == [f"ab{text.removesuffix(chr(10))}" for text in texts]
    (expected,) = losses.stateful_losses(saved.to_network(), [saved.vocab.encode("ab")])
    np.testing.assert_allclose(-found[0][1][1].logprob, expected[0], rtol=1e-4)


def test_texts_are_brought_into_the_form_of_the_run():
    writer = Writer(checkpoint(normalize="nfc"), NAME)
    c = writer.prepared(Completion(("e\u0301",), stop=("e\u0301",)))
    assert (c.prompts, c.stop) == (("é",), ("é",))


def test_what_the_model_does_not_know_is_refused(writer):
    with pytest.raises(
        RequestError, match=r"prompt: .*found '☃' .U.2603. at position 1"
    ) as refused:
        writer.prepared(Completion(("a", "b☃")))
    assert (refused.value.param, refused.value.code) == ("prompt", "unknown_character")
    with pytest.raises(RequestError, match="prompt"):
        writer.prepared(Completion(("\ud800",)))
    with pytest.raises(RequestError, match="expected the model 'tiny', found 'gpt'") as refused:
        writer.prepared(Completion(model="gpt"))
    assert refused.value.status == 404
    assert writer.prepared(Completion()).seed != writer.prepared(Completion()).seed


@pytest.mark.full
def test_infinite_states_are_reported(saved):
    weights = {name: w * 1e38 for name, w in saved.weights.items()}
    config = replace(saved.config, model=replace(saved.config.model, activation="linear"))
    writer = Writer(replace(saved, weights=weights, config=config), NAME)
    with np.errstate(all="ignore"), pytest.raises(RequestError, match="become infinite"):
        answered(writer, prompts=("abc",), max_tokens=0, echo=True, logprobs=0)


@pytest.mark.parametrize("given", [
    {"prompts": ("a" * 5000,)}, {"max_tokens": 5000}, {"stop": ("→",), "max_tokens": 5000},
    {"prompts": ("a" * 5000,), "max_tokens": 0, "echo": True, "logprobs": 0},
])  # fmt: skip
def test_the_work_ends_when_the_client_leaves(writer, given):
    calls = itertools.count()
    c = writer.prepared(Completion(seed=1, **given))
    with pytest.raises(Left):
        list(writer.pieces(c, lambda: next(calls) < 3))
    assert next(calls) < 10


def test_the_client_is_looked_for_at_each_character_of_a_prompt(writer):
    calls = itertools.count()
    c = writer.prepared(Completion(("a" * 500,), max_tokens=1, seed=1))
    list(writer.pieces(c, lambda: next(calls) >= 0))
    assert next(calls) > 499
