"""Law: machine code computes what NumPy does, for any size of batch, state and text."""

import copy
import gc
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from ml_dtypes import bfloat16

from charlm import cells
from charlm.kernels import (
    activations,
    batch_loop,
    buffer_pool,
    denormals,
    float32,
    jit,
    parallel,
    work_space,
)
from charlm.kernels import bfloat16 as half
from charlm.kernels import time_loop as loops
from charlm.kernels.batch_loop import Batch
from charlm.kernels.matmul import (
    COLUMNS,
    ROWS,
    multiply,
    multiply_transposed,
    pack_panels,
    rounded,
    sums,
)
from charlm.reference import through_time
from charlm.reference.activations import ACTIVATIONS

CELLS = [name for name, cell in cells.CELLS.items() if cell.kernel]
SIZES = [
    (1, 1, 1),
    (5, 3, 4),
    (3, 2 * ROWS + 3, 33),
    (2, 5 * ROWS, COLUMNS),
    (70, ROWS, 5),
    *[(300, B, 3) for B in (1, 2, 3, 6)],  # blocks of inputs and of gradients are full
]  # T, B, H
V = 7


GUARD = 512  # numbers behind an array, which nobody may write
_guards = []


def poisoned(*shape):
    """`buffer_pool.empty` whose memory holds what nobody may rely on, with a guard behind it."""
    count = math.prod(shape)
    whole = np.full(count + GUARD, np.nan, np.float32)
    whole[count:] = 7
    _guards.append(whole[count:])
    return whole[:count].reshape(shape)


@pytest.fixture(autouse=True)
def nothing_relies_on_what_memory_holds(monkeypatch):
    for module in (batch_loop, work_space, float32, half):
        monkeypatch.setattr(module, "empty", poisoned)
    _guards.clear()
    yield
    assert all((guard == 7).all() for guard in _guards)


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
    pytest.param(float32, close, id="single"),
    pytest.param(half, nearly, id="half", marks=in_half),
]


@pytest.mark.parametrize("K", [1, 5, 513, 1100])
def test_products(rng, K):
    R, N = 3 * ROWS, 2 * COLUMNS + 6
    a, b, c = normal(rng, R + 2, K), normal(rng, K, N), normal(rng, R + 1, rounded(N, COLUMNS))
    expected = c.copy()
    expected[:R, :N] += a[1 : R + 1] @ b
    multiply(a, 1, R, pack_panels(b), c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)
    a, b, c = normal(rng, K + 1, R + 3), normal(rng, K + 1, N), sums(R, 2 * COLUMNS)
    c[:] = normal(rng, *c.shape)
    expected = c.copy()
    expected[:, : 2 * COLUMNS] += a[:K, :R].T @ b[:K, 3 : 3 + 2 * COLUMNS]
    multiply_transposed(a, b, K, c, left=3)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("K", [1, 5, 16, 513])
@pytest.mark.parametrize("N", [1, COLUMNS, 2 * COLUMNS + 6])
def test_a_transposed_matrix_lies_in_panels_like_any_other(rng, K, N):
    rows = normal(rng, N, K)
    found, expected = pack_panels(rows.T), pack_panels(np.ascontiguousarray(rows.T))
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
    multiply(first, 1, R, half.pack_panels(b), c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)


