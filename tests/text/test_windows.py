"""Law: windows tile the text, targets are the next characters, and streams begin where they say."""

import numpy as np
import pytest

from charlm.errors import InputError
from charlm.text.windows import HeldOutWindows, TrainingWindows

N, B, T = 101, 3, 4


def epoch_of(windows, epoch=None):
    if epoch is not None:
        windows.set_epoch(epoch)
    return [windows[k] for k in range(len(windows))]


def test_windows_of_a_stream_tile_its_part_of_the_text():
    ids = np.arange(N)
    batches = epoch_of(TrainingWindows(ids, B, T, seed=1))
    read = np.concatenate([x for (x, _), _ in batches], axis=1)  # (B, steps * T)
    begin = read[0, 0]
    ring = np.roll(ids, -begin)
    length = N // B
    assert read.shape == (B, length // T * T)
    for b in range(B):
        np.testing.assert_array_equal(read[b], ring[b * length :][: read.shape[1]])


def test_every_position_has_the_next_character_as_target():
    ids = np.random.default_rng(0).integers(50, size=N)
    batches = epoch_of(TrainingWindows(ids, B, T, seed=1))
    read = np.concatenate([x for (x, _), _ in batches], axis=1)
    targets = np.concatenate([y for _, y in batches], axis=1)
    np.testing.assert_array_equal(read[:, 1:], targets[:, :-1])


def test_streams_are_fresh_at_the_first_window_and_never_after():
    fresh = [f.tolist() for (_, f), _ in epoch_of(TrainingWindows(np.arange(N), B, T, seed=1))]
    assert fresh == [[1.0] * B] + [[0.0] * B] * (len(fresh) - 1)


def test_streams_begin_anew_as_often_as_asked():
    windows = TrainingWindows(np.arange(10_000), 20, 5, seed=1, restart_every=4)
    fresh = np.stack([f for (_, f), _ in epoch_of(windows)])
    assert (fresh[0] == 1).all()
    share = fresh[1:].mean()  # of 1980; five standard deviations
    assert abs(share - 1 / 4) < 5 * np.sqrt(3 / 16 / 1980)
    assert len({row.tobytes() for row in fresh}) > 50  # not all streams at once
    again = np.stack([f for (_, f), _ in epoch_of(windows, 1)])
    assert (fresh != again).any()


def test_order_is_a_function_of_seed_and_epoch():
    def starts(seed, epoch):
        (x, _), _ = epoch_of(TrainingWindows(np.arange(N), B, T, seed, epoch=epoch))[0]
        return x[:, 0].tolist()

    assert starts(1, 0) == starts(1, 0)
    windows = TrainingWindows(np.arange(N), B, T, seed=1)
    (x, _), _ = epoch_of(windows, 1)[0]
    assert x[:, 0].tolist() == starts(1, 1)  # going on equals starting there
    assert len({tuple(starts(s, e)) for s in (1, 2) for e in (0, 1, 2)}) == 6


def test_going_on_within_an_epoch_gives_its_remaining_windows():
    whole = epoch_of(TrainingWindows(np.arange(N), B, T, seed=1, epoch=2))
    rest = epoch_of(TrainingWindows(np.arange(N), B, T, seed=1, epoch=2, first=3))
    assert len(rest) == len(whole) - 3
    for ((a, f), b), ((c, g), d) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(f, g)
        np.testing.assert_array_equal(b, d)


@pytest.mark.parametrize("kind", ["training", "held out"])
def test_many_windows_at_a_time_are_the_windows_one_by_one(kind):
    ids = np.random.default_rng(0).integers(50, size=N)
    if kind == "training":
        windows = TrainingWindows(ids, B, T, seed=1, restart_every=2, epoch=2, first=1)
    else:
        windows = HeldOutWindows([ids, ids[:30]], window=T)
    many = windows[np.arange(1, 5)]
    for k in range(4):
        (x, fresh), *others = windows[1 + k]
        (xs, freshs), *rows = many
        for one, row in zip([x, fresh, *others], [xs, freshs, *rows], strict=True):
            np.testing.assert_array_equal(row[k], one)


def test_too_short_a_text_is_refused_with_the_number_needed():
    with pytest.raises(InputError, match=r"at least 13 characters.*found 12"):
        TrainingWindows(np.arange(B * T), B, T, seed=1)
    assert len(TrainingWindows(np.arange(B * T + 1), B, T, seed=1)) == 1


def test_held_out_documents_are_read_whole_each_in_its_stream():
    documents = [np.arange(10, 17), np.arange(30, 41), np.arange(50, 53)]
    windows = HeldOutWindows(documents, window=4)
    batches = [windows[k] for k in range(len(windows))]
    ids = np.concatenate([x for (x, _), _, _ in batches], axis=1)
    targets = np.concatenate([y for _, y, _ in batches], axis=1)
    weights = np.concatenate([w for _, _, w in batches], axis=1)
    for row, d in enumerate(documents):
        np.testing.assert_array_equal(ids[row, : len(d) - 1], d[:-1])
        np.testing.assert_array_equal(targets[row, : len(d) - 1], d[1:])
        assert (weights[row] > 0).sum() == len(d) - 1
    assert windows.targets == sum(len(d) - 1 for d in documents)
    assert [f.tolist() for (_, f), _, _ in batches] == [[1] * 3] + [[0] * 3] * (len(batches) - 1)
    # the mean over batches of the weighted mean is the mean over targets
    loss = np.random.default_rng(0).random(weights.shape)
    parts = np.split(loss * weights, len(batches), axis=1)
    assert np.mean([p.mean() for p in parts]) == pytest.approx(loss[weights > 0].mean())


def test_more_documents_than_streams_share_them(monkeypatch):
    monkeypatch.setattr("charlm.text.windows.MAX_STREAMS", 2)
    windows = HeldOutWindows([np.arange(10, 13), np.arange(20, 22), np.arange(30, 34)], window=7)
    (ids, _), targets, weights = windows[0]
    np.testing.assert_array_equal(ids, [[10, 11, 12, 30, 31, 32], [20, 21, 0, 0, 0, 0]])
    assert [t[w > 0].tolist() for t, w in zip(targets, weights, strict=True)] == [
        [11, 12, 31, 32, 33],  # 30 is a document's first character
        [21],
    ]
    assert windows.targets == 6


def test_many_streams_are_read_in_shorter_windows():
    assert HeldOutWindows([np.arange(1000)]).window == 512
    windows = HeldOutWindows([np.arange(1000)] * 40)
    assert windows.window == 2**13 // 40
    assert (windows[len(windows) - 1][2] > 0).any()


@pytest.mark.parametrize("n", [2, 10, 11, 12, 20, 21, 25])
def test_pieces_of_a_long_document_are_measured_once_after_those_before_were_read(monkeypatch, n):
    monkeypatch.setattr("charlm.text.windows.MAX_PIECE", 10)
    monkeypatch.setattr("charlm.text.windows.WARM_UP", 4)
    windows = HeldOutWindows([np.arange(n)], window=3)
    batches = [windows[k] for k in range(len(windows))]
    ids, targets, weights = (
        np.concatenate(x, axis=1)
        for x in zip(*((x, y, w) for (x, _), y, w in batches), strict=True)
    )
    assert targets[weights > 0].tolist() == list(range(1, n))
    assert windows.targets == n - 1
    assert ids[:, 0].tolist() == [max(0, k - 4) for k in range(0, n - 1, 10)]
    np.testing.assert_array_equal(targets[weights > 0], ids[weights > 0] + 1)


@pytest.mark.parametrize("documents", [[], [np.arange(1)]])
def test_held_out_text_too_short_is_refused(documents):
    with pytest.raises(InputError, match="2 characters or more in a held-out part"):
        HeldOutWindows(documents)
