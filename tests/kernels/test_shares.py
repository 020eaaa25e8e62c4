"""Law: cores that compute the units of the same sequences compute to the bit what one core does."""

import functools
import itertools
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from charlm.kernels import barrier, batch_loop, float32, jit, parallel, shares
from charlm.kernels import bfloat16 as half
from charlm.kernels.jit import cached_jit
from charlm.kernels.registers import COLUMNS, ROWS
from charlm.kernels.work_space import GATHER
from tests.kernels.test_compiled import (
    CELLS,
    both,
    flat,
    in_half,
    nothing_relies_on_what_memory_holds,  # noqa: F401 - a fixture of every test
    problem,
)

CORES = 3


@pytest.fixture
def cores(monkeypatch):
    """Lets small problems be divided among cores that do not exist; returns how to set them."""
    monkeypatch.setattr(shares, "WORTH_WAITING", 1)
    monkeypatch.setattr(shares, "WORTH_A_MEMBER", 1)
    monkeypatch.setattr(shares, "after_group", lambda busy: None)
    monkeypatch.setattr(shares, "_rest", 0)
    return lambda n: monkeypatch.setattr(parallel, "threads", lambda: n)


def masked(rng, batch, name):
    B, T, H, GH = batch.sizes(jit.cell(name))
    drop = (rng.random((GH // H, B, H)) < 0.7).astype(np.float32)
    return batch._replace(live=rng.random((B, T)) < 0.7, drop=drop)


@pytest.mark.usual(6)
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("inputs", ["ids", "vectors"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("factors", [float32, pytest.param(half, marks=in_half)])
def test_a_group_of_cores_is_one_core(rng, cores, factors, name, inputs, dropped):
    T, B, H = 2 * GATHER // ROWS, ROWS - 1, 3 * COLUMNS + 6  # several sums over gathered rows
    batch, upstream, _ = problem(rng, name, T, B, H, inputs)
    batch = masked(rng, batch, name) if dropped else batch
    GH = batch.U.shape[1]
    cores(1)
    expected = both(name, batch, upstream, factors)
    for n in (2, CORES):
        cores(n)
        sequences, units = shares.divided(B, T, H, GH)
        assert (sequences, len(units)) == ([0, B], n + 1)
        for a, b in zip(both(name, batch, upstream, factors), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("inputs", ["rows", "one vector", "contexts"])
def test_other_inputs(rng, cores, inputs):
    """Pre-activations; fewer inputs than cores; and contexts."""
    batch, upstream, _ = problem(
        rng,
        "gru",
        6,
        ROWS - 1,
        3 * COLUMNS,
        {"rows": "rows", "contexts": "ids"}.get(inputs, "vectors"),
        D=1,
    )
    if inputs == "contexts":
        rows = rng.normal(size=(4, batch.U.shape[1])).astype(np.float32)
        batch = batch._replace(context_rows=rows, contexts=rng.integers(4, size=batch.ids.shape))
    found = []
    for n in (1, CORES):
        cores(n)
        assert len(batch_loop._shares(batch, jit.cell("gru"), True)[1]) == (
            2 if inputs == "rows" else n + 1
        )
        found.append(both("gru", batch, upstream))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_a_core_s_units_are_written_among_those_of_others(rng):
    """In both precisions: the left operand that cores share is that of one core."""
    G, edges = 4, (0, 10, 18, 36)
    H, du = edges[-1], rng.normal(size=(3, G, edges[-1])).astype(np.float32)
    for factors in (float32, half):
        whole = factors.gradients(3, G * H)[1]
        shared = np.zeros_like(whole)
        for r in range(3):
            if factors is float32:
                whole[r, : G * H] = du[r].ravel()
            else:
                cached_jit(half.put.py_func)(whole, r, du[r].ravel())
            for left, right in itertools.pairwise(edges):
                own = np.ascontiguousarray(du[r, :, left:right]).ravel()
                below = factors.gradients(3, len(own))[2]
                below[:] = 0
                factors.put_gradient(shared, below, r, own, H, left, right)
        n = G * H if factors is float32 else G * H // 2
        np.testing.assert_array_equal(shared[:, :n], whole[:, :n])


def test_several_groups_are_as_many_cores(rng, cores, monkeypatch):
    """Whose sums of gradients are added in the same order."""
    H, B = 2 * COLUMNS, 2 * ROWS
    batch, upstream, _ = problem(rng, "lstm", 5, B, H)
    monkeypatch.setattr(shares, "SEQUENCES", ROWS)
    found = []
    for n, divided in ((2, 1), (4, 2)):
        cores(n)
        sequences, units = shares.divided(B, 5, H, 4 * H)
        assert (sequences, len(units)) == ([0, ROWS, B], divided + 1)
        found.append(both("lstm", batch, upstream))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_whether_units_are_divided_may_change_at_any_time(rng, cores, monkeypatch):
    """Even between forward and backward: on a busy machine the digits are the same."""
    batch, upstream, _ = problem(rng, "gru", 6, ROWS, 2 * COLUMNS)
    cell, found = jit.cell("gru"), []
    cores(2)
    for rests in itertools.product([False, True], repeat=2):
        monkeypatch.setattr(shares, "_rest", int(rests[0]))
        states, last, kept = batch_loop.forward(cell, float32, batch)
        monkeypatch.setattr(shares, "_rest", int(rests[1]))
        gradients = batch_loop.backward(cell, float32, batch, states, kept, *upstream)
        found.append([kept, *flat(states[0], last, gradients)])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 16, 64])
def test_every_unit_of_every_sequence_is_computed_once(monkeypatch, n):
    monkeypatch.setattr(parallel, "threads", lambda: n)
    monkeypatch.setattr(shares, "_rest", 0)
    sizes = (1, 7, 16, 32, 64, 500), (1, 24, 100), (1, 31, 64, 192, 512, 513, 2048), (1, 4)
    for B, T, H, G in itertools.product(*sizes):
        sequences, units = shares.divided(B, T, H, G * H)
        jobs, tiles = (len(sequences) - 1) * (len(units) - 1), -(-B // ROWS)
        assert (sequences[0], sequences[-1], units[0], units[-1]) == (0, B, 0, H)
        assert min(n, tiles) <= jobs <= n
        assert H % 2 == 0 or units == [0, H]  # operands hold pairs of units
        for edges in (sequences, units):
            assert edges == sorted({*edges})
        assert shares.divided(B, T, H, G * H, divide_units=False)[1] == [0, H]
        if len(units) > 2:
            assert jobs > tiles
            least = min(y - x for x, y in itertools.pairwise(sequences))
            assert least >= min(B, shares.SEQUENCES)
            products = B * H * G * H
            assert products >= jobs * shares.WORTH_WAITING
            assert T * products >= jobs * shares.WORTH_A_MEMBER


def test_units_are_not_divided_while_cores_are_shared(monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: 16)
    monkeypatch.setattr(shares, "_rest", 0)
    monkeypatch.setattr(shares, "_next_rest", 2)

    def calls_until_divided():
        for k in itertools.count():
            sequences, units = shares.divided(16, 64, 512, 2048)
            assert sequences == [0, 16]
            if len(units) == 17:
                return k
            assert units == [0, 512]

    found = []
    for _ in range(12):
        shares.after_group(0.5)
        found.append(calls_until_divided())
    assert found == [2**k for k in range(1, 11)] + 2 * [shares.LONGEST_REST]
    shares.after_group(0.98)
    assert calls_until_divided() == 0
    shares.after_group(0.5)
    ranges, _ = shares.divided(16, 64, 512, 2048, sums=False)  # nothing depends on its ranges
    assert len(ranges) == 1 + 16 // ROWS
    assert calls_until_divided() == found[0] - 1


def test_a_core_that_fails_ends_those_that_wait_for_it(cores):
    wait = cached_jit(waits)
    wait(barrier.made(), 1, 1)  # compiled before
    cores(CORES)
    barriers, ended = [], []

    def job(share, own, _):
        barriers.append(share.barrier)
        try:
            wait(share.barrier, share.members, 3 if share.left == 0 else 5)
        finally:
            ended.append(share.left)
        if share.left == 0:
            raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"):
        shares.run(job, [0, 9], [0, 2, 4, 6], lambda left, right: None)
    latest = time.monotonic() + 20
    while len(ended) < CORES and time.monotonic() < latest:
        time.sleep(0.01)
    found = sorted(ended)
    barrier.break_up(barriers[0])  # or this process would not end
    assert found == [0, 2, 4]


def waits(counter, members, times):
    for _ in range(times):
        barrier.wait(counter, members)


def test_nobody_passes_before_all_have_come(cores):
    cores(CORES)
    lines, each = np.zeros((CORES, 1000), np.int64), cached_jit(marks_and_reads)
    counter, lowest = barrier.made(), np.zeros(CORES, np.int64)
    each(barrier.made(), 1, lines[:1], 0, lowest)
    lines[:] = 0
    jobs = [functools.partial(each, counter, CORES, lines, k, lowest) for k in range(CORES)]
    parallel.side_by_side(jobs)
    assert (lines == 1).all()
    assert (lowest == 1).all()


def marks_and_reads(counter, members, lines, k, lowest):
    """Marks its place of each step; keeps the lowest mark of others seen after waiting."""
    lowest[k] = 1
    for t in range(lines.shape[1]):
        lines[k, t] = 1
        barrier.wait(counter, members)
        for other in range(len(lines)):
            lowest[k] = min(lowest[k], lines[other, t])


def test_groups_that_are_started_at_the_same_time_all_end(rng, cores, monkeypatch):
    """No group has only some of its threads while others have the rest."""
    pool = parallel._pool(2)

    def submit(job):
        time.sleep(0.002)  # while another group could start some of its threads
        return pool.submit(job)

    monkeypatch.setattr(parallel, "_pool", lambda n: SimpleNamespace(submit=submit))
    batch, upstream, _ = problem(rng, "lstm", 3, 3, 3 * COLUMNS)
    cores(3)
    assert shares.divided(3, 3, 3 * COLUMNS, 12 * COLUMNS)[1] == [COLUMNS * k for k in range(4)]
    expected = both("lstm", batch, upstream)
    found, barriers, make = [], [], barrier.made
    monkeypatch.setattr(barrier, "made", lambda: barriers.append(make()) or barriers[-1])

    def several():
        for _ in range(5):
            found.append(both("lstm", batch, upstream))

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 20
    while any(thread.is_alive() for thread in threads) and time.monotonic() < ends:
        time.sleep(0.01)
    ended = len(found)
    while any(thread.is_alive() for thread in threads):
        for each in list(barriers):
            barrier.break_up(each)  # or this process would not end
        time.sleep(0.01)
    assert ended == 20
    for one in found:
        for a, b in zip(one, expected, strict=True):
            np.testing.assert_array_equal(a, b)
