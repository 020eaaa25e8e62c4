"""Law: a model reads a separator and a record from a zero state, and all of a long record."""

import itertools

import numpy as np
import pytest

from charlm.text import record_streams
from charlm.text.record_streams import separators
from charlm.text.windows import TrainingWindows
from tests.text.test_mapped_ids import opened, stored

B, T = 3, 4


@pytest.fixture(params=[[0, 0], [0], [0, 1], [1, 0, 1]], ids=str)
def separator(request):
    return np.array(request.param)


def text_of(rng, separator, records=80):
    """Records of the ids from 2 on, and for each id of them whether it begins one."""
    ids, begins = [], []
    for _ in range(records):
        record = rng.integers(2, 9, rng.integers(1, 12))
        more = [*separator] * int(rng.integers(1, 3))
        ids += [*record, *more]
        begins += [True] + [False] * (len(record) + len(more) - 1)
    return np.array(ids, np.uint8), np.array(begins)


def begin_with_records(windows, ids, begins, L):
    """Checks every fresh row of an epoch; returns which rows are fresh."""
    fresh = []
    ring, count = np.concatenate([ids, ids]), 0
    starts = np.flatnonzero(np.concatenate([begins, begins]))
    rows = {ring[k - L : k - L + T + 1].tobytes() for k in starts if L <= k <= len(ids) + L}
    for k in range(len(windows)):
        (read, resets), targets = windows[k]
        for row, last in zip(read[resets > 0], targets[resets > 0, -1], strict=True):
            assert np.append(row, last).astype(np.uint8).tobytes() in rows
            count += 1
        fresh.append(resets)
    assert count
    return np.array(fresh)


@pytest.mark.parametrize("restart_every", [0, 8, 13])
def test_fresh_streams_begin_at_a_separator_before_a_record(rng, separator, restart_every):
    ids, begins = text_of(rng, separator)
    together = []  # whether all streams are reset at once
    for epoch in range(3):
        windows = TrainingWindows(ids, B, T, 1, restart_every, epoch, separator=separator)
        fresh = begin_with_records(windows, ids, begins, len(separator))
        assert fresh[0].tolist() == [1] * B
        if restart_every:
            gaps = [np.diff(np.flatnonzero(row)) for row in fresh.T]
            assert all((g[1:] == restart_every).all() and g[0] <= restart_every for g in gaps)
            together.append(len({row[1:].tobytes() for row in fresh.T}) == 1)
        else:
            assert not fresh[1:].any()
    assert not restart_every or not all(together)


def test_between_resets_a_stream_reads_on(rng, separator):
    ids, _ = text_of(rng, separator)
    windows = TrainingWindows(ids, B, T, 1, 9, separator=separator)
    read = [windows[k] for k in range(len(windows))]
    for ((_, _), before), ((now, fresh), _) in itertools.pairwise(read):
        kept = fresh == 0
        np.testing.assert_array_equal(now[kept, 0], before[kept, -1])


def test_nothing_is_skipped_but_to_the_next_record(rng, separator):
    """So an epoch reads all but the ends of a few records."""
    ids, begins = text_of(rng, separator)
    longest = np.diff(np.flatnonzero(begins)).max()
    windows = TrainingWindows(ids, B, T, 1, 8, separator=separator)
    _, skipped = windows.records.restarts(np.arange(len(windows)))
    assert 0 <= skipped.min() <= skipped.max() <= longest + len(separator)
    assert len(np.unique(skipped)) > 3


