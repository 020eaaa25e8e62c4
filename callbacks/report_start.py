"""Reports once how long it took until training started."""

from collections.abc import Callable

import keras

from charlm.training.startup_timer import Timeline


class ReportStart(keras.callbacks.Callback):
    """Prints the time until the first windows were trained on, by phase.

    Args:
        timeline: a `charlm.training.startup_timer.Timeline`.
        print: prints a line.
    """

    def __init__(self, timeline: Timeline, print: Callable[[str], object] = print):
        super().__init__()
        self.timeline, self.print, self.told = timeline, print, False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.told:
            self.told = True
            self.timeline.done("compile")
            self.print(f"ready in {self.timeline}")