@in_half
@pytest.mark.parametrize("n", [1, 2, 8, 513])
def test_products_of_pairs_over_rows(rng, n):
    H, GH = ROWS + 3, COLUMNS + 6
    du, h, c = normal(rng, n, GH), normal(rng, n, H), sums(H, GH)
    _, first, below = half.gradients(n, 2 * COLUMNS)
    (h_below,) = half.summed(1, n, H)
    below[:], h_below[:] = 0, 0
    for r in range(n):
        half.put_gradient(first, below, r, du[r], GH, 0, GH)
        half.put_summed(h_below, r, h[r])
    expected = np.zeros_like(c)
    expected[:H, :GH] = rounded_to_half(h).T @ rounded_to_half(du)
    multiply_transposed(h_below, below, (n + 1) // 2, c)
    np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4)
    found = first.view(np.uint16)[:, :GH]
    np.testing.assert_array_equal(found, du.astype(bfloat16).view(np.uint16))


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


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.concatenate([np.linspace(-12, 12, 4001), [0, 1e-30, 1e30, np.inf, -np.inf, 3, -3]])
    x = x.astype(np.float32)
    f, slope = activations.ACTIVATIONS[name]
    values = ACTIVATIONS[name].f(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose([f(one) for one in x], values, rtol=3e-7, atol=1e-7)
    assert np.isnan(f(np.float32("nan")))
    slopes = ACTIVATIONS[name].slope(values)
    np.testing.assert_allclose([slope(one) for one in values], slopes, rtol=1e-6, atol=1e-7)


def problem(rng, name, T, B, H, inputs="ids", D=6):
    """What `threads` is given, and what NumPy makes of the same: h, last states, gradients."""
    cell, numpy_cell = cells.CELLS[name], cells.CELLS[name].reference
    GH, S = len(cell.gates) * H, len(cell.states)
    arrays = {"U": normal(rng, H, GH) / np.float32(H**0.5)}
    arrays |= {state: normal(rng, B, H) for state in cell.states}
    if name == "gru":
        arrays["d"] = normal(rng, GH)
    if inputs == "vectors":
        arrays |= {"x": normal(rng, B, T, D), "W": normal(rng, D, GH), "b": normal(rng, GH)}
    elif inputs == "rows":
        arrays["rows"] = normal(rng, B, T, GH)
    else:
        arrays |= {"rows": normal(rng, V, GH), "ids": rng.integers(V, size=(B, T)).astype(np.int32)}
    batch = Batch(**arrays)
    upstream = normal(rng, B, T, H), [normal(rng, B, H) for _ in range(S)]
    return batch, upstream, in_numpy(numpy_cell, batch, *upstream)


def in_numpy(numpy_cell, batch, d_h, d_last):
    B, T, _H, GH = batch.sizes(jit.cell(numpy_cell.__name__.split(".")[-1]))
    rows = (
        batch.rows
        if batch.ids is not None
        else np.float64(batch.rows).reshape(-1, GH)
        if (batch.x is None)
        else (np.float64(batch.x) @ batch.W + batch.b).reshape(-1, GH)
    )
    index = np.arange(B * T).reshape(B, T) if batch.ids is None else batch.ids
    bias = None if batch.d is None else np.stack([np.zeros(GH), batch.d])
    given = [np.float64(rows), np.float64(batch.U), bias]
    h, last, cache = through_time.forward(numpy_cell, index, batch.states, given)
    _, d_first, (d_rows, dU, db), _ = through_time.backward(numpy_cell, d_h, d_last, cache, given)
    found = Batch(dU, *d_first) if len(d_first) == 2 else Batch(dU, *d_first, None)
    found = found._replace(d=None if db is None else db[1])
    if batch.x is None:
        return h, last, found._replace(rows=d_rows.reshape(batch.rows.shape))
    da = d_rows.reshape(B, T, GH)
    dW = np.einsum("btd,btg->dg", batch.x, da)
    return h, last, found._replace(x=da @ batch.W.T, W=dW, b=da.sum((0, 1)))


def both(name, batch, upstream, factors=float32):
    """h, the last states and all gradients, a flat list."""
    cell = jit.cell(name)
    states, last, kept = batch_loop.forward(cell, factors, batch)
    gradients = batch_loop.backward(cell, factors, batch, states, kept, *upstream)
    return flat(states[0], last, gradients)


def flat(h, last, gradients):
    return [h, *last, *(g for g in gradients if g is not None)]


@pytest.mark.product(4)
@pytest.mark.usual(3)
@pytest.mark.parametrize("inputs", ["ids", "rows", "vectors"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("factors", "same"), PRECISIONS)
def test_loops(rng, factors, same, name, sizes, inputs):
    batch, upstream, expected = problem(rng, name, *sizes, inputs)
    copies = copy.deepcopy((batch, upstream))
    same(both(name, batch, upstream, factors), flat(*expected))
    np.testing.assert_equal((batch, upstream), copies)  # what is given stays as it is


@pytest.mark.product(15)
@pytest.mark.usual(8)
@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("inputs", ["ids", "vectors"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", [(5, 2, 4), (7, 2 * ROWS + 3, 34), (70, ROWS, 6)], ids=str)
@pytest.mark.parametrize(("factors", "same"), PRECISIONS)
def test_time_masks_and_recurrent_dropout(rng, factors, same, name, sizes, inputs, shown):
    """A sequence is as if alone: of the steps it takes, with its own numbers of U dropped."""
    batch, (d_h, d_last), _ = problem(rng, name, *sizes, inputs)
    B, T, H, GH = batch.sizes(jit.cell(name))
    live = rng.random((B, T)) < 0.6
    live[0], live[1] = False, np.arange(T) < 3  # none; padded on the right
    drop = (rng.random((GH // H, B, H)) < 0.7).astype(np.float32) / np.float32(0.7)
    upstream = d_h, d_last
    cell = jit.cell(name)
    masked = batch._replace(live=live, drop=drop)
    states, last, kept = batch_loop.forward(cell, factors, masked, show_first=shown)
    found = batch_loop.backward(cell, factors, masked, states, kept, *upstream, show_first=shown)

    h, ends = np.zeros((B, T, H)), [np.zeros((B, H)) for _ in last]
    sums = Batch(*(None if g is None else np.zeros(g.shape) for g in found))
    for b in range(B):
        n, one = live[b].sum(), slice(b, b + 1)
        scale = np.repeat(drop[:, b].T, H, axis=1)  # (H, G*H)
        alone = batch._replace(
            U=batch.U * scale,
            **{
                name: getattr(batch, name)[one]
                for name in ("h", "c")
                if getattr(batch, name) is not None
            },
            **{
                name: np.ascontiguousarray(getattr(batch, name)[one][:, live[b]])
                for name in ("x", "ids")
                if getattr(batch, name) is not None
            },
        )
        # what h shows at a step that is left out: that of the last one taken, or of none
        at = np.cumsum(live[b]) - 1
        d_taken = np.zeros((1, n, H), np.float32)
        np.add.at(d_taken[0], at[at >= 0], d_h[b, at >= 0])
        s, e, k = batch_loop.forward(cell, factors, alone)
        g = batch_loop.backward(cell, factors, alone, s, k, d_taken, [d[one] for d in d_last])
        before = alone.h[0] if shown else np.zeros(H)
        h[b] = np.where(at[:, None] >= 0, s[0][0][at] if n else 0, before)
        for end, found_end in zip(ends, e, strict=True):
            end[b] = found_end[0]
        sums.U[:] += g.U * scale
        for name in ("h", "c"):
            if getattr(sums, name) is not None:
                getattr(sums, name)[b] = getattr(g, name)[0]
        sums.h[b] += shown * d_h[b, at < 0].sum(0)
        if g.x is not None:
            sums.x[b, live[b]] = g.x[0]
        for name in ("W", "b", "d", "rows"):
            if getattr(sums, name) is not None:
                getattr(sums, name)[:] += getattr(g, name)
    same(flat(states[0], last, found), [x.astype(np.float32) for x in flat(h, ends, sums)])


@pytest.mark.full
@pytest.mark.parametrize("name", CELLS)
def test_states_without_what_the_way_back_needs(rng, name):
    batch, _, _ = problem(rng, name, 6, 5, 4)
    cell = jit.cell(name)
    expected, _, _ = batch_loop.forward(cell, float32, batch)
    states, _, kept = batch_loop.forward(cell, float32, batch, keep=False)
    close(states, expected)
    assert kept.shape == (5, 1, 4 * cell.CACHE)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(0,), (5,), (1, 300, 700), (400, 600), (3, 1, 70_000)])
def test_sums_of_the_cores_results_do_not_depend_on_their_number(rng, monkeypatch, shape, n):
    monkeypatch.setattr(parallel, "threads", lambda: n)
    wide = [rng.normal(size=(*shape[:-1], shape[-1] + 3)).astype("f") for _ in range(4)]
    parts = [x[..., : shape[-1]] for x in wide]  # as padded sums are
    before = [x.copy() for x in wide]
    found = parallel.sum_parts(parts)
    np.testing.assert_array_equal(found, ((parts[0] + parts[1]) + parts[2]) + parts[3])
    assert found.flags.c_contiguous
    for x, kept in zip(wide, before, strict=True):
        np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_any_number_of_cores(rng, n, monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: n)
    shares = []
    parallel.parallel_for(lambda begin, end: shares.append((begin, end)), 5 * ROWS - 3)
    shares.sort()
    assert len(shares) == min(n, 5)
    assert [0, *(end for _, end in shares)] == [*(begin for begin, _ in shares), 5 * ROWS - 3]
    batch, upstream, expected = problem(rng, "lstm", 4, 5 * ROWS - 3, 6)
    close(both("lstm", batch, upstream), flat(*expected))


@pytest.mark.parametrize("wrong", [-1, V, 2**32 + 3, 2.5, float("nan")])
def test_an_id_without_a_row_is_refused(rng, wrong):
    batch, upstream, _ = problem(rng, "lstm", 3, 2, 4)
    ids = batch.ids.astype(type(wrong))
    ids[1, 1] = wrong
    with pytest.raises(ValueError, match=f"whole numbers from 0 to {V - 1}. Received: {wrong}"):
        both("lstm", batch._replace(ids=ids), upstream)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ("ids", ["rows"]),
        ("rows", ["rows"]),
        *(("vectors", n) for n in (["x"], ["W"], ["x", "W", "b"])),
    ],
)
def test_inputs_that_are_not_there_are_refused(rng, inputs, names):
    batch, _, _ = problem(rng, "lstm", 3, 2, 4, inputs)
    with pytest.raises(ValueError, match=r"^Expected .* Received: "):
        batch_loop.forward(jit.cell("lstm"), float32, batch._replace(**dict.fromkeys(names)))


@pytest.mark.parametrize("others", [["x"], ["W"], ["x", "W"]])
def test_inputs_of_two_kinds_are_refused(rng, others):
    batch, vectors = (problem(rng, "lstm", 3, 2, 4, inputs)[0] for inputs in ("ids", "vectors"))
    more = {name: getattr(vectors, name) for name in others}
    with pytest.raises(ValueError, match=r"^Expected .* Received: "):
        batch_loop.forward(jit.cell("lstm"), float32, batch._replace(**more))


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32"])
def test_ids_of_any_type(rng, kind):
    batch, upstream, expected = problem(rng, "lstm", 3, 2, 4)
    close(both("lstm", batch._replace(ids=batch.ids.astype(kind)), upstream), flat(*expected))


@pytest.mark.usual(1)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("factors", "_same"), PRECISIONS)
def test_nan_comes_out_as_nan(rng, factors, _same, name):
    batch, upstream, _ = problem(rng, name, 3, 2, 4)
    batch.U[1, 2] = np.nan
    h, *_ = found = both(name, batch, upstream, factors)
    for values in (h[:, 1:], found[len(cells.CELLS[name].states) + 1]):
        assert np.isnan(values).any()


@pytest.mark.parametrize("inputs", ["ids", "rows", "vectors"])
@pytest.mark.parametrize("name", CELLS)
def test_an_array_of_another_shape_or_type_is_refused(rng, name, inputs):
    """Whichever it is: machine code must never read beyond the end of one."""
    batch, (d_h, d_last), _ = problem(rng, name, 4, 5, 6, inputs)
    B, T, H, GH = batch.sizes(jit.cell(name))
    drop = np.ones((GH // H, B, H), np.float32)
    batch = batch._replace(live=np.ones((B, T), bool), drop=drop)
    cell = jit.cell(name)
    states, _, kept = batch_loop.forward(cell, float32, batch)
    for field, array in batch._asdict().items():
        if array is None:
            continue
        for other in others(rng, array):
            if field == "rows" and inputs == "ids" and other.shape[1:] == array.shape[1:]:
                continue  # any number of rows, if no id is beyond them
            if field == "ids" and other.shape == array.shape:
                continue  # they are copied
            wrong = batch._replace(**{field: other})
            with pytest.raises(ValueError, match=r"^Expected .* Received: "):
                batch_loop.forward(cell, float32, wrong)
            with pytest.raises(ValueError, match=r"^Expected .* Received: "):
                batch_loop.backward(cell, float32, wrong, states, kept, d_h, d_last)
    given = [*states, kept, d_h, *d_last]
    for k, array in enumerate(given):
        if not array.size:
            continue
        for other in others(rng, array):
            a = [*given[:k], other, *given[k + 1 :]]
            S = len(states)
            with pytest.raises(ValueError, match=r"^Expected .* Received: "):
                batch_loop.backward(cell, float32, batch, a[:S], *a[S : S + 2], a[S + 2 :])


def others(rng, array):
    """Arrays of other shapes and another type."""
    for axis, n in enumerate(array.shape):
        for wrong in {0, 1, n - 1, n + 1, 3 * n} - {n}:
            shape = list(array.shape)
            shape[axis] = wrong
            yield np.ones(shape, array.dtype)
    yield array[None]
    yield array[0]
    yield np.ones((), array.dtype)
    if array.ndim > 1 and min(array.shape) > 1:
        yield np.repeat(array, 2, axis=-1)[..., ::2]  # not contiguous
    if array.dtype == np.float32:
        yield array.astype(np.float64)


@pytest.mark.parametrize("full", [256, 264, 100])
def test_padding_on_the_left_of_any_length(rng, full):
    """Where the gradients that are gathered have just been summed up, and no step is left."""
    B, H = 8, 5
    for padding in (1, 5):
        T = full // B + padding
        batch, (d_h, d_last), _ = problem(rng, "lstm", T, B, H, "vectors")
        live = np.arange(T) >= np.full((B, 1), padding)
        cell = jit.cell("lstm")
        states, _, kept = batch_loop.forward(cell, float32, batch._replace(live=live))
        d_h[:, :padding] = 0
        found = batch_loop.backward(
            cell, float32, batch._replace(live=live), states, kept, d_h, d_last
        )
        short = batch._replace(x=np.ascontiguousarray(batch.x[:, padding:]))
        s, _, k = batch_loop.forward(cell, float32, short)
        d_short = np.ascontiguousarray(d_h[:, padding:])
        expected = batch_loop.backward(cell, float32, short, s, k, d_short, d_last)
        close(
            [found.U, found.W, found.b, found.h], [expected.U, expected.W, expected.b, expected.h]
        )


def test_missing_arrays_are_refused(rng):
    batch, (d_h, d_last), _ = problem(rng, "lstm", 3, 2, 4, "vectors")
    cell = jit.cell("lstm")
    states, _, kept = batch_loop.forward(cell, float32, batch)
    with pytest.raises(ValueError, match="Expected 2 states, and x and W, or rows"):
        batch_loop.forward(cell, float32, batch._replace(c=None))
    for lists in ((states[:1], d_last), (states, d_last[:1])):
        with pytest.raises(ValueError, match="Expected 2 of states"):
            batch_loop.backward(cell, float32, batch, lists[0], kept, d_h, lists[1])


@pytest.mark.parametrize("inputs", ["ids", "rows", "vectors"])
@pytest.mark.parametrize(("T", "B"), [(3, 0), (0, 3)])
def test_no_sequences_or_no_steps(rng, T, B, inputs):
    batch, (_d_h, d_last), _ = problem(rng, "lstm", 2, 2, 5, inputs)
    batch = batch._replace(
        **{
            k: v[:B] if B < 2 else np.repeat(v, 2, 0)[:B]
            for k, v in batch._asdict().items()
            if k in "hc" and v is not None
        }
    )
    kept = {k: getattr(batch, k) for k in ("x", "ids", "rows") if getattr(batch, k) is not None}
    for k, v in kept.items():
        if not (k == "rows" and inputs == "ids"):
            kept[k] = np.zeros((B, T, *v.shape[2:]), v.dtype)
    batch = batch._replace(**kept)
    d_last = [np.ones((B, 5), np.float32)] * 2
    cell = jit.cell("lstm")
    states, last, kept = batch_loop.forward(cell, float32, batch)
    gradients = batch_loop.backward(
        cell, float32, batch, states, kept, np.zeros((B, T, 5), np.float32), d_last
    )
    close(last, [batch.h, batch.c])
    close([gradients.h, gradients.c], d_last)
    assert not gradients.U.any()
    assert gradients.U.shape == batch.U.shape


def test_memory_is_used_again_but_not_while_it_is_looked_at(monkeypatch):
    monkeypatch.setattr(buffer_pool, "_free", [])
    array = buffer_pool.empty(3, 1000)
    assert (array.shape, array.dtype, array.ctypes.data % 64) == ((3, 1000), np.float32, 0)
    place, view = array.ctypes.data, array[1:]
    del array
    gc.collect()
    assert buffer_pool.empty(3, 1000).ctypes.data != place
    del view
    gc.collect()
    held = [buffer_pool.empty(2, 1400), buffer_pool.empty(3, 1000)]  # for a smaller array too
    assert place in [array.ctypes.data for array in held]
    assert not np.shares_memory(*held)
    assert buffer_pool.empty(3, 400).ctypes.data != place


def test_not_all_memory_waits_to_be_used_again(monkeypatch):
    monkeypatch.setattr(buffer_pool, "_free", [])
    monkeypatch.setattr(buffer_pool, "MOST", 100_000)
    held = [buffer_pool.empty(n) for n in range(10_000, 15_000, 1000)]
    del held
    gc.collect()
    assert 50_000 < sum(map(len, buffer_pool._free)) <= 100_000


@pytest.mark.full
@pytest.mark.skipif(not denormals.HAS_REGISTER, reason="not an x86 processor")
def test_vanishing_gradients_do_not_slow_a_pass_down(rng):
    tiny = np.float32(1e-40)
    ones = np.ones(1, np.float32)

    def halved():
        return jit.cached_jit(halve)(ones * tiny)[0]

    assert halved() > 0
    with denormals.flushed():
        assert halved() == 0
    assert halved() > 0
    batch, (d_h, d_last), _ = problem(rng, "rnn", 60, 2, 4, "vectors")
    batch = batch._replace(U=batch.U * np.float32(0.03))
    d_h[:, :-1] = 0
    states, _, kept = batch_loop.forward(jit.cell("rnn"), float32, batch)
    found = batch_loop.backward(jit.cell("rnn"), float32, batch, states, kept, d_h, d_last)
    size = np.abs(found.x[found.x != 0])
    assert size.min() < 1e-36  # it vanished on the way,
    assert size.min() > np.finfo(np.float32).tiny  # and never through what is slow


def halve(x):
    return x * np.float32(0.5)


PROGRAM = """if True:
    import numpy as np
    from charlm.kernels import batch_loop, float32, jit, time_loop
    rows, U, h = (np.ones(s, np.float32) for s in ((1, 3, 8), (2, 8), (1, 2)))
    cell = jit.cell("lstm")
    batch_loop.forward(cell, float32, batch_loop.Batch(U, h, h, rows=rows))
    loop = jit.specialized(time_loop.forward, cell=cell, factors=float32)
    print(sum(loop.stats.cache_hits.values()))
"""


def test_code_for_every_cell_and_activation_has_a_name_of_its_own():
    """Or code that two processes kept would call each other's when a third loads both."""
    cells = [jit.cell(name, a) for name in CELLS for a in ("tanh", "relu")]
    made = [cell.step for cell in cells] + [cell.step_backward for cell in cells]
    for function in (loops.forward, loops.backward):
        made += [
            jit.specialized(function, cell=c, factors=f) for c in cells for f in (float32, half)
        ]
    names = [m.py_func.__qualname__ for m in made]
    assert len(set(names)) == len(names)


def asked_for_hits(folder):
    env = os.environ | {"CHARLM_CACHE": str(folder)}
    run = [sys.executable, "-W", "error", "-c", PROGRAM]
    return subprocess.Popen(run, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hits(process):
    """Whether a process found the compiled code."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    return int(out)


@pytest.mark.full
def test_compiled_code_is_kept_and_of_several_processes_one_compiles(tmp_path):
    together = [asked_for_hits(tmp_path) for _ in range(2)]
    assert sorted(map(hits, together)) == [0, 1]
    assert hits(asked_for_hits(tmp_path)) == 1


@pytest.mark.soak
def test_without_a_place_for_it_code_is_compiled_again(tmp_path):
    (tmp_path / "file").touch()
    for _ in range(2):
        assert hits(asked_for_hits(tmp_path / "file" / "folder")) == 0
