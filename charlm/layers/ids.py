"""Checks that ids are whole numbers from 0 to count - 1."""

import keras
import numpy as np
from keras import ops


def checked_ids(ids, count, name="ids"):
    """Whole numbers of any type as int32.

    Args:
        ids: a tensor. count: they go from 0 to count - 1. name: of them, in the error.

    Returns:
        int32; `count` stands for what is no such number and cannot be refused, because a compiled
        program has no way to: under XLA, that is inside `jax.jit` and `jit_compile=True`.

    Raises:
        ValueError: another number. In a TensorFlow graph it is `tf.errors.InvalidArgumentError`,
            when the graph runs.
    """
    ids = ops.convert_to_tensor(ids)
    if keras.backend.standardize_dtype(ids.dtype) in ("bool", "int8", "uint8", "int16", "uint16"):
        ids = ops.cast(ids, "int32")  # or count itself might not fit into the type
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
    """Whether the numbers can be looked at, or are those of a graph to come."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return hasattr(tensor, "numpy")
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    return True
