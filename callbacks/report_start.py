"""Tells, once, how long it took until the model trained."""

from collections.abc import Callable

import keras

from charlm.training.startup_timer import Timeline


class ReportStart(keras.callbacks.Callback):
    """One line when the first windows have been trained on: where the time until then went.

    Args:
        timeline: a `charlm.training.startup_timer.Timeline`. print: where to.
    """

    def __init__(self, timeline: Timeline, print: Callable[[str], object] = print):
        super().__init__()
        self.timeline, self.print, self.told = timeline, print, False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.told:
            self.told = True
            self.timeline.done("compile")
            self.print(f"ready in {self.timeline}")
