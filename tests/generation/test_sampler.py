"""Law: text is drawn from softmax(logits / temperature), any finite temperature, by seed alone."""

import itertools

import numpy as np
import pytest

from charlm.errors import InputError
from charlm.generation import constraints, sampler
from charlm.generation.beam_search import beam_search
from charlm.generation.constraints import SamplingConstraints

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
    np.testing.assert_allclose(constraints.probabilities(logits, temperature), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e30, 3e38, 1e-30])
@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-5, 1.0, 1e5, 1.7e308])
def test_no_temperature_gives_anything_but_probabilities(rng, scale, temperature):
    logits = (scale * rng.uniform(-1, 1, size=(3, V))).astype(np.float32)
    p = constraints.probabilities(logits, temperature)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    if temperature in (0.0, 5e-324):
        np.testing.assert_array_equal(p.argmax(1), logits.argmax(1))
        assert (p.max(axis=1) == 1).all()


def test_each_text_may_have_its_temperature(rng):
    logits = rng.normal(size=(2, V)).astype(np.float32)
    p = constraints.probabilities(logits, [0, 1])
    np.testing.assert_allclose(p[0], constraints.probabilities(logits[:1], 0)[0])
    np.testing.assert_allclose(p[1], constraints.probabilities(logits[1:], 1)[0])


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
    assert constraints.draw(p, np.array([0.0, 0.5, np.nextafter(1, 0)])).tolist() == [1, 2, 2]


def test_a_text_depends_on_the_seed_and_not_on_its_neighbours():
    def texts(n, seed):
        ids = sampler.generate(dice, None, np.zeros((n, 1), int), 30, 1.0, seed)
        return np.concatenate(list(ids)).T.tolist()

    assert texts(3, 5)[:2] == texts(2, 5)
    assert texts(1, 5) != texts(1, 6)
    assert texts(2, 5)[0] != texts(2, 5)[1]


def test_random_numbers_do_not_depend_on_how_many_come_at_once(monkeypatch):
    def ids(length, **settings):
        pieces = sampler.generate(
            dice, None, np.zeros((2, 1), int), length, [1.0, 2.0], 5, **settings
        )
        return np.concatenate(list(pieces))

    expected = ids(100)
    for piece, large in ((1, 1), (3, 20), (16, 512), (100, 1)):
        monkeypatch.setattr(sampler, "PIECE", piece)
        monkeypatch.setattr(sampler, "LARGE_PIECE", large)
        np.testing.assert_array_equal(ids(100, block=sampler.block_from_step(dice)), expected)
        np.testing.assert_array_equal(ids(100), expected)
    np.testing.assert_array_equal(ids(37), expected[:37])


def test_the_first_piece_is_small_and_later_ones_are_not():
    block = sampler.block_from_step(dice)
    pieces = sampler.generate(dice, None, np.zeros((2, 1), int), 1000, 1.0, block=block)
    sizes = [len(piece) for piece in pieces]
    assert sizes[:5] == [16, 32, 64, 128, 256]
    assert max(sizes) == 256


def adding(ids, states):
    """A fake model: odds that depend on the sum of all ids read."""
    (total,) = states
    total = total + ids[:, None]
    return np.sin(total + np.arange(V)).astype(np.float32) * 2, (total,)


