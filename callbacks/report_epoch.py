"""Prints one line for each epoch."""

import time
from collections.abc import Callable

import keras

from charlm.runs.progress import Progress


class ReportEpoch(keras.callbacks.Callback):
    """Prints an epoch's training and held-out bits per character, characters per second, and time.

    Args:
        progress: a `charlm.runs.progress.Progress`.
        epochs: number of epochs of the whole run.
        print: prints a line.
    """

    def __init__(self, progress: Progress, epochs: int, print: Callable[[str], object] = print):
        super().__init__()
        self.progress, self.epochs, self.print = progress, epochs, print
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        mark = "  best so far" if self.progress.stale_epochs == 0 else ""
        self.print(
            f"epoch {epoch + 1}/{self.epochs}  train {logs['bpc']:.4f}  held-out "
            f"{logs['val_bpc']:.4f} bits/char  {logs['chars_per_second']:,.0f} chars/s  "
            f"{time.perf_counter() - self.began:.0f} s{mark}"
        )
