"""Checks of integer ids."""

import keras
import numpy as np
from keras import ops


def checked_ids(ids: keras.KerasTensor, count: int, name: str = "ids") -> keras.KerasTensor:
    """Checks that ids are whole numbers from 0 to count - 1, and converts them to int32.

    Args:
        ids: a tensor of any numeric dtype.
        count: the number of ids.
        name: what the error calls them.

    Returns:
        ids in int32. Under XLA (inside `jax.jit` and `jit_compile=True`), which cannot raise,
        `count` replaces every number that is not an id.

    Raises:
        ValueError: a number that is not an id. In a TensorFlow graph this is
            `tf.errors.InvalidArgumentError`, raised when the graph runs.
    """
    ids = ops.convert_to_tensor(ids)
    if keras.backend.standardize_dtype(ids.dtype) in ("bool", "int8", "uint8", "int16", "uint16"):
        ids = ops.cast(ids, "int32")  # or count might not fit into the dtype
    fits = ops.logical_and(ids >= 0, ids < count)
    if not keras.backend.is_int_dtype(ids.dtype):
        fits = ops.logical_and(fits, ops.floor(ids) == ids)
    message = f"Expected {name} to be whole numbers from 0 to {count - 1}. Received: "
    if _is_known(fits):
        found, right = (ops.convert_to_numpy(x) for x in (ids, fits))
        if not right.all():
            raise ValueError(f"{message}{np.asarray(found)[~right][0]}")
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        first = tf.boolean_mask(ids, tf.logical_not(fits))[:1]
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fits), [message, first])]):
            fits = tf.identity(fits)
    return ops.where(fits, ops.cast(ids, "int32"), count)


def _is_known(tensor):
    """Returns whether a tensor has values yet, or stands for those of a graph."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return hasattr(tensor, "numpy")
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    return True
