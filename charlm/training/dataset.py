"""Feeds the windows of `charlm.text.windows` to Keras."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from charlm.errors import InputError
from charlm.text.windows import HeldOutWindows, TrainingWindows
from charlm.training.processes import ALONE, Processes

CHUNK = 2**16  # characters per call; with single windows of 1,000, calls took 0.7 ms of each step


def batches(windows: TrainingWindows | HeldOutWindows, processes: Processes = ALONE) -> Any:
    """Returns windows for `fit` and `evaluate`, in the form that the backend reads fastest.

    Args:
        windows: a `TrainingWindows` or `HeldOutWindows`; read again in every epoch.
        processes: the processes that read together, each its own streams; JAX only.
    """
    if keras.backend.backend() == "tensorflow":
        return _dataset(windows)
    return Batches(windows, processes)


@contextlib.contextmanager
def errors_of(windows: object) -> Iterator[None]:
    """Raises the original error of `windows` instead of TensorFlow's error about it."""
    try:
        yield
    except Exception:
        if error := getattr(windows, "error", None):
            raise error from None
        raise


class Batches(keras.utils.PyDataset):
    """Windows as a Keras data set, one window per item."""

    def __init__(self, windows: TrainingWindows | HeldOutWindows, processes: Processes = ALONE):
        super().__init__()
        self.windows, self.processes = windows, processes

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, step):
        found = self.windows[step]
        return found if self.processes.count == 1 else keras.tree.map_structure(self._own, found)

    def _own(self, array):
        """Returns the rows of an array (B, ...) that this process reads."""
        each = len(array) // self.processes.count
        return array[self.processes.index * each :][:each]


def _dataset(windows):
    """Prefetches windows in chunks, which TensorFlow splits into single windows."""
    import tensorflow as tf

    def specification(x):
        return tf.TensorSpec((None, *x.shape[1:]), x.dtype)

    n = len(windows)
    first = windows[np.arange(1)]
    chunk = max(1, CHUNK // first[1].size)

    def chunks():
        for k in range(0, n, chunk):
            try:
                found = windows[np.arange(k, min(k + chunk, n))]
            except InputError as error:  # the text is damaged
                windows.error = error
                raise
            yield found

    signature = tf.nest.map_structure(specification, first)
    chunked = tf.data.Dataset.from_generator(chunks, output_signature=signature).prefetch(1)
    return chunked.unbatch().apply(tf.data.experimental.assert_cardinality(n))