@pytest.mark.parametrize(
    "rules",
    [SamplingConstraints(), SamplingConstraints(repetition_penalty=9.0, repetition_length=2)],
    ids=["free", "penalty"],
)
def test_what_has_ended_is_drawn_no_further_and_changes_no_other(rng, rules, monkeypatch):
    monkeypatch.setattr(sampler, "PIECE", 4)
    prompt, ends = rng.integers(V, size=(5, 3)), np.array([9, 2, 60, 9, 21])
    zeros, rows = (np.zeros((5, 1), int),), []

    def step(ids, states):
        rows.append(len(ids))
        return adding(ids, states)

    free = np.concatenate([*sampler.generate(adding, zeros, prompt, 60, 1.0, 3, rules)])
    going, found, done = np.ones(5, bool), [], 0
    for piece in sampler.generate(step, zeros, prompt, 60, 1.0, 3, rules, going=going):
        found.append(piece)
        done += len(piece)
        going[:] = ends > done
    found = np.concatenate(found)
    for n, end in enumerate(ends):
        np.testing.assert_array_equal(found[:end, n], free[:end, n])
        assert not found[-(-end // 4) * 4 :, n].any()
    assert rows == [5] * (2 + 4) + [4] * 8 + [2] * 12 + [1] * 36
    going[:] = False
    assert len(list(sampler.generate(step, zeros, prompt, 60, 1.0, 3, rules, going=going))) == 1


def test_a_prompt_of_all_texts_is_read_once():
    def step(ids, states):
        rows.append(len(ids))
        return adding(ids, states)

    prompt, temperatures, rows = np.array([3, 1, 4]), [1.0, 0.5, 0.0], []
    rules = SamplingConstraints(repetition_penalty=9.0, repetition_length=2)
    one = (np.zeros((1, 1), int),)
    found = np.concatenate([*sampler.generate(step, one, prompt, 20, temperatures, 5, rules)])
    many, three = np.tile(prompt, (3, 1)), (np.zeros((3, 1), int),)
    expected = [*sampler.generate(adding, three, many, 20, temperatures, 5, rules)]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert rows == [1, 1] + [3] * 20


# --- rules ---


def drawn(rules, prompt=((0,),), n=60, temperature=1.0, step=dice):
    prompt = np.array(prompt)
    pieces = sampler.generate(step, None, prompt, n, temperature, 5, rules)
    return np.concatenate(list(pieces)).T


def test_the_likeliest_are_kept_and_of_equals_the_first():
    p = np.array([[0.1, 0.3, 0.2, 0.3, 0.1], [0.5, 0.1, 0.1, 0.1, 0.2]])
    kept = [np.flatnonzero(row).tolist() for row in constraints.filter_top_k_top_p(p, top_k=3)]
    assert kept == [[1, 2, 3], [0, 1, 4]]
    np.testing.assert_array_equal(constraints.filter_top_k_top_p(p, top_k=9), p)
    for top_p, expected in (
        (1e-9, [[1], [0]]),
        (0.29, [[1], [0]]),
        (0.31, [[1, 3], [0]]),
        (0.61, [[1, 2, 3], [0, 4]]),
        (0.85, [[0, 1, 2, 3], [0, 1, 2, 4]]),
    ):
        found = constraints.filter_top_k_top_p(p, top_p=top_p)
        assert [np.flatnonzero(row).tolist() for row in found] == expected
        np.testing.assert_array_equal(found[found > 0], p[found > 0])
    exact = constraints.filter_top_k_top_p(np.array([[0.25, 0.5, 0.25]]), top_p=0.5)
    assert np.flatnonzero(exact[0]).tolist() == [1]
    both = constraints.filter_top_k_top_p(p, top_k=2, top_p=0.31)
    assert [np.flatnonzero(row).tolist() for row in both] == [[1, 3], [0]]


def test_only_the_likeliest_are_drawn():
    assert set(drawn(SamplingConstraints(top_k=3), n=400).ravel()) == {4, 5, 6}
    assert set(drawn(SamplingConstraints(top_p=0.46), n=400).ravel()) == {
        5,
        6,
    }  # 7/28 + 6/28 = 0.464
    assert set(drawn(SamplingConstraints(top_p=0.47), n=400).ravel()) == {4, 5, 6}
    assert set(drawn(SamplingConstraints(), n=400).ravel()) == set(range(V))


def test_top_p_is_of_the_odds_at_the_temperature():
    """Of the odds 1 to 7, sharpened, one alone is half."""
    assert set(drawn(SamplingConstraints(top_p=0.5), n=400, temperature=0.2).ravel()) == {6}


def test_defaults_are_no_rules():
    np.testing.assert_array_equal(
        drawn(SamplingConstraints()), drawn(SamplingConstraints(top_k=V, repetition_penalty=1.0))
    )


def runs(ids, n):
    return [tuple(ids[k : k + n]) for k in range(len(ids) - n + 1)]


def test_a_run_that_was_there_does_not_come_again():
    prompt = [[0, 1, 2, 3, 4, 5], [3, 3, 3, 3, 3, 3]]
    rules = SamplingConstraints(repetition_penalty=1e30, repetition_length=3)
    for ids, before in zip(drawn(rules, prompt), prompt, strict=True):
        text = [*before, *ids]
        new = runs(text, 3)[len(before) - 2 :]
        assert not {*new} & {*runs(before, 3)}
        assert len(set(new)) == len(new)
    free = drawn(SamplingConstraints(), prompt)[0].tolist()
    assert len(set(runs(free, 3))) < len(runs(free, 3))


def test_a_penalty_divides_the_odds():
    seen = []

    def uniform(p, numbers):
        seen.append(p / p.sum())
        return np.array([0])

    choice = constraints.TokenChooser(
        SamplingConstraints(repetition_penalty=4.0, repetition_length=2), [np.array([1, 6, 1])]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraints, "draw", uniform)
        choice(dice([1], None)[0], np.array([1.0]), np.array([0.5]))
    odds = np.arange(1, V + 1.0)
    odds[6] /= 4
    np.testing.assert_allclose(seen[0][0], odds / odds.sum(), rtol=1e-6)


def test_where_all_would_repeat_the_likeliest_does():
    rules = SamplingConstraints(repetition_penalty=1e30, repetition_length=1)
    ids = drawn(rules, n=3 * V, temperature=0)[0].tolist()
    assert ids[: V - 1] == [6, 5, 4, 3, 2, 1]  # 0 was the prompt
    assert ids[V - 1 :] == [6] * (2 * V + 1)


def test_rules_are_not_left_to_what_knows_none():
    pieces = sampler.generate(
        dice, None, np.zeros((1, 1), int), 20, 1.0, rules=SamplingConstraints(top_k=1),
        block=lambda *given: pytest.fail("asked"),
    )  # fmt: skip
    assert set(np.concatenate(list(pieces)).ravel()) == {6}


@pytest.mark.parametrize(
    ("setting", "value"),
    [("top_k", -1), ("top_p", 0), ("top_p", 1.1), ("top_p", float("nan")),
     ("repetition_penalty", 0.9), ("repetition_penalty", float("inf")),
     ("repetition_length", 0), ("repetition_length", 5)],
)  # fmt: skip
def test_rules_that_are_none_are_refused(setting, value):
    with pytest.raises(InputError, match=setting.replace("_", "-")):
        SamplingConstraints(**{setting: value})


# --- the likeliest texts ---


def chain(rng):
    """A model of fixed odds from each id to the next; its state is the number of steps."""
    table = rng.normal(size=(V, V)).astype(np.float32) * 3

    def step(ids, states):
        (seen,) = states
        return table[ids], (seen + 1,)

    log_p = table.astype(float) - np.log(np.exp(table.astype(float)).sum(axis=1, keepdims=True))
    return step, log_p


def all_texts(log_p, first, length):
    found = []
    for ids in itertools.product(range(V), repeat=length):
        path = itertools.pairwise((first, *ids))
        found.append((-sum(log_p[a, b] for a, b in path) / length, list(ids)))
    return sorted(found)


def test_a_beam_as_wide_as_all_texts_finds_the_likeliest(rng):
    step, log_p = chain(rng)
    found = beam_search(step, (np.zeros(V**3),), np.array([2, 4]), 4, V**3)
    expected = all_texts(log_p, 4, 4)[: V**3]
    assert found[0][0] == expected[0][1]  # of others some are as likely as their neighbours
    np.testing.assert_allclose([x for _, x in found], [x for x, _ in expected], rtol=1e-5)


def test_a_beam_of_one_is_greedy(rng):
    step, log_p = chain(rng)
    ((ids, _),) = beam_search(step, (np.zeros(1),), np.array([4]), 9, 1)
    expected, last = [], 4
    for _ in range(9):
        last = int(log_p[last].argmax())
        expected.append(last)
    assert ids == expected


def test_a_beam_s_states_follow_their_texts():
    """Where the state is all the model sees: the sum of ids read, modulo V the likeliest next."""

    def step(ids, states):
        total = states[0] + ids
        logits = np.full((len(ids), V), -3.0, np.float32)
        logits[np.arange(len(ids)), total % V] = 0
        return logits, (total,)

    found = beam_search(step, (np.zeros(5, int),), np.array([1, 2]), 5, 5)
    ids, loss = found[0]
    assert ids == [3, 6, 5, 3, 6]  # 1 + 2; + 3; + 6 = 12; + 5 = 17; + 3 = 20
    assert loss == pytest.approx(np.log(1 + 6 * np.exp(-3)))
    for ids, loss in found[1:]:
        total, losses = 3, []
        for x in ids:
            losses.append(0 if x == total % V else 3)
            total += x
        assert loss == pytest.approx(np.log(1 + 6 * np.exp(-3)) + np.mean(losses))


def test_a_beam_ends_where_it_is_told(rng):
    step, log_p = chain(rng)
    found = beam_search(
        step, (np.zeros(9),), np.array([4]), 6, 9, lambda ids: ids[-1] == 2 and len(ids) > 1
    )
    soon = beam_search(step, (np.zeros(3),), np.array([4]), 6, 3, lambda ids: True)
    assert [len(ids) for ids, _ in soon] == [1, 1, 1]
    seen = []
    beam_search(
        lambda *given: seen.append(1) or step(*given), (np.zeros(2),), np.array([4]), 50, 2,
        lambda ids: len(ids) > 1 and ids[-1] == log_p[ids[-2]].argmax(),
    )  # fmt: skip
    assert len(seen) < 6  # two have ended
    assert len(found) == 9
    assert any(len(ids) < 6 for ids, _ in found)
    losses = [loss for _, loss in found]
    assert losses == sorted(losses)
    for ids, loss in found:
        assert len(ids) == 6 or ids[-1] == 2
        assert 2 not in ids[1:-1]
        path = list(itertools.pairwise((4, *ids)))
        assert loss == pytest.approx(-np.mean([log_p[a, b] for a, b in path]), rel=1e-5)
