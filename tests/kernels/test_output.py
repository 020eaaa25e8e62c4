"""Law: output layer and loss in machine code compute what NumPy does, for any number of rows."""

import copy

import numpy as np
import pytest

from charlm.kernels import activations, dense, loss, parallel
from charlm.kernels.matmul import COLUMNS, ROWS
from charlm.reference.loss import softmax_cross_entropy
from tests.kernels.test_compiled import close, normal, poisoned

SIZES = [
    (0, 3, 2, 5),
    (1, 1, 1, 1),
    (2, 5, 3, 7),
    (3, 3 * ROWS + 1, COLUMNS + 1, 7),
    (2, 150, 5, COLUMNS),
]
SIZES += [(4, 2 * dense.BLOCK // 3, 20, COLUMNS + 3)]  # B, T, H, V


@pytest.fixture(autouse=True)
def nothing_relies_on_what_memory_holds(monkeypatch):
    for module in (dense, loss):
        monkeypatch.setattr(module, "empty", poisoned)


@pytest.fixture(autouse=True)
def all_cores_compute_even_few_rows(monkeypatch):
    monkeypatch.setattr(parallel, "WORTH_ALL_THREADS", 0)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_output_layer(rng, sizes, n, monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: n)
    B, T, H, V = sizes
    x, kernel, bias, d_y = (normal(rng, *s) for s in ((B, T, H), (H, V), (V,), (B, T, V)))
    given = copy.deepcopy((x, kernel, bias, d_y))
    x_rows, d_rows = np.float64(x.reshape(-1, H)), np.float64(d_y.reshape(-1, V))
    expected = [np.float64(x) @ kernel + bias, d_y @ np.float64(kernel).T]
    expected += [x_rows.T @ d_rows, d_rows.sum(axis=0)]
    close([dense.forward(x, kernel, bias), *dense.backward(x, kernel, d_y)], expected)
    np.testing.assert_equal((x, kernel, bias, d_y), given)


def test_one_core_computes_what_is_little_work(rng, monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: 3)
    parts, (B, T, H, V) = [], (4, 24, 128, 70)
    run = parallel.side_by_side
    monkeypatch.setattr(parallel, "side_by_side", lambda x: parts.append(len(x)) or run(x))
    x, kernel, bias, d_y = (normal(rng, *s) for s in ((B, T, H), (H, V), (V,), (B, T, V)))
    targets = rng.integers(V, size=(B, T))
    for worth, wanted in ((2 * x.size * V + 1, 1), (0, 3)):
        monkeypatch.setattr(parallel, "WORTH_ALL_THREADS", worth)
        parts.clear()
        dense.forward(x, kernel, bias)
        dense.backward(x, kernel, d_y)
        losses, slopes = loss.forward(targets, d_y)
        loss.backward(slopes, losses)
        assert max(parts) == wanted


@pytest.mark.parametrize("scale", [1.0, 60.0])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_cross_entropy(rng, sizes, scale):
    B, T, _, V = sizes
    logits, targets = scale * normal(rng, B, T, V), rng.integers(V, size=(B, T)).astype(np.int32)
    weights = normal(rng, B, T)
    losses, slopes = loss.forward(targets, logits.astype(np.float32))
    wide, n = np.float64(logits), targets.size
    for b in range(B):
        for t in range(T):
            one, _ = softmax_cross_entropy(wide[b, t], targets[b, t])
            np.testing.assert_allclose(losses[b, t], one, rtol=1e-5, atol=1e-6)
    if not n:
        return
    _, slope = softmax_cross_entropy(wide, targets)  # of the mean
    close([loss.backward(slopes, weights)], [slope * n * weights[..., None]])


@pytest.mark.parametrize("wrong", [-1, 7, 2**32 + 3, 2.5])
def test_a_target_without_a_column_is_refused(rng, wrong):
    expected = f"Expected targets to be whole numbers from 0 to 6. Received: {wrong}"
    with pytest.raises(ValueError, match=expected):
        loss.forward(np.array([0, wrong]), normal(rng, 2, 7))


def test_an_array_of_another_shape_or_type_is_refused(rng):
    B, T, H, V = 2, 5, 3, 7
    x, kernel, bias, d_y = (normal(rng, *s) for s in ((B, T, H), (H, V), (V,), (B, T, V)))
    targets, losses = rng.integers(V, size=(B, T)), normal(rng, B, T)
    calls = [  # a function, what it is given, and axes of what may have any length
        (dense.forward, [x, kernel, bias], {0: (0, 1)}),
        (dense.backward, [x, kernel, d_y], {}),
        (loss.forward, [targets, d_y], {1: (2,)}),
        (loss.backward, [d_y, losses], {0: (2,)}),
    ]
    for function, given, free in calls:
        function(*given)
        for k, array in enumerate(given):
            for axis, n in enumerate(array.shape):
                for wrong in {0, 1, n - 1, n + 1, 3 * n} - {n}:
                    shape = list(array.shape)
                    shape[axis] = wrong
                    other = [*given[:k], np.ones(shape, array.dtype), *given[k + 1 :]]
                    if axis not in free.get(k, ()):
                        with pytest.raises(ValueError, match=r"^Expected .* Received: "):
                            function(*other)
            if array is not targets:
                with pytest.raises(ValueError, match=r"^Expected .* Received: .*float64"):
                    function(*given[:k], np.float64(array), *given[k + 1 :])


def test_nan_comes_out_as_nan(rng):
    logits = normal(rng, 3, 7)
    logits[1, 4] = np.nan
    losses, slopes = loss.forward(np.array([0, 1, 2], np.int32), logits)
    assert np.isnan(losses).tolist() == [False, True, False]
    assert np.isnan(slopes).any(axis=1).tolist() == [False, True, False]


def test_exponential():
    x = np.concatenate([np.linspace(-86, 0, 4001), [0, -1e-30, 88]]).astype(np.float32)
    np.testing.assert_allclose(
        [activations.exp(one) for one in x], np.exp(np.float64(x)), rtol=2e-7
    )
    for low in (-87, -1e30, -np.inf):
        assert 0 <= activations.exp(np.float32(low)) < 2e-38
    assert np.isnan(activations.exp(np.float32("nan")))
