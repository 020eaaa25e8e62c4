"""Law: whatever is read of mapped ids is what NumPy would read, verified; damage is never read."""

import time
import zlib

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.evaluation import losses, novelty
from charlm.evaluation.ngram import NGram
from charlm.reference.network import Network, initial_weights
from charlm.text import mapped_ids
from charlm.text.encoded_text import Text
from charlm.text.ids import Streams
from charlm.text.vocab import Vocab
from charlm.text.windows import HeldOutWindows, TrainingWindows

BLOCK = 64  # bytes
V = 11


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(mapped_ids, "BLOCK", BLOCK)


def stored(path, ids):
    """The ids in a file, and its checksums."""
    path.write_bytes(ids.tobytes())
    with open(path, "rb") as file:
        return mapped_ids.checksums(file, ids.nbytes)


def opened(path, dtype, sums):
    return mapped_ids.mapped(np.memmap(path, dtype, "r"), sums, path)


def random_keys(rng, n):
    for _ in range(200):
        a, b = rng.integers(-n - 3, n + 4, size=2)
        yield slice(int(a), int(b), int(rng.choice([-7, -1, 1, 2, 5])))
        yield slice(None, int(b))
        yield int(rng.integers(-n, n))
        yield rng.integers(-n, n, size=rng.integers(0, 9, size=2))
    yield from (rng.random(n) < 0.5, None, ..., [0, n - 1], slice(0, 0), (slice(1, 4),))


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
@pytest.mark.parametrize("bounds", [(0, 1001), (37, 900), (500, 503)])
def test_an_index_gives_what_numpy_gives_or_refuses_what_is_damaged(tmp_path, rng, dtype, bounds):
    ids = rng.integers(V, size=1001).astype(dtype)
    sums = stored(tmp_path / "f", ids)
    plain, places = ids[slice(*bounds)], np.arange(1001)[slice(*bounds)]
    whole = opened(tmp_path / "f", dtype, sums).part(*bounds)
    assert (len(whole), whole.dtype, whole.shape) == (len(plain), plain.dtype, plain.shape)
    damaged = ids.copy()
    damaged[500] ^= 1
    (tmp_path / "g").write_bytes(damaged.tobytes())
    per_block = BLOCK // ids.itemsize
    for key in random_keys(rng, len(plain)):
        try:
            expected, touched = plain[key], places[key]
        except IndexError:
            with pytest.raises(IndexError):
                whole[key]
            continue
        found = whole[key]
        np.testing.assert_array_equal(found, expected)
        assert np.shape(found) == np.shape(expected)
        part = opened(tmp_path / "g", dtype, sums).part(*bounds)
        if 500 // per_block in np.unique(np.ravel(touched) // per_block):
            with pytest.raises(InputError, match="damaged"):
                part[key]
        elif isinstance(key, int | slice | np.ndarray) and np.asarray(key).dtype != bool:
            try:  # a slice of steps may refuse what it leaves out
                np.testing.assert_array_equal(part[key], expected)
            except InputError:
                assert isinstance(key, slice)
                assert key.step is not None


def test_no_ids_at_all(tmp_path):
    none = opened(tmp_path / "f", "u1", stored(tmp_path / "f", np.zeros(9, "u1"))).part(4, 4)
    assert len(none) == len(none[:]) == len(none[::-1]) == len(np.asarray(none)) == 0
    assert none[np.zeros(0, int)].shape == (0,)
    with pytest.raises(IndexError):
        none[0]


def test_an_index_out_of_range_is_one_of_numpys(tmp_path, rng):
    whole = opened(tmp_path / "f", "u1", stored(tmp_path / "f", np.arange(200, dtype="u1")))
    for key in (200, -201, np.array([3, 200]), (0, 0), "x", 1.5):
        with pytest.raises(IndexError):
            whole[key]


