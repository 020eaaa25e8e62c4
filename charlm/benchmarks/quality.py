"""Measures the seconds to a given quality: the original recipe and charlm, on the same text.

Both are measured by the NumPy network: the loss, in nats, of the character after a window of 40
that is read from a zero state, at positions spread evenly over the training text and the held-out
text. The original recipe trains on this loss; charlm trains with the state carried but is measured
in the same way. The time includes compiling but not measuring and validation.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from charlm.benchmarks.case import SEED, Case
from charlm.benchmarks.keras_step import require_device
from charlm.config import Config, DataConfig, FitConfig
from charlm.reference import trainer
from charlm.reference.loss import log_softmax
from charlm.reference.network import Network, shapes
from charlm.text.encode import read
from charlm.text.windows import HeldOutWindows
from charlm.training.network import weights
from charlm.training.trainer import Training
from corpora import Corpus

WINDOW, STRIDE, BATCH, LEARNING_RATE = 40, 3, 128, 0.01  # the original recipe
PLACES = 4096  # positions at which a loss is measured
MARKS = 10  # measurements in an epoch of the original
EVERY = 50  # charlm's updates between measurements


class Losses:
    """Measures the losses of a network's weights on the training and held-out text."""

    def __init__(self, case: Case, corpus: Corpus):
        self.case, self.text = case, read(corpus)
        self.vocab = self.text.vocab
        self.places = [_spread(self.text.training), _spread(self.text.held_out)]
        self.whole = HeldOutWindows(self.text.to_measure())

    def cold(self, weights: dict[str, np.ndarray]) -> list[float]:
        """Returns losses after a window from a zero state: of training text, of held-out text."""
        network = Network(weights, len(self.vocab), self.case.model)
        return [_cold(network, places) for places in self.places]

    def carried(self, weights: dict[str, np.ndarray]) -> float:
        """Returns the loss of the whole held-out text with the state carried."""
        return trainer.evaluate(Network(weights, len(self.vocab), self.case.model), self.whole)


def _spread(ids):
    """Returns windows with the next id of each, (PLACES, WINDOW + 1)."""
    found = sliding_window_view(ids, WINDOW + 1)
    return found[np.linspace(0, len(found) - 1, PLACES).astype(int)]


def _cold(network, places):
    states = network.initial_states(len(places))
    for ids in places[:, :-1].T:
        logits, states = network.step(ids, states)
    return -float(np.take_along_axis(log_softmax(logits), places[:, -1:], axis=-1).mean())


class Marks(keras.callbacks.Callback):
    """Records (seconds, training loss, held-out loss); measuring does not count as time.

    Args:
        measure: () -> the two losses.
        every: number of updates between measurements.
        target: stops training once both losses have been reached.
    """

    def __init__(
        self,
        measure: Callable[[], Sequence[float]],
        every: int,
        target: Sequence[float] | None = None,
    ):
        super().__init__()
        self.measure, self.every = measure, every
        self.target: Any = target
        self.updates, self.aside = 0, 0.0
        self.curve: list[tuple[float, ...]] = []
        self.began = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.began - self.aside

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.before = self.updates

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done, self.updates = self.updates, self.before + batch + 1  # several at once
        if self.updates // self.every > done // self.every:
            self.mark()
        self.trained = time.perf_counter()

    def mark(self) -> None:
        seconds = self.seconds()
        self.curve.append((seconds, *self.measure()))
        self.aside += self.seconds() - seconds
        if self.target and None not in self.reached():
            self.model.stop_training = True

    def reached(self) -> list[float | None]:
        """Returns the seconds to each of the target's losses, or None."""
        return [
            next((mark[0] for mark in self.curve if mark[k + 1] <= wanted), None)
            for k, wanted in enumerate(self.target)
        ]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Subtracts the time since the last update: validation, whose start has no hook."""
        self.aside += time.perf_counter() - self.trained


def original(case: Case, gpu: bool, corpus: Corpus) -> dict:
    """Returns the job "train": n epochs of the classic Keras example's recipe."""
    require_device(gpu)
    keras.utils.set_random_seed(SEED)
    losses = Losses(case, corpus)
    V = len(losses.vocab)
    windows = sliding_window_view(losses.text.training, WINDOW + 1)[::STRIDE]
    eye = np.eye(V, dtype=bool)
    x, y = eye[windows[:, :-1]], eye[windows[:, -1]]
    model = keras.Sequential(
        [
            keras.Input((WINDOW, V)),
            keras.layers.LSTM(case.units),
            keras.layers.Dense(V, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.RMSprop(LEARNING_RATE), "categorical_crossentropy")
    paths = shapes(case.model, V)

    def found():
        return dict(zip(paths, model.get_weights(), strict=True))

    def train(n):
        marks = Marks(lambda: losses.cold(found()), -(-len(x) // BATCH) // MARKS)
        model.fit(x, y, batch_size=BATCH, epochs=n, verbose=0, callbacks=[marks])
        marks.mark()
        return {"curve": marks.curve, "carried": losses.carried(found())}

    return {"train": train}


def ours(case: Case, gpu: bool, corpus: Corpus, target: list[float]) -> dict:
    """Returns the job "train": `charlm train` until `target`, or six epochs.

    Args:
        case: sizes.
        gpu: whether a GPU is required.
        corpus: the text.
        target: training and held-out loss to reach.
    """
    require_device(gpu)
    losses = Losses(case, corpus)
    fit = FitConfig(epochs=6, learning_rate=5e-3, precision="fp32")
    training = Training(Config(case.model, DataConfig(corpus.name), fit), losses.text)

    def train(n):
        marks = Marks(lambda: losses.cold(weights(training.network)), EVERY, target)
        training.fit([marks])
        marks.mark()
        return {
            "curve": marks.curve,
            "carried": losses.carried(weights(training.network)),
            "reached": marks.reached(),
        }

    return {"train": train}
