"""Records gradient norms and update ratios by weight, for updates.csv and TensorBoard."""

from collections.abc import Callable
from typing import Any

import keras

from charlm.runs.progress import Progress

ROWS = 100  # updates per epoch that are measured


class RecordUpdates(keras.callbacks.Callback):
    """Measures about a hundred updates in an epoch and adds rows to a `Progress`.

    Args:
        begin: call it before an update that is to be measured.
        end: () -> a row for each weight, after the update.
        progress: a `charlm.runs.progress.Progress`, which is up to date.
        windows: number of updates in a whole epoch.
        write: (updates, rows), is called with the rows, too.
    """

    def __init__(
        self,
        begin: Callable[[], object],
        end: Callable[[], list[dict[str, Any]]],
        progress: Progress,
        windows: int,
        write: Callable[[int, list[dict[str, Any]]], object] | None = None,
    ):
        super().__init__()
        self.begin, self.end, self.progress, self.windows = begin, end, progress, windows
        self.write, self.every = write, max(1, windows // ROWS)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.measuring = self.progress.step % self.every == 0
        if self.measuring:
            _ = self.model  # on JAX, brings the weights up to date
            self.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.measuring:
            return
        _ = self.model
        p, rows = self.progress, self.end()
        p.updates += [{"epochs": p.epoch + p.step / self.windows, "step": p.step} | r for r in rows]
        if self.write:
            self.write(p.epoch * self.windows + p.step, rows)
