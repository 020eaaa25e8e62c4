"""Tracks a run's progress and adds an epoch's figures to the logs of the other callbacks."""

import math
import time

import keras

from charlm.runs.progress import Progress
from charlm.text.units import CharactersPerToken

ROWS = 100  # rows of steps.csv per epoch


class TrackProgress(keras.callbacks.Callback):
    """Keeps a `Progress` up to date and adds figures to the logs.

    About a hundred times in an epoch it records the training loss, for steps.csv. Added to the logs
    after each epoch: bpc and val_bpc (bits per character), chars_per_second (of training,
    without validation), learning_rate.

    Args:
        progress: a `charlm.runs.progress.Progress`, changed in place.
        characters: mean number of characters in one window of all streams, B * T without tokens.
        windows: number of windows in a whole epoch.
        per_token: characters in a token.
    """

    def __init__(
        self,
        progress: Progress,
        characters: float,
        windows: int,
        per_token: CharactersPerToken = CharactersPerToken(),  # noqa: B008 - never changed
    ):
        super().__init__()
        self.progress, self.windows, self.per_token = progress, windows, per_token
        self.characters = characters
        self.every = max(1, windows // ROWS)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.first = self.progress.step
        self.began = time.perf_counter()
        self.trained: float | None = None
        self.row = self.first // self.every

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        # a call may cover several windows, and at an epoch's end fewer than Keras counts
        p = self.progress
        p.step = min(self.first + batch + 1, self.windows)
        if self.row < p.step // self.every or p.step == self.windows:
            self.row = p.step // self.every
            p.steps.append(self._row(float(logs["loss"]) / math.log(2) / self.per_token.training))

    def _row(self, mean):
        """Makes a row of steps.csv; `mean` is of the epoch so far, in bits per character."""
        p, before, first = self.progress, 0.0, 0
        if p.steps and p.steps[-1]["epochs"] > p.epoch:
            before, first = p.steps[-1]["epoch_bpc"], p.steps[-1]["step"]
        return {
            "epochs": p.epoch + p.step / self.windows,
            "step": p.step,
            "bpc": (mean * p.step - before * first) / (p.step - first),
            "epoch_bpc": mean,
        }

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        p = self.progress
        done = p.step - self.first
        seconds = (self.trained or time.perf_counter()) - self.began
        optimizer = self.model.optimizer
        logs |= {
            "bpc": float(logs["loss"]) / math.log(2) / self.per_token.training,
            "val_bpc": float(logs["val_loss"]) / math.log(2) / self.per_token.held_out,
            "chars_per_second": done * self.characters / seconds,
            "learning_rate": float(optimizer.learning_rate),
        }
        p.epoch, p.step = epoch + 1, 0
        p.stale_epochs += 1
        if p.best is None or logs["val_loss"] < p.best:
            p.best, p.best_epoch, p.stale_epochs = float(logs["val_loss"]), p.epoch, 0
        p.history.append({"epoch": p.epoch} | {k: float(v) for k, v in logs.items()})
