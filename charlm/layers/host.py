"""Functions of NumPy arrays as operations of whichever backend runs, on the CPU."""

import keras
import numpy as np


def usable(tensor=None):
    """Whether such an operation can stand where we are: on the CPU, and not in TensorFlow's XLA.

    Args:
        tensor: one of those that it would be given, or None to ask about the machine.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # private, but the only one who knows while a graph is made
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        xla = not tf.executing_eagerly() and GraphOrParentsInXlaContext(
            tf.compat.v1.get_default_graph()
        )
        return not (xla or tf.config.list_logical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return backend == "torch" and (tensor is None or tensor.device.type == "cpu")


def call(function, shapes, *tensors):
    """The float32 arrays that `function` makes of the tensors, given to it as arrays.

    Args:
        function: of arrays, which it must not change; returns a list of arrays.
        shapes: of the results; None in them where TensorFlow does not know a length yet.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        types = [tf.float32] * len(shapes)
        results = tf.numpy_function(function, tensors, types, stateful=False)
        return [tf.ensure_shape(x, shape) for x, shape in zip(results, shapes, strict=True)]
    if backend == "jax":
        import jax

        kinds = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        return jax.pure_callback(lambda *xs: function(*map(np.asarray, xs)), kinds, *tensors)
    import torch

    arrays = [x.detach().contiguous().numpy() for x in tensors]
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in function(*arrays)]
