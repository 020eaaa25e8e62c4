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

from charlm import compiled, reference
from charlm.compiled import activations, cores, memory, threads
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
    monkeypatch.setattr(threads, "empty", poisoned)


def normal(rng, *shape):
    return (0.5 * rng.normal(size=shape)).astype(np.float32)


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("K", [1, 5, 513, 1100])
def test_products(rng, K):
    R, N = 3 * ROWS, 2 * COLUMNS + 6
    a, b, c = normal(rng, R + 2, K), normal(rng, K, N), normal(rng, R + 1, rounded(N, COLUMNS))
    expected = c.copy()
    expected[:R, :N] += a[1 : R + 1] @ b
    multiply(a, 1, R, K, panels(b), c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)
    a, b, c = normal(rng, K + 1, R + 3), normal(rng, K + 1, N), normal(rng, R, 2 * COLUMNS)
    expected = c + a[:K, :R].T @ b[:K, : 2 * COLUMNS]
    multiply_transposed(a, b, K, c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)


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


def both(name, inputs, upstream):
    cell = importlib.import_module(f"charlm.compiled.{name}")
    *states, kept = threads.forward(cell, *inputs)
    return states[0], states[-1][:, -1], *threads.backward(cell, *inputs, states, kept, *upstream)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_loops(rng, name, sizes, in_order):
    inputs, upstream, expected = problem(rng, name, *sizes, in_order)
    copies = copy.deepcopy((inputs, upstream))
    close(both(name, inputs, upstream), expected)
    np.testing.assert_equal((inputs, upstream), copies)  # what is given stays as it is


@pytest.mark.parametrize("name", CELLS)
def test_states_without_what_the_way_back_needs(rng, name):
    inputs, _, _ = problem(rng, name, 6, 5, 4, False)
    cell = importlib.import_module(f"charlm.compiled.{name}")
    *expected, _ = threads.forward(cell, *inputs)
    *states, kept = threads.forward(cell, *inputs, keep=False)
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
def test_nan_comes_out_as_nan(rng, name):
    inputs, upstream, _ = problem(rng, name, 3, 2, 4, False)
    inputs[2][0][1, 2] = np.nan
    h, _, _, dU, *_ = both(name, inputs, upstream)
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
    from charlm.compiled import lstm, threads, through_time
    from charlm.compiled.compiler import for_cell
    rows, U, h = (np.ones(s, np.float32) for s in ((3, 8), (2, 8), (1, 2)))
    threads.forward(lstm, rows, None, [U], [h, h])
    print(sum(for_cell(through_time.forward, lstm).stats.cache_hits.values()))
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
