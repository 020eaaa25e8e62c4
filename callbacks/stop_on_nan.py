"""Stops a run whose loss is no number any more, or beyond all reason."""

import math

import keras

from charlm.errors import NonFiniteLossError
from charlm.runs.checkpoint import Progress

EXPLODED = 100.0  # nats a character; knowing nothing of a million characters costs 14


class StopOnNaN(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` soon after the loss is no number or above `EXPLODED`.

    It looks whenever Keras has a loss to tell, which is every few windows, and, before anything of
    it is told or saved, at an epoch's training and held-out loss.

    Args:
        progress: a `charlm.runs.checkpoint.Progress`.
    """

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._check(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        for name in ("loss", "val_loss"):
            self._check(logs[name])

    def _check(self, loss):
        loss = float(loss)
        if not abs(loss) <= EXPLODED:
            found = "no number" if math.isnan(loss) else f"{loss:.3g} nats a character"
            raise NonFiniteLossError(
                f"the loss became {found} in epoch {self.progress.epoch + 1}; what was saved "
                "before stays as it is; a lower --learning-rate or --clip-norm may help"
            )
