"""Law: scores are those of their definitions, computed one pair at a time."""

import numpy as np
import pytest

from charlm.inside import scoring


def test_auc_is_the_share_of_pairs_in_order(rng):
    for n in (5, 40, 200):
        x, y = rng.integers(8, size=n).astype(np.uint8), rng.random(n) < 0.3
        y[:2] = True, False
        pairs = [(a > b) + (a == b) / 2 for a in x[y].astype(int) for b in x[~y].astype(int)]
        assert scoring.auc(scoring.counts(x, y)) == pytest.approx(np.mean(pairs))
    assert np.isnan(scoring.auc(scoring.counts(x, np.zeros(n, bool))))


def test_f1_is_that_of_the_threshold_and_the_best_is_the_best(rng):
    x, y = rng.integers(256, size=300).astype(np.uint8), rng.random(300) < 0.2
    table = scoring.counts(x, y)

    def by_hand(threshold):
        said = x >= threshold
        return 2 * (said & y).sum() / (said.sum() + y.sum())

    scores = [by_hand(k) for k in range(256)]  # the levels that occur
    for k in (0, 17, 200, 255):
        assert scoring.f1(table, k) == pytest.approx(scores[k])
    assert scores[scoring.best_threshold(table)] == pytest.approx(max(scores))


def test_levels_keep_the_order(rng):
    x = np.sort(rng.normal(size=1000) * 8)
    for bounded in (False, True):
        levels = scoring.to_levels(np.tanh(x) if bounded else x, bounded).astype(int)
        assert (np.diff(levels) >= 0).all()
        assert bounded or (np.diff(scoring.to_levels(np.arange(60.0), False).astype(int)) > 8).all()
        assert levels.max() - levels.min() > 50_000


def test_differences_are_those_of_the_means(rng):
    x = rng.integers(256, size=(500, 3)).astype(np.uint8)
    labels = rng.random((4, 500)) < 0.4
    labels[3] = True
    found = scoring.differences(x, labels)
    for p, y in enumerate(labels[:3]):
        expected = (x[y].mean(axis=0) - x[~y].mean(axis=0)) / x.std(axis=0)
        np.testing.assert_allclose(found[p], expected, rtol=1e-4)
    assert not found[3].any()


@pytest.mark.parametrize("length", [1, 2, 4, 6])
def test_characters_alone_predict_what_they_decide(rng, length):
    """A property of the character `length` - 1 back is known from so many characters, not fewer."""
    ids = rng.integers(3, size=12_000)
    labels = np.roll(ids == 1, length - 1)
    found = scoring.CharacterContexts(ids, 3, 6000).scores(labels)
    for k, auc in found.items():
        assert (auc > 0.99) if k >= length else (0.45 < auc < 0.55)
