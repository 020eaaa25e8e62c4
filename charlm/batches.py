"""`charlm.windows` as Keras reads them."""

import keras


class Batches(keras.utils.PyDataset):
    """Windows for `fit` and `evaluate`, which want a dataset of Keras's own kind.

    Args:
        windows: a `TrainingWindows` or `HeldOutWindows`.
    """

    def __init__(self, windows):
        super().__init__()
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, step):
        return self.windows[step]

    def on_epoch_begin(self):
        self.windows.on_epoch_begin()
