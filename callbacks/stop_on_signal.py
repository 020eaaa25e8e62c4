"""Stops a run on Ctrl-C or a polite kill: the windows at hand are finished and the run saved."""

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras

from charlm import interrupt
from charlm.errors import Stopped
from charlm.runs.checkpoint import Progress


class StopOnSignal(keras.callbacks.Callback):
    """On the first SIGINT or SIGTERM, finishes the windows at hand, saves and raises `Stopped`.

    After an epoch's last window it is the epoch that is finished, validated and saved as ever. A
    second signal ends the process at once, the files being whole.

    Args:
        save: () -> None, called between two windows.
        windows: of a whole epoch. epochs: of the whole run; one that has ended is not stopped.
        progress: a `charlm.runs.checkpoint.Progress`.
        print: where to say that the signal was heard.
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
        # once: the rest of an epoch and the epochs after it are two calls of fit, and a signal may
        # come between them
        if not self.before and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self.before[number] = signal.signal(number, self.ask)

    def restore(self) -> None:
        """Gives the signals back to whoever had them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """The signals' handler."""
        self.number = number
        for n in self.before:
            signal.signal(n, interrupt.last_handler(n))
        with contextlib.suppress(RuntimeError):  # in the middle of another print
            self.print(
                "stopping as soon as these steps are done and saved; once more to leave at once"
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
