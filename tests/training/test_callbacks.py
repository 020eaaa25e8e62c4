"""Law: callbacks tell, save and stop when they should, and never spoil what is saved."""

import contextlib
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from callbacks import (
    ReportEpoch,
    ReportStart,
    SampleText,
    SaveWeights,
    ShowProgress,
    StopEarly,
    StopOnNaN,
    StopOnSignal,
    TrackProgress,
)
from charlm import interrupt
from charlm.config import Config, ModelConfig, SampleConfig
from charlm.errors import NonFiniteLossError, Stopped
from charlm.reference.network import shapes
from charlm.runs import atomic, logs, lookup, run_folder
from charlm.runs.checkpoint import Checkpoint, read
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from charlm.training.startup_timer import Timeline


class FakeModel:
    stop_training = False


def with_model(callback):
    callback.set_model(FakeModel())
    return callback


def snapshot(progress, value=1.0):
    config = Config(ModelConfig(units=1))
    weights = {k: np.full(s, value, "float32") for k, s in shapes(config.model, 2).items()}
    return lambda: Checkpoint(config, Vocab("ab"), "0", progress, weights, [], [], {})


def rows(n):
    return [{"epoch": k + 1, "bpc": 2.0, "val_bpc": 2.0} for k in range(n)]


def saver(progress, folder, value=1.0, every=0, print=print):
    get = snapshot(progress, value)
    return with_model(SaveWeights(get, folder, progress, 14, every, print))


def test_best_is_kept_and_last_goes_on(tmp_path):
    progress = Progress()
    for epoch, (stale, value) in enumerate([(0, 1.0), (0, 2.0), (1, 3.0)], 1):
        progress.epoch, progress.stale_epochs, progress.history = epoch, stale, rows(epoch)
        saver(progress, tmp_path, value).on_epoch_end(epoch - 1)
    found = {n: read(tmp_path / n) for n in (lookup.LAST, lookup.BEST)}
    values = {n: c.weights["layers/dense/vars/0"][0, 0] for n, c in found.items()}
    assert values == {lookup.LAST: 3.0, lookup.BEST: 2.0}
    assert (tmp_path / run_folder.SUMMARY).exists()


def test_a_save_within_an_epoch_is_no_best(tmp_path):
    progress = Progress(epoch=1, step=5, stale_epochs=0, history=rows(1))
    saver(progress, tmp_path).save()
    assert not (tmp_path / lookup.BEST).exists()
    assert read(tmp_path / lookup.LAST).progress.step == 5


def test_weights_that_are_not_finite_leave_the_files(tmp_path):
    progress, said = Progress(epoch=1, history=rows(1)), []
    assert saver(progress, tmp_path).save() is True
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    saves = saver(progress, tmp_path, np.nan, print=said.append)
    assert saves.save() is False  # so that nobody says it was saved
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert "not finite" in said[0]


def test_samples_go_to_the_terminal_and_the_file(tmp_path):
    asked, said = [], []

    def sample(prompt, length, temperatures, seed):
        asked.append((prompt, length, temperatures, seed))
        return [f"<{t}>" for t in temperatures]

    settings = SampleConfig((0.5, 1.0), ("", "My "), 20)
    callback = with_model(SampleText(sample, settings, 1, tmp_path, said.append))
    callback.on_epoch_end(0)
    callback.on_epoch_end(1)
    text = (tmp_path / run_folder.SAMPLES).read_text()
    assert text.startswith("=== epoch 1 ===\n--- temperature 0.5 ---\n<0.5>\n")
    assert "--- temperature 1 ---\nMy <1.0>" in text
    assert said[0] in text
    assert len({seed for *_, seed in asked}) == 4  # every text of a run has its own
    assert {(p, n, t) for p, n, t, _ in asked} == {("", 20, (0.5, 1.0)), ("My ", 20, (0.5, 1.0))}


