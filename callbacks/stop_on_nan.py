"""Stops a run whose loss is no number any more."""

import math

import keras

CHECK_EVERY = 20  # windows: reading the loss waits for the device


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite."""


class StopOnNaN(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` soon after the loss is no number, before anything is saved."""

    def on_train_batch_end(self, batch, logs=None):
        if batch % CHECK_EVERY == 0:
            self._check(logs["loss"])

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs):
        self._check(logs["loss"])

    def _check(self, loss):
        if not math.isfinite(float(loss)):
            raise NonFiniteLossError(
                f"the loss became {float(loss)} in epoch {self.epoch + 1}; nothing was saved since "
                "the epoch before; a lower --learning-rate or --clip-norm may help"
            )
