"""`charlm.windows` as Keras reads them."""

import keras
import numpy as np

CHUNK = 2**16  # characters a call: asked for one by one, windows of 1,000 took 0.7 ms of each step


def batches(windows):
    """Windows for `fit` and `evaluate`, in the form that their backend reads quickest.

    Args:
        windows: a `TrainingWindows` or `HeldOutWindows`; asked anew in every epoch.
    """
    return _dataset(windows) if keras.backend.backend() == "tensorflow" else Batches(windows)


class Batches(keras.utils.PyDataset):
    """Windows one by one."""

    def __init__(self, windows):
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
            yield windows[np.arange(k, min(k + chunk, n))]

    signature = tf.nest.map_structure(specification, first)
    chunked = tf.data.Dataset.from_generator(chunks, output_signature=signature).prefetch(1)
    return chunked.unbatch().apply(tf.data.experimental.assert_cardinality(n))
