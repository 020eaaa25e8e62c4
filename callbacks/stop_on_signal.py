"""Stops a run on Ctrl-C or a polite kill: the windows at hand are finished and the run saved."""

import contextlib
import signal
import threading

import keras

from charlm import interrupt
from charlm.errors import Stopped


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

    def __init__(self, save, windows, epochs, progress, print=print):
        super().__init__()
        self.save, self.windows, self.epochs = save, windows, epochs
        self.progress, self.print = progress, print
        self.number, self.before = None, {}

    def on_train_begin(self, logs=None):
        # once: the rest of an epoch and the epochs after it are two calls of fit, and a signal may
        # come between them
        if not self.before and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self.before[number] = signal.signal(number, self.ask)

    def restore(self):
        """Gives the signals back to whoever had them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ask(self, number, frame=None):
        """The signals' handler."""
        self.number = number
        for n, handler in self.before.items():
            signal.signal(n, interrupt.last_handler(n) or handler)
        with contextlib.suppress(RuntimeError):  # in the middle of another print
            self.print(
                "stopping as soon as these steps are done and saved; once more to leave at once"
            )

    def on_train_batch_end(self, batch, logs=None):
        if self.number and self.progress.step < self.windows:
            self.save()
            self._leave()

    def on_epoch_end(self, epoch, logs=None):
        if self.number and self.progress.epoch < self.epochs and not self.model.stop_training:
            self._leave()

    def _leave(self):
        self.restore()
        raise Stopped(self.number)
