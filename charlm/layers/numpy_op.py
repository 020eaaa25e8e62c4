"""Functions of NumPy arrays as operations of Keras's current backend, on the CPU."""

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from charlm.layers.annotations import Shape, Tensor, Tensors


def is_supported(tensor: Tensor | None = None) -> bool:
    """Returns whether such an operation can run here: on the CPU, and not in TensorFlow's XLA.

    Args:
        tensor: one of its arguments, or None to ask about the machine.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # private, but no public function says it while a graph is traced
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        xla = graph is not None and GraphOrParentsInXlaContext(graph)
        return not (xla or on_gpu() or _vectorized(graph))
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    place = keras.ops.zeros(()) if tensor is None else tensor
    return backend == "torch" and place.device.type == "cpu"


def _vectorized(graph):
    """Returns whether a TensorFlow graph is the body of a `tf.vectorized_map`.

    That copies operations without their custom gradients, so TensorFlow would take the gradient of
    a NumPy function for zero.
    """
    while graph is not None:
        # TensorFlow calls the first in a graph loop_body, the second loop_body_1
        if re.search(r"(^|/)loop_body(_\d+)?(/|$)", graph.get_name_scope()):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def on_gpu() -> bool:
    """Returns whether the backend puts new tensors on a GPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    return backend == "torch" and keras.ops.zeros(()).device.type == "cuda"


def is_faster(tensor: Tensor) -> bool:
    """Returns whether machine code is faster than the backend outside loops: products, sums.

    It is in float32 on TensorFlow. JAX fuses such operations itself, and torch's threads stay busy
    for a while after each of its operations and slow other threads down.
    """
    if not (keras.backend.backend() == "tensorflow" and tensor.dtype == "float32"):
        return False
    return load_kernel("jit") is not None and is_supported(tensor)


def load_kernel(name: str) -> Any:
    """Imports a module of `charlm.kernels`; None if it does not exist or Numba does not load."""
    try:
        return importlib.import_module(f"charlm.kernels.{name}")
    except ImportError:
        return None


def numpy_op(
    forward: Callable,
    backward: Callable,
    fallback: Callable,
    shapes: Sequence[Sequence[Shape]],
    given: Sequence[Tensor],
    inputs: Sequence[Tensor],
    batch_axes: Sequence[int | None] | None = None,
) -> Tensors:
    """Runs NumPy functions as one operation with a gradient.

    For second derivatives, and on JAX also forward mode and `vmap`, the backend differentiates the
    fallback, which is slower.

    Args:
        forward: (*given, *inputs) -> list of arrays: results, and what only `backward` needs.
        backward: (*given, *inputs, *all arrays from `forward`, *dLoss/d(results)) -> list of
            dLoss/d(inputs).
        fallback: (*given, *inputs) -> the results, from tensors by the backend's own operations.
        shapes: a list of the results' shapes and a list of the other arrays' shapes; None in a
            shape is a length that TensorFlow does not know yet.
        given: tensors without a gradient.
        inputs: tensors with a gradient.
        batch_axes: for each of `given` and `inputs` the axis of its sequences, or None. Where a
            `keras.distribution` divides batches among devices of JAX, each runs the functions for
            its own sequences. Results have them on the first axis.

    Returns:
        The results, a tuple of tensors, all in float32. Functions must not change their arguments.
    """
    if keras.backend.backend() == "jax":
        return _jax(forward, backward, fallback, shapes, given, inputs, batch_axes)
    make = {"tensorflow": _tensorflow, "torch": _torch}[keras.backend.backend()]
    return make(forward, backward, fallback, shapes, given, inputs)


def _tensorflow(forward, backward, fallback, shapes, given, inputs):
    from charlm.layers import tensorflow_op

    return tensorflow_op.operation(forward, backward, fallback, shapes, given, inputs)


def _jax(forward, backward, fallback, shapes, given, inputs, batch_axes):
    import jax

    from charlm.layers import jax_op

    results, rest = shapes
    kinds = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (*results, *rest)]
    functions = jax_op.Functions(forward, backward, fallback, len(inputs), kinds, len(results))
    distribution = keras.distribution.distribution()
    if distribution is None or batch_axes is None:
        return jax_op.operation(functions, *given, *inputs)
    mesh, axis = distribution.device_mesh.backend_mesh, distribution.batch_dim_name
    return jax_op.divided(functions, mesh, axis, batch_axes, *given, *inputs)


def _torch(forward, backward, fallback, shapes, given, inputs):
    from charlm.layers import torch_op

    functions = forward, backward, fallback, given
    return torch_op.Operation.apply(functions, len(shapes[0]), *inputs)
