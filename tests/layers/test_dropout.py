"""Law: a given share of the numbers is left out, and the mean stays."""

import keras
import numpy as np
import pytest
from keras import ops

from charlm.layers.dropout import dropped

SHAPE = (101, 203)  # no multiple of what a word of random bits serves


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.4, 0.5, 0.9, 0.998, 0.9999])
def test_the_share_is_left_out_and_the_mean_stays(rng, rate):
    x = rng.normal(size=SHAPE).astype("float32")
    y = ops.convert_to_numpy(dropped(ops.convert_to_tensor(x), rate, keras.random.SeedGenerator(1)))
    share = np.clip(rate, 1 / 256, 255 / 256)
    gone = y == 0
    spread = np.sqrt(share * (1 - share) / x.size)
    assert abs(gone.mean() - share) <= 4 * spread + 1 / 512  # the nearest 256th
    kept = 1 - round(256 * share) / 256
    np.testing.assert_allclose(y[~gone], x[~gone] / kept, rtol=1e-6)


def test_each_number_by_itself_and_anew_in_each_call():
    seed, ones = keras.random.SeedGenerator(1), ops.ones(SHAPE)
    first, second = (ops.convert_to_numpy(dropped(ones, 0.5, seed)) / 2 for _ in range(2))
    pairs = [(first, second), (first[1:], first[:-1])]
    pairs += [(first[:, k:], first[:, :-k]) for k in range(1, 9)]
    for a, b in pairs:  # alike in half of all places
        assert abs((a == b).mean() - 0.5) < 4 * 0.5 / np.sqrt(a.size)
    again = ops.convert_to_numpy(dropped(ones, 0.5, keras.random.SeedGenerator(1))) / 2
    np.testing.assert_array_equal(first, again)
