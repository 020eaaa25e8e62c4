"""Shows the progress of each epoch: loss, speed and the time left."""

import contextlib
import math
import time
from collections.abc import Callable

import keras

from charlm.notes import in_minutes, progress
from charlm.runs.progress import Progress
from charlm.text.units import CharactersPerToken


class ShowProgress(keras.callbacks.Callback):
    """Shows how far the epoch is, with its loss so far, and the time that is left for the run.

    It also shows that Keras compiles the training step, and how far validation is.

    Args:
        progress: a `charlm.runs.progress.Progress`.
        epochs: number of epochs of the whole run.
        windows: number of windows in a whole epoch.
        characters: mean number of characters in one window of all streams, B * T without tokens.
        held_out: number of windows of the held-out text.
        per_token: characters in a token.
    """

    def __init__(
        self,
        progress: Progress,
        epochs: int,
        windows: int,
        characters: float,
        held_out: int,
        per_token: CharactersPerToken = CharactersPerToken(),  # noqa: B008 - never changed
    ):
        super().__init__()
        self.progress, self.epochs, self.windows = progress, epochs, windows
        self.per_token = per_token.training
        self.characters, self.held_out = characters, held_out
        self.shown = contextlib.ExitStack()
        self.tell: Callable[..., None] = lambda n=1, figures="": None
        self.began: float | None = None  # when the first step of this process was done
        self.trained = 0  # windows since then

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.done = self.progress.step
        if self.began is None:
            self._show("compiling the training step")
        else:
            self._show_epoch()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        n, self.done = self.progress.step - self.done, self.progress.step
        if self.began is None:
            self.began = time.monotonic()
            self._show_epoch()
            return
        self.trained += n
        seconds = max(time.monotonic() - self.began, 1e-6)  # a clock may stand still for a while
        left = (self.epochs - self.progress.epoch) * self.windows - self.done
        speed = self.trained * self.characters / seconds
        bits = float(logs["loss"]) / math.log(2) / self.per_token
        thousands = f"{speed / 1000:.0f}k" if speed > 10_000 else f"{speed:.0f}"
        self.tell(
            n,
            f"{bits:.3f} bits/char, {thousands} chars/s, "
            f"run {in_minutes(seconds * left / self.trained)} left",
        )

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.measured = 0
        self._show("measuring held-out text", self.held_out)

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        before, self.measured = self.measured, min(batch + 1, self.held_out)
        self.tell(self.measured - before)  # a call may cover several windows

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the progress off the terminal."""
        self.shown.close()

    def _show_epoch(self):
        epoch = self.progress.epoch + 1
        self._show(f"epoch {epoch}/{self.epochs}", self.windows, self.done)

    def _show(self, what, total=None, first=0):
        self.shown.close()
        self.tell = self.shown.enter_context(progress(what, total, first))
