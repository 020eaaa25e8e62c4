"""Saves a run's weights: the last, and those with the lowest held-out loss."""

from collections.abc import Callable
from pathlib import Path

import keras

from charlm.errors import in_words
from charlm.runs import checkpoint, lookup, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress


class SaveWeights(keras.callbacks.Callback):
    """Saves `last` after each epoch, and `best` if the held-out loss is the lowest so far.

    Weights that are not finite never replace finite ones. A failed save is reported and retried at
    the next one, while training continues. `failure` says why the last save failed; it is empty if
    the save succeeded.

    Args:
        snapshot: () -> `charlm.runs.checkpoint.Checkpoint`.
        folder: the run's.
        progress: the run's `charlm.runs.progress.Progress`.
        windows: number of windows in a whole epoch.
        every: number of windows between saves within an epoch; 0 for none.
        print: prints a line if something was not saved.
        writes: False in a process that trains with others and leaves writing to another one; the
            snapshot needs all of them.
    """

    def __init__(
        self,
        snapshot: Callable[[], Checkpoint],
        folder: Path,
        progress: Progress,
        windows: int,
        every: int = 0,
        print: Callable[[str], object] = print,
        writes: bool = True,
    ):
        super().__init__()
        self.snapshot, self.folder, self.progress = snapshot, folder, progress
        self.writes = writes
        self.windows, self.every, self.print = windows, every, print
        self.failure = ""
        self.best: bytes | None = None  # a best that is still to be written

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.done = self.progress.step

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        before, self.done = self.done, self.progress.step  # several windows may be done at once
        passed = self.every and before // self.every < self.done // self.every
        if passed and self.done < self.windows:  # the last window's save is the epoch's
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.save()

    def save(self) -> bool:
        """Saves now; returns whether it did."""
        _ = self.model  # on JAX, brings the weights up to date
        p, self.failure = self.progress, "it was interrupted"
        now = self.snapshot()  # first, because other processes may wait for it
        if not self.writes:
            self.failure = ""
            return True
        try:
            self._write_best()  # if its save failed before
            # on disk before a file that names their length
            p.samples_size = run_folder.samples_size(self.folder)
            data = checkpoint.to_verified_bytes(now)
            if p.epoch and p.stale_epochs == 0 and not p.step:
                self.best = data
            run_folder.write_steps(self.folder, p, self.print)  # it may be ahead of the weights
            # before `last`, which must not name a best epoch whose weights are not on disk
            self._write_best()
            run_folder.write(self.folder, lookup.LAST, data)
        except checkpoint.NotFiniteError:
            self.failure = "weights are not finite"
            self.print(f"NOT SAVED: {self.failure}; the earlier files stay as they are")
            return False
        except OSError as error:
            self.failure = in_words(error)
            self.print(
                f"NOT SAVED ({self.failure}); training continues, and the next save tries again"
            )
            return False
        self.failure = ""
        run_folder.write_summary(self.folder, now, self.print)
        return True

    def _write_best(self):
        if self.best:
            run_folder.write(self.folder, lookup.BEST, self.best)
            self.best = None
