"""Saves a run's HDF5 weights when an epoch ends: the last, and the best by validation."""

from pathlib import Path

import keras

from charlm import checkpoint, run_folder


class SaveWeights(keras.callbacks.Callback):
    """`last` each epoch and `best` when the held-out loss is the lowest yet.

    Weights that are not finite are never written over good ones.

    Args:
        snapshot: () -> `charlm.checkpoint.Checkpoint`.
        folder: of the run. print: where to say that something was not saved.
    """

    def __init__(self, snapshot, folder: Path, print=print):
        super().__init__()
        self.snapshot, self.folder, self.print = snapshot, folder, print

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self) -> bool:
        """Saves now; returns whether it did."""
        _ = self.model  # on JAX, brings the weights up to date
        now = self.snapshot()
        if not now.finite():
            self.print("weights are not finite: nothing saved, the files before stay as they are")
            return False
        # the best first: a last that tells of a best which is not there could not be mended
        if now.progress.epoch and now.progress.stale_epochs == 0 and not now.progress.step:
            checkpoint.write(self.folder / run_folder.BEST, now)
        run_folder.save_last(self.folder, now)
        return True
