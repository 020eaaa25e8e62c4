"""`charlm.text.windows` as Keras reads them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from charlm.errors import InputError
from charlm.text.windows import HeldOutWindows, TrainingWindows

CHUNK = 2**16  # characters a call: asked for one by one, windows of 1,000 took 0.7 ms of each step


def batches(windows: TrainingWindows | HeldOutWindows) -> Any:
    """Windows for `fit` and `evaluate`, in the form that their backend reads quickest.

    Args:
        windows: a `TrainingWindows` or `HeldOutWindows`; asked anew in every epoch.
    """
    return _dataset(windows) if keras.backend.backend() == "tensorflow" else Batches(windows)


@contextlib.contextmanager
def errors_of(windows: object) -> Iterator[None]:
    """Raises the error of `windows` in the place of the one that TensorFlow makes of it."""
    try:
        yield
    except Exception:
        if error := getattr(windows, "error", None):
            raise error from None
        raise


class Batches(keras.utils.PyDataset):
    """Windows one by one."""

    def __init__(self, windows: TrainingWindows | HeldOutWindows):
        super().__init__()
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, step):
        return self.windows[step]


def _dataset(windows):
    """Windows many at a time, made ready beside the training and taken apart by TensorFlow."""
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
