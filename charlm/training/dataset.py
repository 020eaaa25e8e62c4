"""Feeds the windows of `charlm.text.windows` to Keras."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from charlm.errors import InputError
from charlm.text.windows import HeldOutWindows, TrainingWindows

CHUNK = 2**16  # characters per call; with single windows of 1,000, calls took 0.7 ms of each step


def batches(windows: TrainingWindows | HeldOutWindows, own: slice = slice(None)) -> Any:
    """Returns windows for `fit` and `evaluate`, in the form that the backend reads fastest.

    Args:
        windows: a `TrainingWindows` or `HeldOutWindows`; read again in every epoch.
        own: the streams of these windows that are read; all on TensorFlow.
    """
    if keras.backend.backend() == "tensorflow":
        return _dataset(windows)
    return Batches(windows, own)


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

    def __init__(self, windows: TrainingWindows | HeldOutWindows, own: slice = slice(None)):
        super().__init__()
        self.windows, self.own = windows, own

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, step):
        return keras.tree.map_structure(lambda rows: rows[self.own], self.windows[step])


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