def test_many_windows_at_a_time_and_from_the_middle_are_the_same(rng, separator):
    ids, _ = text_of(rng, separator)
    whole, rest = (TrainingWindows(ids, B, T, 1, 8, 2, k, separator) for k in (0, 9))
    for one, other in zip(whole[np.arange(9, 40)], rest[np.arange(31)], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    again, whole.epoch = whole[3], None
    whole.set_epoch(2)
    np.testing.assert_array_equal(whole[3][1], again[1])


def test_a_stream_that_finds_no_record_starts_where_it_is():
    ids = np.arange(2, 202, dtype=np.uint8)
    windows = TrainingWindows(ids, B, T, 1, 5, separator=np.array([0]))
    plain = TrainingWindows(ids, B, T, 1, 5)
    np.testing.assert_array_equal(windows[3][1], plain[3][1])


def test_however_long_a_stretch_is_a_stream_does_not_look_far(monkeypatch):
    ids = np.array([*range(2, 22), 0] * 20, np.uint8)
    skipped = []
    for most in (2**16, 7):
        monkeypatch.setattr(record_streams, "MAX_SKIP", most)
        windows = TrainingWindows(ids, B, T, 1, 20, separator=np.array([0]))
        skipped.append(windows.records.restarts(np.arange(len(windows)))[1].max())
    assert skipped[0] > 7 >= skipped[1] > 0


def test_processes_read_the_streams_of_one():
    ids = np.array([*range(2, 62), 0] * 20, np.uint8)
    for restart_every in (0, 5, 100):
        whole, own = (
            TrainingWindows(ids, 4, T, 1, restart_every, separator=np.array([0]), own=own)
            for own in (slice(None), slice(2, 4))
        )
        steps = np.arange(len(whole))
        np.testing.assert_array_equal(whole[steps][1][:, 2:4], own[steps][1])


def test_a_mapped_text_is_searched_as_one_in_memory(rng, separator, tmp_path):
    ids, _ = text_of(rng, separator)
    mapped = opened(tmp_path / "f", "u1", stored(tmp_path / "f", ids))
    one, other = (TrainingWindows(x, B, T, 1, 5, separator=separator) for x in (ids, mapped))
    for k in range(len(one)):
        np.testing.assert_array_equal(one[k][1], other[k][1])


@pytest.mark.parametrize("look", [1, 2, 3, 50])
def test_how_far_it_looks_at_first_changes_nothing(rng, separator, look, monkeypatch):
    ids, _ = text_of(rng, separator)
    kept = TrainingWindows(ids, B, T, 1, 8, separator=separator)[np.arange(50)]
    monkeypatch.setattr(record_streams, "FIRST_LOOK", look)
    found = TrainingWindows(ids, B, T, 1, 8, separator=separator)[np.arange(50)]
    np.testing.assert_array_equal(found[1], kept[1])


@pytest.mark.parametrize("length", [3, 9, 18, 21, 35, 60, 120, 700])
@pytest.mark.parametrize("restart_every", [0, 5, 9])
def test_every_character_is_read_however_long_the_records_are(length, restart_every):
    """And none much more often than the others; at most half of a stretch is skipped."""
    record = [*np.arange(length - 1) % 200 + 2, 0]
    ids = np.array(record * (1400 // length), np.uint8)
    counts = np.zeros(len(ids))
    for seed in range(60):
        windows = TrainingWindows(ids, B, T, seed, restart_every, separator=np.array([0]))
        steps = np.arange(len(windows))
        _, skipped = windows.records.restarts(steps)
        places = windows.streams.places(steps * T, T + 1, skipped)[..., 1:]
        np.add.at(counts, places.ravel() % len(ids), 1)
    by_place = counts.reshape(-1, length).mean(axis=0)  # in the record
    assert by_place.min() > 0.4 * by_place.mean(), by_place / by_place.mean()
    assert by_place.max() < 1.6 * by_place.mean(), by_place / by_place.mean()


@pytest.mark.parametrize(
    ("ids", "separator", "found"),
    [
        ([5, 0, 0, 5], [0, 0], [1]),
        ([5, 0, 0, 0, 5], [0, 0], [2]),
        ([5, 0, 5, 0, 5], [0, 0], []),
        ([0, 0, 5], [0], [1]),
        ([5, 0], [0], []),  # it may go on
        ([0, 1, 0, 1, 5, 0], [0, 1], [2]),
        ([0, 1, 0, 1], [0, 1], []),
        ([], [0, 1], []),
    ],
)
def test_separators_that_no_other_follows(ids, separator, found):
    assert separators(np.array(ids, int), np.array(separator)).tolist() == found