@pytest.mark.parametrize("most", [0, 90], ids=["in step", "some ahead of others"])
def test_streams_are_of_a_ring_and_each_block_of_them_is_verified(tmp_path, rng, most):
    ids = rng.integers(V, size=1001).astype("<u2")
    sums = stored(tmp_path / "f", ids)
    stored(tmp_path / "g", np.where(np.arange(1001) == 500, V, ids).astype("<u2"))
    blocks, damaged = np.arange(1001) // 32, 500 // 32
    refusals = 0
    for _ in range(100):
        begin = rng.integers(3000, size=rng.integers(1, 4))
        length = int(rng.integers(1, 30))
        sound, other = (Streams(opened(tmp_path / x, "<u2", sums), begin) for x in "fg")
        for _ in range(3):  # one after another from the same streams
            at = rng.integers(1200, size=rng.integers(1, 3, size=rng.integers(3)))
            skipped = rng.integers(most + 1, size=(*at.shape, len(begin)))
            places = (begin + at[..., None] + skipped)[..., None] + np.arange(length)
            places %= 1001
            asked = at, length, skipped if most else 0
            found = sound.rows(*asked)
            np.testing.assert_array_equal(found, ids[places])
            np.testing.assert_array_equal(found, Streams(ids, begin).rows(*asked))
            end = at.max() + length + 32 + skipped.max()
            following = begin[:, None] + np.arange(at.min(), end)
            if (blocks[places] == damaged).any():
                refusals += 1
                with pytest.raises(InputError, match="found bytes 960 to 1,023 damaged"):
                    other.rows(*asked)
            elif not (blocks[following % 1001] == damaged).any():
                np.testing.assert_array_equal(other.rows(*asked), found)
    assert 30 < refusals < 270


@pytest.mark.parametrize("count", [1, 2, 9, 300])
def test_no_damage_is_taken_for_what_was_written(tmp_path, rng, count):
    ids = rng.integers(V, size=999).astype("u1")
    sums = stored(tmp_path / "f", ids)
    for _ in range(300):
        damaged, at = ids.copy(), int(rng.integers(999 - count + 1))
        damaged[at : at + count] = rng.integers(256, size=count)
        if (damaged == ids).all():
            continue
        (tmp_path / "f").write_bytes(damaged.tobytes())
        with pytest.raises(InputError, match=f"in {tmp_path / 'f'} as it was written"):
            np.asarray(opened(tmp_path / "f", "u1", sums))


def network():
    config = ModelConfig(units=3, layers=1)
    return Network(initial_weights(config, V, np.random.default_rng(1)), V, config)


READERS = {
    "array": np.asarray,
    "copy": lambda ids: np.array(ids, np.int64),
    "sum": np.sum,
    "bincount": np.bincount,
    "take": lambda ids: np.take(ids, [0]),  # NumPy asks for the whole array
    "concatenate": lambda ids: np.concatenate([ids, ids]),
    "comparison": lambda ids: np.zeros(len(ids)) == ids,
    "index": lambda ids: np.arange(V)[ids],
    "assignment": lambda ids: np.zeros(len(ids)).__setitem__(slice(None), ids),
    "iteration": list,
    "window view": lambda ids: np.lib.stride_tricks.sliding_window_view(ids, 5),
    "training": lambda ids: list(windows_of(TrainingWindows(ids, 3, 4, 1))),
    "many windows": lambda ids: TrainingWindows(ids, 3, 4, 1)[np.arange(83)],
    "held out": lambda ids: HeldOutWindows([ids]),
    "decoded": lambda ids: Vocab("abcdefghijk").decode(ids),
    "to_measure": lambda ids: HeldOutWindows(text(ids[:9], ids).to_measure()),
    "stretches": lambda ids: [*map(np.asarray, text(ids[:9], ids).to_measure(990))],
    "log_shares": lambda ids: text(ids, ids[:9]).log_shares(Vocab("abcdefghijk")),
    "translated": lambda ids: text(ids, ids[:9]).translated(Vocab("abcdefghijkl")),
    "translated held out": lambda ids: text(ids[:9], ids).translated(Vocab("abcdefghijkl")),
    "n-grams": lambda ids: NGram(ids, V),
    "n-grams' losses": lambda ids: NGram(np.arange(V), V).losses(ids),
    "novelty": lambda ids: novelty.TrainingTextIndex(ids, ""),
    "carried": lambda ids: losses.stateful_losses(network(), [ids]),
    "cold": lambda ids: losses.zero_state_losses(network(), [ids], 7, 10**6),
    "adapting": lambda ids: losses.DynamicEvaluation(network(), ids),
    "dynamic": lambda ids: losses.DynamicEvaluation(network(), np.arange(9)).losses(ids),
}  # fmt: skip


