"""Stops a run on Ctrl-C or SIGTERM, after finishing the current windows and saving the run."""

import contextlib
import os
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
        is_to_stop: (number of earlier calls) -> whether one of several processes got SIGTERM, in
            all of them after the same call; None in a process that trains alone. SIGTERM has a
            handler already, which ignores a second one, and SIGINT is turned into it.
    """

    def __init__(
        self,
        save: Callable[[], object],
        windows: int,
        epochs: int,
        progress: Progress,
        print: Callable[[str], object] = print,
        is_to_stop: Callable[[int], bool] | None = None,
    ):
        super().__init__()
        self.save, self.windows, self.epochs = save, windows, epochs
        self.progress, self.print, self.is_to_stop = progress, print, is_to_stop
        self.calls, self.asked = 0, signal.SIGTERM
        self.number: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        # only once: the rest of an epoch and the epochs after it are two calls of fit, and a signal
        # may arrive between them
        if not self.before and threading.current_thread() is threading.main_thread():
            alone = self.is_to_stop is None
            for number in (signal.SIGINT, signal.SIGTERM) if alone else (signal.SIGINT,):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self.before[number] = signal.signal(number, self.ask)

    def restore(self) -> None:
        """Restores the earlier signal handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Handles the signals."""
        if self.is_to_stop:
            self.asked = signal.Signals(number)
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.number = number
        for n, handler in self.before.items():
            last = interrupt.last_handler(n)  # SIG_DFL counts as false
            signal.signal(n, handler if last is None else last)
        self._tell(
            "stopping after these steps are done and saved; press Ctrl-C again to stop at once"
        )

    def _tell(self, line):
        with contextlib.suppress(RuntimeError):  # in the middle of another print
            self.print(line)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.is_to_stop and not self.number and self.is_to_stop(self.calls):
            self.number = self.asked
            self._tell("stopping all processes after these steps are done and saved")
        self.calls += 1
        if self.number and self.progress.step < self.windows:
            self.save()
            self._leave(self.number)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.number and self.progress.epoch < self.epochs and not self.model.stop_training:
            self._leave(self.number)

    def _leave(self, number):
        self.restore()
        raise Stopped(number)
