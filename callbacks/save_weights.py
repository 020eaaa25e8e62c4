"""Saves a run's HDF5 weights: the last, and the best by validation."""

from pathlib import Path

import keras

from charlm import checkpoint, run_folder


class SaveWeights(keras.callbacks.Callback):
    """`last` each epoch and `best` when the held-out loss is the lowest yet.

    Weights that are not finite are never written over good ones. A save that fails leaves the files
    as they were, is told, and training goes on; `unsaved` says whether the last one did.

    Args:
        snapshot: () -> `charlm.checkpoint.Checkpoint`.
        folder: of the run. every: windows after which to save within an epoch; 0 for never.
        print: where to say that something was not saved.
    """

    def __init__(self, snapshot, folder: Path, every: int = 0, print=print):
        super().__init__()
        self.snapshot, self.folder, self.every, self.print = snapshot, folder, every, print
        self.unsaved, self.done = False, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        before, self.done = self.done, batch + 1  # several windows may be done at once
        if self.every and before // self.every < self.done // self.every:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self) -> bool:
        """Saves now; returns whether it did."""
        _ = self.model  # on JAX, brings the weights up to date
        now = self.snapshot()
        self.unsaved = True
        if not now.finite():
            self.print("weights are not finite: nothing saved, the files before stay as they are")
            return False
        now.progress.samples_size = run_folder.samples_size(self.folder)
        try:
            # the best first: a last that tells of a best which is not there could not be mended
            if now.progress.epoch and now.progress.stale_epochs == 0 and not now.progress.step:
                checkpoint.write(self.folder / run_folder.BEST, now)
            checkpoint.write(self.folder / run_folder.LAST, now)
        except OSError as error:
            self.print(f"NOT SAVED ({error}); the files are as they were, training goes on")
            return False
        self.unsaved = False
        try:
            run_folder.describe(self.folder, now)
        except OSError as error:
            self.print(f"saved, but not what there is to read of it ({error})")
        return True
