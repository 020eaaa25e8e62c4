"""The seed of all random numbers in training."""

import keras
from keras.src.utils.module_utils import tensorflow


def set_random_seed(seed: int) -> None:
    """Sets the seeds of Python, NumPy and the backend, as `keras.utils.set_random_seed` does.

    On another backend that function would also load TensorFlow, which takes seconds, and set its
    seed.
    """
    if keras.backend.backend() == "tensorflow":
        keras.utils.set_random_seed(seed)
        return
    before, tensorflow._available = tensorflow._available, False
    try:
        keras.utils.set_random_seed(seed)
    finally:
        tensorflow._available = before
