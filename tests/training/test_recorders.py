"""Law: what training records is what the network does then, and recording changes nothing."""

import csv
import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest

import callbacks
from callbacks import RecordCells
from charlm.api import recorders
from charlm.errors import InputError
from charlm.inside import recording, training_cells
from charlm.inside.passage import of_held_out
from charlm.runs import logs, run_folder
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from charlm.training import network as model
from charlm.training.loss import CrossEntropy
from tests.inside.test_engine import network
from tests.training.test_trainer import made, tracked

only_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="uses TensorFlow's gradients"
)


def recorded(training, folder, *others, tensorboard=False):
    found = recorders.recorders(training, folder, print, tensorboard)
    training.fit([tracked(training), *found, *others])
    path = folder / run_folder.TRAINING_CELLS
    return training_cells.read(path, training.to_network(), training.vocab)


def weights(training):
    return np.concatenate([w.ravel() for w in model.weights(training.network).values()])


def test_snapshots_are_the_network_s_values_at_their_times(tmp_path):
    training = made(epochs=2)
    windows, networks = training.windows().steps, {0: training.to_network()}

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            _ = self.model
            p = training.progress
            networks[p.epoch * windows + p.step] = training.to_network()

    cells = recorded(training, tmp_path, Keep())
    assert [s.updates for s in cells.snapshots] == [0, 10, 30, windows, 2 * windows]
    assert cells.letter == "c"
    assert of_held_out(training.text.held_out, training.vocab).startswith(cells.text)
    assert len(cells.text) > 50
    ids = training.vocab.encode(cells.text)
    for snapshot in cells.snapshots:
        (r,) = recording.record(networks[snapshot.updates], [ids], "c", whole=True)
        np.testing.assert_allclose(snapshot.values, r.values["c"], atol=1e-3, rtol=1e-3)
        np.testing.assert_allclose(snapshot.bits[1:], r.losses[1:] / np.log(2), atol=5e-3)
        assert snapshot.bits[0] == 0
        assert snapshot.epochs == snapshot.updates / windows


@pytest.mark.full
def test_recording_changes_no_weight(tmp_path):
    recorded(first := made(epochs=1, weight_drop=0.1), tmp_path)
    second = made(epochs=1, weight_drop=0.1)
    second.fit([tracked(second)])
    np.testing.assert_array_equal(weights(first), weights(second))


