"""Law: every cell's run, stopped anywhere and gone on, is to the bit the one that never stopped."""

import keras
import numpy as np
import pytest

from callbacks import TrackProgress
from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.layers import numpy_op
from charlm.runs import checkpoint
from charlm.text.encode import read
from charlm.training.streams import STEPS_PER_EXECUTION
from charlm.training.trainer import Training
from corpora import Corpus, Document
from tests.cells import CASES

B, T, EPOCHS = 2, 8, 2
CELLS, FEWER = sorted({case.name for case in CASES}), keras.backend.backend() != "tensorflow"
if FEWER:  # others compile anew for each place
    CELLS = ["lstm"]
TEXT = "It was the best of times, it was the worst of times.\n" * 6


def begun(cell, saved=None, precision="auto"):
    config = Config(
        ModelConfig(cell=cell, units=3, layers=2, dropout=0.3),
        DataConfig(corpus="t", batch_size=B, window=T, restart_every=4),
        FitConfig(epochs=EPOCHS, warmup_steps=4, precision=precision),
    )
    return Training(config, read(Corpus("t", (Document("t", TEXT),))), saved)


class Save(keras.callbacks.Callback):
    """Keeps what a file would hold at every epoch's end and after every call within one."""

    def __init__(self, training):
        super().__init__()
        self.training, self.kept = training, []

    def save(self):
        _ = self.model  # on JAX, brings the weights up to date
        self.kept.append(checkpoint.to_bytes(self.training.snapshot()))

    def on_train_batch_end(self, batch, logs=None):
        if self.training.progress.step < self.training.windows().steps:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()


def run(training):
    save = Save(training)
    training.fit([TrackProgress(training.progress, B * T, training.windows().steps), save])
    return save.kept


def all_but_speed(data):
    found = checkpoint.from_bytes(data)
    for row in found.progress.history:
        del row["chars_per_second"]
    return found


def assert_same_end(saves, last, what=""):
    again = all_but_speed(saves[-1])
    assert again.progress == last.progress
    for name, array in last.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=f"{name} {what}")


@pytest.mark.product(1)
@pytest.mark.full
@pytest.mark.parametrize("cell", CELLS)
def test_gone_on_from_anywhere(cell):
    saves = run(begun(cell))
    last = all_but_speed(saves[-1])
    n = len(saves)
    places = [0, n // 2 - 1, n - 3]  # within the first epoch, after it, within the second
    for k in places[-1:] if FEWER else places:
        assert_same_end(run(begun(cell, checkpoint.from_bytes(saves[k]))), last, f"save {k}")


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="on a GPU JAX alone differs in this")
def test_gone_on_with_several_windows_to_a_call_as_on_a_gpu(monkeypatch):
    exact = {"precision": "fp32"}  # in bfloat16 the two ways to compute are farther apart
    one_by_one = all_but_speed(run(begun("lstm", **exact))[-1])
    monkeypatch.setattr(numpy_op, "is_supported", lambda tensor=None: False)
    training = begun("lstm", **exact)
    assert training.streams.steps_per_execution == STEPS_PER_EXECUTION
    saves = run(training)
    last = all_but_speed(saves[-1])
    for name, array in one_by_one.arrays().items():
        np.testing.assert_allclose(last.arrays()[name], array, atol=1e-5, err_msg=name)
    within = checkpoint.from_bytes(saves[1])
    assert within.progress.step == 2 * STEPS_PER_EXECUTION
    assert_same_end(run(begun("lstm", within, **exact)), last)
