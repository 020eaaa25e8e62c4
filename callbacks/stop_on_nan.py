"""Stops a run when the loss is NaN, infinite or has exploded."""

import math

import keras

from charlm.errors import NonFiniteLossError
from charlm.runs.progress import Progress

EXPLODED = 100.0  # nats per character or token; a uniform distribution over a million has 14


class StopOnNaN(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` soon after the loss becomes NaN or exceeds `EXPLODED`.

    It checks whenever Keras reports a loss, which is every few windows. It also checks an epoch's
    training and held-out loss before they are reported or saved.

    Args:
        progress: a `charlm.runs.progress.Progress`.
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
            found = "NaN" if math.isnan(loss) else f"{loss:.3g} nats"
            raise NonFiniteLossError(
                f"the loss became {found} in epoch {self.progress.epoch + 1}; the files "
                "saved before stay as they are; a lower --learning-rate or --clip-norm may help"
            )