@pytest.mark.full
@only_tensorflow
def test_rows_of_updates_are_gradients_and_changes(tmp_path):
    import tensorflow as tf

    training, states, gradients = made(epochs=1, clip_norm=0), [], {}
    streams, windows = training.streams, training.windows()
    streams.network.get_layer("dropout").rate = 0.0  # draws nothing, so that both compute the same

    class Keep(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            states.append([np.array(v) for v in streams.trainable_variables])
            if batch not in (0, 1, 20):
                return
            carried = [np.array(v) for v in streams.carried["training"]]
            (ids, fresh), targets = windows[batch]
            with tf.GradientTape() as tape:
                loss = CrossEntropy()(targets, streams((ids, fresh), training=True))
            found = tape.gradient(loss, [v.value for v in streams.trainable_variables])
            gradients[batch] = [np.linalg.norm(tf.convert_to_tensor(g)) for g in found]
            for v, value in zip(streams.carried["training"], carried, strict=True):
                v.assign(value)

        def on_train_end(self, logs=None):
            states.append([np.array(v) for v in streams.trainable_variables])

    recorded(training, tmp_path, Keep())
    rows, n = training.progress.updates, len(streams.trainable_variables)
    assert len(rows) == n * windows.steps
    assert {row["weight"] for row in rows} == {v.path for v in streams.trainable_variables}
    for k, norms in gradients.items():
        found = [row["gradient_norm"] for row in rows[n * k : n * k + n]]
        np.testing.assert_allclose(found, norms, rtol=1e-3)
    for k, (before, after) in enumerate(itertools.pairwise(states)):
        for row, w, w_ in zip(rows[n * k : n * k + n], before, after, strict=True):
            assert row["step"] == k + 1
            norm = np.linalg.norm(w)
            assert row["update_ratio"] == pytest.approx(np.linalg.norm(w_ - w) / norm, rel=1e-4)
            assert row["weight_norm"] == pytest.approx(np.linalg.norm(w_), rel=1e-4)


@pytest.mark.full
def test_a_resumed_run_keeps_what_was_recorded_up_to_its_place(tmp_path):
    straight = recorded(first := made(epochs=2), tmp_path)
    run_folder.write_steps(tmp_path, first.progress, print)
    half = made(epochs=2)
    half.fit([tracked(half), callbacks.StopEarly(Progress(stale_epochs=1), 1, print)])
    assert half.progress.epoch == 1
    saved = half.snapshot()
    saved.progress.updates = []
    run_folder.read_rows(tmp_path, saved.progress)  # of a run that was trained further
    again = made(epochs=2, saved=saved)
    cells = recorded(again, tmp_path)
    assert [s.updates for s in cells.snapshots] == [s.updates for s in straight.snapshots]
    for a, b in zip(cells.snapshots, straight.snapshots, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    assert again.progress.updates == first.progress.updates
    run_folder.write_steps(tmp_path, again.progress, print)
    with open(tmp_path / run_folder.UPDATES) as file:
        rows = [*csv.DictReader(file)]
    assert list(rows[0]) == list(logs.UPDATE_COLUMNS)
    assert len(rows) == len(again.progress.updates)


@pytest.mark.full
def test_what_cannot_be_used_is_recorded_from_here_on(tmp_path, capsys):
    recorded(first := made(epochs=1), tmp_path)
    path = tmp_path / run_folder.TRAINING_CELLS
    whole = path.read_bytes()
    for damage in (
        b"",
        whole[:-1],
        whole[:300] + b"x" + whole[301:],
        whole.replace(b'"1"', b'"9"'),
    ):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=path.name):
            training_cells.read(path, first.to_network(), first.vocab)
    later = made(epochs=2, saved=first.snapshot())
    cells = recorded(later, tmp_path)
    assert [s.updates for s in cells.snapshots] == [2 * later.windows().steps]
    assert "recording of the cells starts again" in capsys.readouterr().err


@pytest.mark.parametrize("calls", [1, 4])
@pytest.mark.parametrize("windows", [7, 50, 1000])
def test_times_become_rarer_and_every_epoch_has_its_end(windows, calls):
    progress, seen = Progress(), []
    callback = RecordCells(
        lambda n, epochs: seen.append((n, epochs)), progress, windows, training_cells.times()
    )
    callback.set_model(keras.Sequential())
    callback.on_train_begin()
    for epoch in range(3):
        for step in range(calls, windows + calls, calls):
            progress.step = min(step, windows)
            callback.on_train_batch_end(step)
        progress.epoch, progress.step = epoch + 1, 0
        callback.on_epoch_end(epoch)
    reached = [
        epoch * windows + min(step, windows)
        for epoch in range(3)
        for step in range(calls, windows + calls, calls)
    ]
    due = [n for n in (0, 10, 30, 100, 300, 1000, 3000) if n <= reached[-1]]
    first = {min(n for n in [0, *reached] if n >= wanted) for wanted in due}
    assert [n for n, _ in seen] == sorted(first | {windows, 2 * windows, 3 * windows})
    assert all(epochs == n / windows for n, epochs in seen)


@pytest.mark.soak
def test_at_most_64_snapshots_are_kept(rng):
    net, vocab = network(rng, units=3, vocab=4), Vocab("abcd")
    cells = training_cells.empty("abcdabcd", net)
    for k in range(200):
        cells.add(net, vocab, k, k / 9)
        assert len(cells.snapshots) <= training_cells.MOST
    kept = [s.updates for s in cells.snapshots]
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, 199)
    assert len(kept) >= training_cells.MOST // 2


def test_a_page_gets_what_was_before_its_weights(rng, tmp_path, capsys):
    net, vocab = network(rng, units=3, vocab=4), Vocab("abcd")
    cells = training_cells.empty("abcdabcd", net)
    for k in range(5):
        cells.add(net, vocab, 10 * k, k / 2)
    (tmp_path / "x").write_bytes(cells.to_bytes())
    read = functools.partial(training_cells.of_page, tmp_path / "x", net, vocab)
    assert [s.epochs for s in read("abcdabcdaa", 1).snapshots] == [0, 0.5, 1]
    for text, epochs, wrong in (("abcd", 1, "another passage"), ("abcdabcd", -1, "nothing from")):
        assert read(text, epochs) is None
        assert wrong in capsys.readouterr().err
    bad = dataclasses.replace(cells.snapshots[0], epochs=float("nan"))
    for change, wrong in (
        ({"text": ""}, "another network"),
        ({"letter": "h"}, "another network"),
        ({"text": "abce"}, "another network"),
        ({"snapshots": []}, "nothing from"),
        ({"snapshots": [bad]}, "finite times"),
    ):
        (tmp_path / "x").write_bytes(dataclasses.replace(cells, **change).to_bytes())
        assert read("abcdabcd", 9) is None
        assert wrong in capsys.readouterr().err
    (tmp_path / "x").unlink()
    assert read("abcdabcd", 9) is None
    assert not capsys.readouterr().err


@pytest.mark.full
@only_tensorflow
def test_sizes_of_updates_are_written_for_tensorboard(tmp_path):
    from tensorflow.python.summary.summary_iterator import summary_iterator

    training = made(epochs=1)
    recorded(training, tmp_path, tensorboard=True)
    (file,) = (tmp_path / "tensorboard" / "updates").iterdir()
    found = [v.tag for event in summary_iterator(str(file)) for v in event.summary.value]
    names = {row["weight"] for row in training.progress.updates}
    assert {tag.partition("/")[2] for tag in found} == names
    assert len(found) == 3 * len(training.progress.updates)