@pytest.mark.parametrize("epochs", [1, 10, 11, 16, 20, 61])
def test_some_samples_of_many_epochs_are_printed_and_all_are_kept(tmp_path, epochs):
    said = []
    callback = SampleText(lambda *_: ["?"], SampleConfig((1.0,)), 1, tmp_path, said.append, epochs)
    for epoch in range(epochs):
        with_model(callback).on_epoch_end(epoch)
    callback.on_train_end()
    printed = [x for x in said if "temperature" in x]
    assert len(printed) == epochs if epochs <= 10 else 7 <= len(printed) <= 15
    assert "temperature" in said[-1]
    assert sum("printing the samples of every" in x for x in said) == (len(printed) < epochs)
    kept = (tmp_path / run_folder.SAMPLES).read_text()
    assert kept.count("=== epoch") == epochs
    assert kept.endswith(f"{printed[-1]}\n")


def test_samples_can_be_switched_off(tmp_path):
    SampleText(None, SampleConfig(sample_length=0), 1, tmp_path).on_epoch_end(0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("patience", "stale", "stops"), [(0, 9, False), (2, 1, False), (2, 2, True)]
)
def test_stops_early_when_patience_is_at_an_end(patience, stale, stops):
    callback = with_model(StopEarly(Progress(stale_epochs=stale), patience, lambda text: None))
    callback.on_epoch_end(0)
    assert callback.model.stop_training == stops


def test_the_last_epoch_is_no_early_end():
    said = []
    callback = with_model(StopEarly(Progress(stale_epochs=9), 2, said.append, 5))
    callback.set_params({"epochs": 4})  # of the rest of an epoch that was cut short
    callback.on_epoch_end(3)
    assert len(said) == 1
    callback.on_epoch_end(4)
    assert len(said) == 1


def test_one_line_an_epoch():
    said = []
    logs = {"bpc": 2.0, "val_bpc": 1.75, "chars_per_second": 12345.6}
    ReportEpoch(Progress(stale_epochs=0), 9, said.append).on_epoch_end(3, logs)
    (line,) = said
    assert line.startswith("epoch 4/9  train 2.0000  held-out 1.7500 bits/char  12,346 chars/s")
    assert "\n" not in line


def test_one_line_at_the_start_of_all(monkeypatch):
    clock = iter([10.0, 12.0, 15.5, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    said, timeline = [], Timeline()
    timeline.done("import")
    timeline.done("build")
    callback = ReportStart(timeline, said.append)
    callback.on_train_batch_end(0)
    callback.on_train_batch_end(1)
    callback.on_train_batch_end(0)  # of another epoch, or another `fit`
    assert said == ["ready in 6.0 s: import 2.0, build 3.5, compile 0.5"]


def test_windows_are_counted_up_to_the_epoch_s_last():
    """Keras counts in groups, the last of which may be shorter."""
    progress, counted = Progress(step=3), []
    callback = TrackProgress(progress, characters=10, windows=12)
    callback.on_epoch_begin(0)
    for last_of_group in (3, 7, 11):
        callback.on_train_batch_end(last_of_group, {"loss": 1.0})
        counted.append(progress.step)
    assert counted == [7, 11, 12]


def test_the_best_epoch_is_that_of_the_lowest_held_out_loss():
    progress = Progress()
    callback = with_model(TrackProgress(progress, characters=10, windows=1))
    callback.model.optimizer = SimpleNamespace(learning_rate=0.5)
    seen = []
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.0, 1.5]):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_end(0, {"loss": 1.0})
        callback.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
        seen.append((progress.best, progress.best_epoch, progress.stale_epochs))
    assert seen == [(3.0, 1, 0), (2.0, 2, 0), (2.0, 2, 1), (2.0, 2, 2), (1.5, 5, 0)]


def test_saves_within_an_epoch_but_not_at_its_last_window(tmp_path):
    """There it is the epoch that is saved: nothing of it is left to go on with."""
    progress, saved = Progress(), []
    callback = saver(progress, tmp_path, every=7)
    callback.save = lambda: saved.append(progress.step)
    for first in (0, 4):
        progress.step = first
        callback.on_epoch_begin(0)
        for progress.step in range(first + 2, 15, 2):
            callback.on_train_batch_end(0)
    assert saved == [8, 8]