def windows_of(windows):
    return (windows[k] for k in range(len(windows)))


def text(training, held_out):
    return Text(Vocab("abcdefghijk"), "", training, held_out, [300, len(held_out) - 300])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("at", [70, 500, 900])
def test_whoever_reads_all_ids_meets_the_damage(tmp_path, rng, reader, at):
    ids = rng.integers(V, size=1001).astype("u1")
    sums = stored(tmp_path / "f", ids)
    READERS[reader](opened(tmp_path / "f", "u1", sums))
    damaged = ids.copy()
    damaged[at] = (ids[at] + 1) % V
    (tmp_path / "f").write_bytes(damaged.tobytes())
    with pytest.raises(InputError, match="damaged; delete this file and start again"):
        READERS[reader](opened(tmp_path / "f", "u1", sums))


def test_each_block_is_verified_once_and_only_if_it_is_read(tmp_path, rng, monkeypatch):
    ids = rng.integers(V, size=6400).astype("u1")
    whole = opened(tmp_path / "f", "u1", stored(tmp_path / "f", ids))
    sizes = []
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda block: sizes.append(len(block)) or crc32(block))
    assert whole[130:190].sum() == ids[130:190].sum()
    assert sizes == [BLOCK]
    windows = TrainingWindows(whole.part(0, 3200), 3, 8, seed=1)
    for epoch in range(9):
        windows.set_epoch(epoch)
        list(windows_of(windows))
    assert sizes == [BLOCK] * 50


def test_what_was_read_is_let_go_of(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(mapped_ids, "MAX_MAPPED", 1000)
    ids = rng.integers(V, size=6400).astype("u1")
    whole, forgotten = opened(tmp_path / "f", "u1", stored(tmp_path / "f", ids)), []
    mapping = whole._file.mapping

    class Mapping:
        def madvise(self, how):
            forgotten.append(how)
            mapping.madvise(how)

    whole._file.mapping = Mapping()
    np.testing.assert_array_equal(whole, ids)
    assert len(forgotten) == 6400 // 1024
    windows = TrainingWindows(whole, 3, 8, seed=1)
    list(windows_of(windows))  # 24 new bytes each
    assert len(forgotten) == pytest.approx(6400 // 1024 + len(windows) * 24 // 1000, abs=1)


@pytest.mark.soak
def test_verifying_takes_a_small_part_of_the_reading_time(tmp_path, rng, monkeypatch):
    """The processor's time of one pass over ids that are in the system's file cache.

    They are read by the windows that training takes, alone and as Keras gets them, without the
    training. Reading is all but verifying; what it takes to load a page counts as verifying.
    """
    monkeypatch.setattr(mapped_ids, "BLOCK", 2**18)
    from charlm.training.dataset import batches

    verified, spent = Streams._read, []

    def timed(*args):
        began = time.thread_time()
        found = verified(*args)
        spent.append(time.thread_time() - began)
        return found

    monkeypatch.setattr(Streams, "_read", timed)

    def alone(windows):
        size = max(1, 2**16 // (windows.starts.size * windows.window))
        return (windows[np.arange(k, k + size)] for k in range(0, len(windows) - size, size))

    for name, read, count in (("alone", alone, 500_000_000), ("by Keras", batches, 50_000_000)):
        ids = rng.integers(97, size=count, dtype=np.uint8)
        sums = stored(tmp_path / "f", ids)
        for batch, window in ((32, 32), (64, 128), (128, 256)):
            windows = TrainingWindows(opened(tmp_path / "f", "u1", sums), batch, window, 1, 100)
            spent.clear()
            began = time.process_time()
            for _ in read(windows):
                pass
            verifying = sum(spent)
            reading = time.process_time() - began - verifying
            print(f"{name}, {batch} x {window}: {reading:.2f} s, {verifying / reading:.2%} more")
            if name == "by Keras" or batch == 32:  # as in training; with the default sizes
                assert verifying < 0.05 * reading
