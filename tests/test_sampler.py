"""Law: text is drawn from softmax(logits / temperature), any finite temperature, by seed alone."""

import numpy as np
import pytest

from charlm import sampler
from charlm.errors import InputError

V = 7


def successor(ids, states):
    """A fake model: the next id is this one plus one, beyond doubt."""
    logits = np.full((len(ids), V), -100.0, np.float32)
    logits[np.arange(len(ids)), (ids + 1) % V] = 100.0
    return logits, states + 1


def dice(ids, states):
    """A fake model that does not look: fixed odds."""
    return np.tile(np.log(np.arange(1, V + 1, dtype=np.float32)), (len(ids), 1)), states


def test_follows_the_step_function_and_carries_its_states():
    seen = []

    def step(ids, states):
        seen.append(states)
        return successor(ids, states)

    prompt = np.array([[0, 1, 2], [4, 5, 6]])
    drawn = np.concatenate(list(sampler.generate(step, 0, prompt, 5, 1.0))).T
    assert drawn.tolist() == [[3, 4, 5, 6, 0], [0, 1, 2, 3, 4]]
    assert seen == list(range(7))  # two of the prompt, five drawn: each id is read once


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 1.2, 3.0])
def test_probabilities_are_the_softmax(rng, temperature):
    logits = rng.normal(size=(3, V)).astype(np.float32)
    powers = np.exp(logits.astype(np.float64) / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sampler.probabilities(logits, temperature), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e30, 3e38, 1e-30])
@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-5, 1.0, 1e5, 1.7e308])
def test_no_temperature_gives_anything_but_probabilities(rng, scale, temperature):
    logits = (scale * rng.uniform(-1, 1, size=(3, V))).astype(np.float32)
    p = sampler.probabilities(logits, temperature)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    if temperature in (0.0, 5e-324):
        np.testing.assert_array_equal(p.argmax(1), logits.argmax(1))
        assert (p.max(axis=1) == 1).all()


def test_each_text_may_have_its_temperature(rng):
    logits = rng.normal(size=(2, V)).astype(np.float32)
    p = sampler.probabilities(logits, [0, 1])
    np.testing.assert_allclose(p[0], sampler.probabilities(logits[:1], 0)[0])
    np.testing.assert_allclose(p[1], sampler.probabilities(logits[1:], 1)[0])


@pytest.mark.parametrize("temperature", [-1, float("nan"), float("inf")])
def test_other_temperatures_are_refused(temperature):
    with pytest.raises(InputError, match="temperature"):
        next(sampler.generate(dice, None, np.zeros((1, 1), int), 1, temperature))


def test_draws_have_the_odds_they_should():
    pieces = sampler.generate(dice, None, np.zeros((50, 1), int), 400, 1.0)
    drawn = np.concatenate(list(pieces)).ravel()
    shares = np.bincount(drawn, minlength=V) / len(drawn)
    expected = np.arange(1, V + 1) / 28
    # 20,000 draws: five standard deviations of a share
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / len(drawn))).all()


def test_draw_never_picks_the_impossible():
    p = np.array([[0.0, 0.5, 0.5, 0.0]] * 3)
    assert sampler.draw(p, np.array([0.0, 0.5, np.nextafter(1, 0)])).tolist() == [1, 2, 2]


def test_a_text_depends_on_the_seed_and_not_on_its_neighbours():
    def texts(n, seed):
        ids = sampler.generate(dice, None, np.zeros((n, 1), int), 30, 1.0, seed)
        return np.concatenate(list(ids)).T.tolist()

    assert texts(3, 5)[:2] == texts(2, 5)
    assert texts(1, 5) != texts(1, 6)
    assert texts(2, 5)[0] != texts(2, 5)[1]


def test_random_numbers_do_not_depend_on_how_many_come_at_once():
    def ids(length, **settings):
        pieces = sampler.generate(
            dice, None, np.zeros((2, 1), int), length, [1.0, 2.0], 5, **settings
        )
        return np.concatenate(list(pieces))

    expected = ids(100)
    block = sampler.by_steps(dice)
    for handover in (0, 1, 33, 99, 100):
        found = ids(100, quicker=lambda: block, handover=handover)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ids(37), expected[:37])


def test_the_handover_is_asked_for_once_and_may_be_declined():
    asked = []
    pieces = sampler.generate(
        dice, None, np.zeros((1, 1), int), 100, 1.0,
        quicker=lambda: asked.append(1), handover=20,
    )  # fmt: skip
    assert sum(map(len, pieces)) == 100
    assert asked == [1]
