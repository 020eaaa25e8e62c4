"""Stops a run whose held-out loss no longer falls (early stopping)."""

import math
from collections.abc import Callable

import keras

from charlm.runs.progress import Progress


class StopEarly(keras.callbacks.Callback):
    """Ends training after `patience` epochs without a lower held-out loss.

    The count of keras.callbacks.EarlyStopping restarts at each call of `fit`, so a resumed run
    would lose it. This one is part of the run's progress, which is saved.

    Args:
        progress: a `charlm.runs.progress.Progress`.
        patience: number of epochs; 0 for no early stopping.
        print: prints a line.
        epochs: number of epochs of the whole run; the last one is no early end.
    """

    def __init__(
        self,
        progress: Progress,
        patience: int,
        print: Callable[[str], object] = print,
        epochs: float = math.inf,
    ):
        super().__init__()
        self.progress, self.patience, self.print, self.epochs = progress, patience, print, epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if 0 < self.patience <= self.progress.stale_epochs:
            if epoch + 1 < self.epochs:
                self.print(
                    f"stopped early: no better held-out loss in {self.progress.stale_epochs} "
                    f"epochs (the best was epoch {self.progress.best_epoch})"
                )
            self.model.stop_training = True
