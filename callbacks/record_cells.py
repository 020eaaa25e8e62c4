"""Records every cell on a passage, at growing intervals and after each epoch."""

from collections.abc import Callable, Iterable

import keras

from charlm.runs.progress import Progress


class RecordCells(keras.callbacks.Callback):
    """Calls `record` after certain numbers of updates, and after each epoch.

    A call of Keras may do several updates; it records after the first call that reaches a number.

    Args:
        record: (updates, epochs), the updates so far and the same in epochs.
        progress: a `charlm.runs.progress.Progress`, which is up to date.
        windows: number of updates in a whole epoch.
        times: the numbers of updates, an endless increasing iterator.
    """

    def __init__(
        self,
        record: Callable[[int, float], object],
        progress: Progress,
        windows: int,
        times: Iterable[int],
    ):
        super().__init__()
        self.record, self.progress, self.windows = record, progress, windows
        self.times = iter(times)
        self.next = next(self.times)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.progress.epoch == self.progress.step == 0:
            self._record()
        self._skip()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._updates() >= self.next and self.progress.step < self.windows:
            self._record()  # after the last update, the epoch's end does

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._record()

    def _updates(self):
        return self.progress.epoch * self.windows + self.progress.step

    def _record(self):
        _ = self.model  # on JAX, brings the weights up to date
        updates = self._updates()
        self.record(updates, updates / self.windows)
        self._skip()

    def _skip(self):
        while self.next <= self._updates():
            self.next = next(self.times)
