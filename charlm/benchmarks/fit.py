"""Measures the overhead of `charlm train`'s fit over bare training steps.

Both train on the windows of `charlm train` and carry the state; a step is a window of B x T
characters.
"""

import contextlib
import io
import time
from dataclasses import replace

import numpy as np
import tensorflow as tf

from callbacks import ShowProgress, StopOnNaN, StopOnSignal, TrackProgress
from charlm.benchmarks import Timed
from charlm.benchmarks.case import Case, random_text
from charlm.benchmarks.keras_step import require_device
from charlm.config import Config, DataConfig, FitConfig
from charlm.text.encode import read
from charlm.training.trainer import Training
from corpora import Corpus, Document

CHARACTERS = 1_000_000  # of an epoch of a few seconds, so that its start has a realistic share


def _training(case):
    data = DataConfig("random", batch_size=case.batch, window=case.window)
    document = Document("random", random_text(case.vocab, CHARACTERS))
    return Training(
        Config(case.model, data, FitConfig(precision="fp32")), read(Corpus("random", (document,)))
    )


def bare(case: Case, gpu: bool) -> dict:
    """Returns the job "windows": the function that `fit` calls, on one batch in memory."""
    require_device(gpu)
    streams = (training := _training(case)).streams
    first = tf.nest.map_structure(tf.constant, training.windows()[0])
    batches = iter(tf.data.Dataset.from_tensors(first).repeat())
    streams.make_train_function()
    at_once = streams.steps_per_execution

    def windows(n):
        calls = -(-n // at_once)
        began = time.perf_counter()
        for _ in range(calls):
            logs = streams.train_function(batches)
        float(logs["loss"])
        return Timed((time.perf_counter() - began) / (calls * at_once), None)

    return {"windows": windows}


class _Terminal(io.StringIO):
    """A place for progress bars, so that they are drawn though nobody sees them."""

    def isatty(self) -> bool:
        return True


def whole(case: Case, gpu: bool, shown: bool = False) -> dict:
    """Returns the job "windows": epochs of `Training.fit` with the callbacks of each window.

    The time is that of `charlm train`'s chars/s, without validation and saving. `shown`: draw a
    progress bar, as on a terminal.
    """
    require_device(gpu)
    training = _training(case)
    progress, size = training.progress, case.batch * case.window
    steps = training.windows().steps

    def windows(n):
        epochs = max(1, round(n / steps))
        fit = replace(training.config.fit, epochs=progress.epoch + epochs)
        training.config = replace(training.config, fit=fit)
        stop = StopOnSignal(lambda: None, steps, fit.epochs, progress)
        callbacks = [StopOnNaN(progress), TrackProgress(progress, size, steps), stop]
        if shown:
            callbacks.append(ShowProgress(progress, fit.epochs, steps, size, 0))
        with contextlib.redirect_stderr(_Terminal()) if shown else contextlib.nullcontext():
            training.fit(callbacks)
        stop.restore()
        speeds = [row["chars_per_second"] for row in progress.history[-epochs:]]
        return Timed(size / float(np.median(speeds)), None)

    return {"windows": windows}
