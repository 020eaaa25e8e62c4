"""Law: inference in machine code is what autodiff's loop computes, gradients too."""

import keras
import numpy as np
import pytest

from charlm.layers import numpy_op
from tests.cells import CASES, FEW, normal, set_random
from tests.oracle import results_and_gradients

B, T, D, H = 2, 5, 3, 4
BACKEND = keras.backend.backend()


@pytest.mark.usual(3)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("vocab_size", [None, D])
@pytest.mark.parametrize("case", FEW[:1] if BACKEND == "jax" else CASES, ids=str)
def test_the_same_as_without_machine_code(rng, case, vocab_size, masked):
    options = {"return_sequences": True, "return_state": True, "vocab_size": vocab_size}
    ours, plain = (case.make(H, **options) for _ in range(2))
    x = rng.integers(D, size=(B, T)) if vocab_size else normal(rng, B, T, D)
    for layer in (ours, plain):
        layer.build(x.shape)
    set_random(rng, ours, plain)
    ours.compiled_inference = True
    served = bool(ours.cell.compiled()) and numpy_op.is_supported()
    assert ours.backward_pass(training=False) == ("compiled" if served else "autodiff")
    assert plain.backward_pass(training=False) == "autodiff"
    mask = np.array([[0, 1, 0, 1, 1], [1, 1, 1, 0, 0]], bool) if masked else None
    states = [normal(rng, B, H) for _ in case.cell.states]
    found = results_and_gradients(ours, x, states, training=False, mask=mask)
    expected = results_and_gradients(plain, x, states, training=False, mask=mask)
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
