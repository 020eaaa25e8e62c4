"""Stops a run on Ctrl-C or SIGTERM, after finishing the current windows and saving the run."""

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras

from charlm import interrupt
from charlm.errors import Stopped
from charlm.runs.progress import Progress


class StopOnSignal(keras.callbacks.Callback):
    """On the first SIGINT or SIGTERM, finishes the current windows, saves and raises `Stopped`.

    If the last window of an epoch is done, the epoch is validated and saved as usual first. A
    second signal ends the process when the current step returns; the files on disk are complete
    at any time.

    Args:
        save: () -> None, called between two windows.
        windows: number of windows in a whole epoch.
        epochs: number of epochs of the whole run; a run that has done them is not stopped.
        progress: a `charlm.runs.progress.Progress`.
        print: prints a line when the signal arrives.
    """

    def __init__(
        self,
        save: Callable[[], object],
        windows: int,
        epochs: int,
        progress: Progress,
        print: Callable[[str], object] = print,
    ):
        super().__init__()
        self.save, self.windows, self.epochs = save, windows, epochs
        self.progress, self.print = progress, print
        self.number: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        # only once: the rest of an epoch and the epochs after it are two calls of fit, and a signal
        # may arrive between them
        if not self.before and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self.before[number] = signal.signal(number, self.ask)

    def restore(self) -> None:
        """Restores the earlier signal handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Handles the signals."""
        self.number = number
        for n, handler in self.before.items():
            last = interrupt.last_handler(n)  # SIG_DFL counts as false
            signal.signal(n, handler if last is None else last)
        with contextlib.suppress(RuntimeError):  # in the middle of another print
            self.print(
                "stopping after these steps are done and saved; press Ctrl-C again to stop at once"
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.number and self.progress.step < self.windows:
            self.save()
            self._leave(self.number)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.number and self.progress.epoch < self.epochs and not self.model.stop_training:
            self._leave(self.number)

    def _leave(self, number):
        self.restore()
        raise Stopped(number)
