"""Law: machine code computes what NumPy does, for any size of batch, state and text."""

import copy
import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from ml_dtypes import bfloat16

from charlm import compiled, reference
from charlm.compiled import activations, cores, half, memory, single, threads
from charlm.compiled import through_time as loops
from charlm.compiled.matmul import COLUMNS, ROWS, multiply, multiply_transposed, panels, rounded
from charlm.reference import through_time

FILES = {path.stem for path in Path(compiled.__file__).parent.glob("*.py")}
CELLS = sorted(FILES & set(reference.CELLS))
SIZES = [
    (1, 1, 1),
    (5, 3, 4),
    (3, 2 * ROWS + 3, 33),
    (2, 5 * ROWS, COLUMNS),
    (70, ROWS, 5),
]  # T, B, H
V = 7


def poisoned(*shape):
    """`memory.empty` whose memory holds what nobody may rely on."""
    array = memory.empty(*shape)
    array[:] = np.nan
    return array


@pytest.fixture(autouse=True)
def nothing_relies_on_what_memory_holds(monkeypatch):
    for module in (threads, loops, single, half):
        monkeypatch.setattr(module, "empty", poisoned)


def normal(rng, *shape):
    return (0.5 * rng.normal(size=shape)).astype(np.float32)


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def nearly(found, expected):
    """Equal but for the rounding of factors to eight bits."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        assert np.abs(a - b).max() < 0.01 * max(0.3, np.abs(b).max())


in_half = pytest.mark.skipif(not half.AVAILABLE, reason="the processor has no AVX512-BF16")
PRECISIONS = [
    pytest.param(single, close, id="single"),
    pytest.param(half, nearly, id="half", marks=in_half),
]


@pytest.mark.parametrize("K", [1, 5, 513, 1100])
def test_products(rng, K):
    R, N = 3 * ROWS, 2 * COLUMNS + 6
    a, b, c = normal(rng, R + 2, K), normal(rng, K, N), normal(rng, R + 1, rounded(N, COLUMNS))
    expected = c.copy()
    expected[:R, :N] += a[1 : R + 1] @ b
    multiply(a, 1, R, panels(b), c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)
    a, b, c = normal(rng, K + 1, R + 3), normal(rng, K + 1, N), normal(rng, R, 2 * COLUMNS)
    expected = c + a[:K, :R].T @ b[:K, : 2 * COLUMNS]
    multiply_transposed(a, b, K, c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("K", [1, 5, 16, 513])
@pytest.mark.parametrize("N", [1, COLUMNS, 2 * COLUMNS + 6])
def test_a_transposed_matrix_lies_in_panels_like_any_other(rng, K, N):
    rows = normal(rng, N, K)
    found, expected = panels(rows.T), panels(np.ascontiguousarray(rows.T))
    np.testing.assert_array_equal(found, expected)
    flat = expected.swapaxes(0, 1).reshape(K, -1)
    np.testing.assert_array_equal(flat[:, :N], rows.T)
    assert not flat[:, N:].any()


def rounded_to_half(x):
    return x.astype(bfloat16).astype(np.float64)


@in_half
@pytest.mark.parametrize("K", [1, 2, 5, 513, 1100])
def test_products_of_pairs(rng, K):
    R, N = 3 * ROWS, 2 * COLUMNS + 6
    a, b, c = normal(rng, R + 2, K), normal(rng, K, N), normal(rng, R + 1, rounded(N, COLUMNS))
    expected = c.copy()
    expected[:R, :N] += rounded_to_half(a[1 : R + 1]) @ rounded_to_half(b)
    first = half.rows(R + 2, K)
    for r, row in enumerate(a):
        half.put(first, r, row)
    multiply(first, 1, R, half.panels(b), c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)


@in_half
@pytest.mark.parametrize("n", [2, 8, 514])
def test_products_of_pairs_over_rows(rng, n):
    H, GH = ROWS + 3, COLUMNS + 6
    du, h, c = normal(rng, n, GH), normal(rng, n, H), normal(rng, 2 * ROWS, 2 * COLUMNS)
    _, first, below, h_below = half.gradients(n, n, H, GH)
    below[:], h_below[:] = 0, 0
    for r in range(n):
        half.put_gradient(first, r, below, r, du[r])
        half.put_below(h_below, r, h[r])
    expected = c.copy()
    expected[:H, :GH] += rounded_to_half(h).T @ rounded_to_half(du)
    multiply_transposed(h_below, below, n // 2, c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(first.view(np.uint16), du.astype(bfloat16).view(np.uint16))


def test_numbers_are_rounded_to_the_nearest_half(rng):
    words = rng.integers(2**32, size=4000, dtype=np.uint32)
    ties = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF], np.uint32)
    x = np.concatenate([words, ties, np.float32([0, -0.0, np.inf, -np.inf]).view(np.uint32)])
    x = x.view(np.float32)
    numbers = ~np.isnan(x)
    found = np.array([half.bits(one) for one in x])
    np.testing.assert_array_equal(
        found[numbers], x[numbers].astype(bfloat16).view(np.uint16).astype(np.uint32)
    )
    for nan in (np.float32("nan"), np.uint32(0x7FFFFFFF).view(np.float32)):
        assert np.isnan(np.uint32(half.bits(nan) << np.uint32(16)).view(np.float32))


def test_activations():
    x = np.concatenate([np.linspace(-12, 12, 4001), [0, 1e-30, 1e30, np.inf, -np.inf]])
    x = x.astype(np.float32)
    with np.errstate(over="ignore"):
        expected = np.tanh(x), 1 / (1 + np.exp(-x.astype(np.float64)))
    for ours, values in zip((activations.tanh, activations.sigmoid), expected, strict=True):
        np.testing.assert_allclose([ours(one) for one in x], values, rtol=3e-7, atol=1e-7)
        assert np.isnan(ours(np.float32("nan")))


def problem(rng, name, T, B, H, in_order):
    """What `threads` is given, and what NumPy makes of the same."""
    numpy_cell = reference.cell(name)
    GH, S = len(numpy_cell.GATES) * H, len(numpy_cell.STATES)
    ids = None if in_order else rng.integers(V, size=(B, T)).astype(np.int32)
    rows = normal(rng, B * T if in_order else V, GH)
    weights = [normal(rng, H, GH) / np.float32(H**0.5)]
    if name == "gru":
        weights.append(normal(rng, GH))
    first, d_last = ([normal(rng, B, H) for _ in range(S)] for _ in range(2))
    d_h = normal(rng, B, T, H)

    x = np.arange(B * T).reshape(B, T) if in_order else ids
    d = weights[1] if len(weights) > 1 else None
    bias = None if d is None else np.stack([np.zeros(GH), d])
    given = [np.float64(rows), np.float64(weights[0]), bias]
    h, last, cache = through_time.forward(numpy_cell, x, first, given)
    _, d_first, gradients, _ = through_time.backward(numpy_cell, d_h, d_last, cache, given)
    dW, dU, db = gradients
    expected = [h, last[-1], dW, dU, *([] if d is None else [db[1]]), *d_first]
    return [rows, ids, weights, first], [d_h, d_last], expected


def both(name, inputs, upstream, factors=single):
    cell = importlib.import_module(f"charlm.compiled.{name}")
    *states, kept = threads.forward(cell, factors, *inputs)
    gradients = threads.backward(cell, factors, *inputs, states, kept, *upstream)
    return states[0], states[-1][:, -1], *gradients


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("factors", "same"), PRECISIONS)
def test_loops(rng, factors, same, name, sizes, in_order):
    inputs, upstream, expected = problem(rng, name, *sizes, in_order)
    copies = copy.deepcopy((inputs, upstream))
    same(both(name, inputs, upstream, factors), expected)
    np.testing.assert_equal((inputs, upstream), copies)  # what is given stays as it is


@pytest.mark.parametrize("name", CELLS)
def test_states_without_what_the_way_back_needs(rng, name):
    inputs, _, _ = problem(rng, name, 6, 5, 4, False)
    cell = importlib.import_module(f"charlm.compiled.{name}")
    *expected, _ = threads.forward(cell, single, *inputs)
    *states, kept = threads.forward(cell, single, *inputs, keep=False)
    close(states, expected)
    assert kept.shape == (5, 1, 4 * cell.CACHE)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_any_number_of_cores(rng, n, monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", n)
    shares = []
    cores.each(lambda begin, end: shares.append((begin, end)), 5 * ROWS - 3)
    shares.sort()
    assert len(shares) == min(n, 5)
    assert [0, *(end for _, end in shares)] == [*(begin for begin, _ in shares), 5 * ROWS - 3]
    inputs, upstream, expected = problem(rng, "lstm", 4, 5 * ROWS - 3, 6, False)
    close(both("lstm", inputs, upstream), expected)


@pytest.mark.parametrize("wrong", [-1, V])
def test_an_id_without_a_row_is_refused(rng, wrong):
    inputs, upstream, _ = problem(rng, "lstm", 3, 2, 4, False)
    inputs[1][1, 1] = wrong
    with pytest.raises(ValueError, match=f"Expected ids from 0 to {V - 1}.*{wrong}"):
        both("lstm", inputs, upstream)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("factors", "_same"), PRECISIONS)
def test_nan_comes_out_as_nan(rng, factors, _same, name):
    inputs, upstream, _ = problem(rng, name, 3, 2, 4, False)
    inputs[2][0][1, 2] = np.nan
    h, _, _, dU, *_ = both(name, inputs, upstream, factors)
    for found in (h[:, 1:], dU):
        assert np.isnan(found).any()


def test_memory_is_used_again_but_not_while_it_is_looked_at(monkeypatch):
    monkeypatch.setattr(memory, "_free", [])
    array = memory.empty(3, 1000)
    assert (array.shape, array.dtype, array.ctypes.data % 64) == ((3, 1000), np.float32, 0)
    place, view = array.ctypes.data, array[1:]
    del array
    gc.collect()
    assert memory.empty(3, 1000).ctypes.data != place
    del view
    gc.collect()
    held = [memory.empty(2, 1400), memory.empty(3, 1000)]  # for a smaller array too
    assert place in [array.ctypes.data for array in held]
    assert not np.shares_memory(*held)
    assert memory.empty(3, 400).ctypes.data != place


def test_not_all_memory_waits_to_be_used_again(monkeypatch):
    monkeypatch.setattr(memory, "_free", [])
    monkeypatch.setattr(memory, "MOST", 100_000)
    held = [memory.empty(n) for n in range(10_000, 15_000, 1000)]
    del held
    gc.collect()
    assert 50_000 < sum(map(len, memory._free)) <= 100_000


PROGRAM = """if True:
    import numpy as np
    from charlm.compiled import lstm, single, threads, through_time
    from charlm.compiled.compiler import made_for
    rows, U, h = (np.ones(s, np.float32) for s in ((3, 8), (2, 8), (1, 2)))
    threads.forward(lstm, single, rows, None, [U], [h, h])
    print(sum(made_for(through_time.forward, cell=lstm, factors=single).stats.cache_hits.values()))
"""


def test_compiled_code_is_kept_where_there_is_a_place_for_it(tmp_path):
    def hits(folder):
        env = os.environ | {"CHARLM_CACHE": str(folder)}
        run = [sys.executable, "-W", "error", "-c", PROGRAM]
        done = subprocess.run(run, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert hits(tmp_path) == 0
    assert hits(tmp_path) == 1
    (tmp_path / "file").touch()
    assert hits(tmp_path / "file" / "folder") == 0