@pytest.mark.parametrize("after", [2.0, np.nan])
def test_a_best_whose_save_failed_is_saved_with_the_next(tmp_path, monkeypatch, after):
    progress, right = Progress(1, 0, 1.0, 1, 0, rows(1)), atomic.write

    def full(path, data, like=None):
        raise OSError(28, "No space left on device")

    saves = saver(progress, tmp_path, 1.0, print=lambda text: None)
    monkeypatch.setattr(atomic, "write", full)
    assert not saves.save()
    monkeypatch.setattr(atomic, "write", right)
    progress.epoch, progress.stale_epochs, progress.history = 2, 1, rows(2)
    saves.snapshot = snapshot(progress, after)
    assert saves.save() == np.isfinite(after)
    found = {p.name: read(p).weights["layers/dense/vars/0"][0, 0] for p in tmp_path.glob("*.h5")}
    last = {lookup.LAST: 2.0} if np.isfinite(after) else {}
    assert found == {lookup.BEST: 1.0} | last


def test_a_save_that_fails_is_told_and_the_next_one_may_succeed(tmp_path):
    progress, said = Progress(epoch=1, history=rows(1)), []
    saves = saver(progress, tmp_path / "gone", print=said.append)
    assert saves.save() is False
    assert saves.failure == f"{tmp_path}/gone/best.weights.h5: No such file or directory"
    assert said == [
        f"NOT SAVED ({saves.failure}); training continues, and the next save tries again"
    ]
    (tmp_path / "gone").mkdir()
    assert saves.save() is True
    assert not saves.failure


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf, 1e3])
def test_a_loss_beyond_reason_is_seen_at_any_window(loss):
    callback = StopOnNaN(Progress())
    callback.on_train_batch_end(6, {"loss": 99.0})
    with pytest.raises(NonFiniteLossError, match="epoch 1; the files saved before"):
        callback.on_train_batch_end(7, {"loss": loss})


