"""Tells, once, how long it took until the model trained."""

import keras


class ReportStart(keras.callbacks.Callback):
    """One line when the first windows have been trained on: where the time until then went.

    Args:
        timeline: a `charlm.training.startup_timer.Timeline`. print: where to.
    """

    def __init__(self, timeline, print=print):
        super().__init__()
        self.timeline, self.print, self.told = timeline, print, False

    def on_train_batch_end(self, batch, logs=None):
        if not self.told:
            self.told = True
            self.timeline.done("compile")
            self.print(f"ready in {self.timeline}")