def test_signals_are_heard_until_all_is_done(monkeypatch):
    """The rest of an epoch and the epochs after it are two calls of `fit`."""
    before = signal.getsignal(signal.SIGTERM)
    saved, stop = (
        [],
        StopOnSignal(lambda: saved.append(1), 9, 5, Progress(), print=lambda text: None),
    )
    with_model(stop)
    for _ in range(2):
        stop.on_train_begin()
        stop.on_train_end()
    assert signal.getsignal(signal.SIGTERM) == stop.ask
    monkeypatch.setattr(interrupt, "_stderr", 2)  # as in the process of a command
    stop.ask(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # the next ends the process
    assert signal.getsignal(signal.SIGINT) == interrupt.leave
    with pytest.raises(Stopped):
        stop.on_train_batch_end(3)
    assert saved == [1]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_has_ended_is_not_stopped():
    stop = StopOnSignal(None, 9, 5, Progress(epoch=5), print=lambda text: None)
    with_model(stop).ask(signal.SIGINT)
    stop.on_epoch_end(4)
    stop.progress.epoch = 4
    stop.model.stop_training = True  # by `StopEarly`
    stop.on_epoch_end(3)
    stop.model.stop_training = False
    with pytest.raises(Stopped):
        stop.on_epoch_end(3)


# --- progress ---


@pytest.fixture
def bars(monkeypatch):
    """Lists what `ShowProgress` shows: [what, total, done before, calls of tell, whether open]."""
    shown = []

    @contextlib.contextmanager
    def progress(what, total=None, first=0):
        shown.append([what, total, first, [], True])
        bar = shown[-1]
        yield lambda n=1, figures="": bar[3].append((n, figures))
        bar[4] = False

    monkeypatch.setattr("callbacks.show_progress.progress", progress)
    return shown


def test_each_epoch_shows_loss_speed_and_the_time_left(bars, monkeypatch):
    clock = iter([100.0, 102.0, 104.0, 130.0])
    monkeypatch.setattr("callbacks.show_progress.time.monotonic", lambda: next(clock))
    progress = Progress(epoch=1, step=2)  # resumed within the second epoch
    callback = ShowProgress(progress, epochs=3, windows=10, characters=5_000, held_out=4)
    callback.on_epoch_begin(1)
    assert bars == [["compiling the training step", None, 0, [], True]]
    for progress.step in (4, 8, 10):
        callback.on_train_batch_end(0, {"loss": math.log(8)})
    assert not bars[0][4]
    what, total, first, told, is_open = bars[1]
    assert (what, total, first, is_open) == ("epoch 2/3", 10, 4, True)
    assert told[0] == (4, "3.000 bits/char, 10000 chars/s, run 0:06 left")  # 12 windows at 2 a s
    assert told[1][1] == "3.000 bits/char, 7500 chars/s, run 0:07 left"
    callback.on_test_begin()
    callback.on_test_batch_end(0)
    assert not bars[1][4]
    assert bars[2] == ["measuring held-out text", 4, 0, [(1, "")], True]
    callback.on_epoch_end(1)
    assert not bars[2][4]
    progress.epoch, progress.step = 2, 0
    callback.on_epoch_begin(2)
    assert bars[3][:3] == ["epoch 3/3", 10, 0]
    callback.close()
    assert not any(bar[4] for bar in bars)


def test_steps_are_means_between_rows_and_survive_a_resume(tmp_path, rng):
    """Law: the rows of a resumed run equal those of one that was not interrupted."""
    windows, losses = 250, rng.random((3, 250)) + 1
    means = np.cumsum(losses, axis=1) / np.arange(1, 251)

    def train(progress, until):
        while (progress.epoch, progress.step) < until:
            track = TrackProgress(progress, 10, windows)
            track.on_epoch_begin(progress.epoch)
            first, epoch = progress.step, progress.epoch
            for k in range(3, windows - first + 4, 4):  # four windows in a call
                step = min(first + k, windows - 1)
                track.on_train_batch_end(k, {"loss": means[epoch, step]})
                if (epoch, progress.step) >= until:
                    return
            progress.epoch, progress.step = epoch + 1, 0

    straight, resumed = Progress(), Progress()
    train(straight, (3, 0))
    ends = [row["step"] for row in straight.steps if row["epochs"] <= 1]
    assert len(ends) == len(straight.steps) / 3
    assert 60 <= len(ends) <= 126
    assert ends[-1] == windows
    for n, row in enumerate(straight.steps):
        first = straight.steps[n - 1]["step"] if n and row["step"] != ends[0] else 0
        part = losses[int(np.ceil(row["epochs"])) - 1, first : row["step"]]
        assert row["bpc"] == pytest.approx(part.mean() / math.log(2))
    for until in ((0, 100), (1, 0), (2, 48), (3, 0)):
        train(resumed, until)
        (tmp_path / "steps.csv").write_bytes(
            logs.rows_table(straight.steps, logs.STEP_COLUMNS)
        )  # trained further
        resumed.steps = logs.read_rows(tmp_path / "steps.csv", logs.STEP_COLUMNS, resumed)
        expected = [r for r in straight.steps if r["epochs"] <= resumed.epoch + resumed.step / 250]
        assert resumed.steps == expected
    assert resumed.steps == straight.steps
    table = b"epochs,step,bpc,epoch_bpc\n"
    for damage in (b"", b"epochs,step\n1,2\n", b"\xff\0", table + b"1,nan,2,3\n"):
        (tmp_path / "steps.csv").write_bytes(damage)
        assert logs.read_rows(tmp_path / "steps.csv", logs.STEP_COLUMNS, straight) == []
    (tmp_path / "steps.csv").unlink()
    (tmp_path / "steps.csv").symlink_to(tmp_path / "other")
    assert logs.read_rows(tmp_path / "steps.csv", logs.STEP_COLUMNS, straight) == []
