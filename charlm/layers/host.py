"""Functions of NumPy arrays as operations of whichever backend runs, on the CPU."""

import importlib

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
    place = keras.ops.zeros(()) if tensor is None else tensor
    return backend == "torch" and place.device.type == "cpu"


def pays(tensor):
    """Whether machine code is quicker than the backend for what is no loop: products, sums.

    So it is in float32 on TensorFlow. JAX fuses such operations itself, and torch's threads stay
    busy for a while after each of its own, in the way of others.
    """
    if not (keras.backend.backend() == "tensorflow" and tensor.dtype == "float32"):
        return False
    return machine_code("compiler") is not None and usable(tensor)


def machine_code(name):
    """A module of `charlm.compiled`, or None where there is no such or no Numba that loads."""
    try:
        return importlib.import_module(f"charlm.compiled.{name}")
    except ImportError:
        return None


def operation(forward, backward, shapes, given, inputs):
    """An operation of NumPy functions, with its gradient.

    Args:
        forward: (*given, *inputs) -> list of arrays: results, and what only `backward` needs.
        backward: (*given, *inputs, *all that `forward` returned, *dLoss/d(results)) -> list of
            dLoss/d(inputs).
        shapes: a list of those of the results and a list of those of the rest; None in them where
            TensorFlow does not know a length yet.
        given: tensors that are not differentiated. inputs: tensors that are.

    Returns:
        The results, a tuple of tensors. All are float32; functions must not change what they get.
    """
    results, rest = shapes
    n = len(results)

    def run(*inputs):
        return _call(forward, [*results, *rest], *given, *inputs)

    def run_backward(inputs, found, d_results):
        kinds = [x.shape for x in inputs]
        return tuple(_call(backward, kinds, *given, *inputs, *found, *d_results))

    if keras.backend.backend() == "torch":
        return _torch_operation(run, run_backward, n, inputs)
    differentiable = keras.ops.custom_gradient  # on torch it takes one result only

    @differentiable
    def operation(*inputs):
        found = run(*inputs)

        def gradient(*d_results):
            if keras.backend.backend() == "jax":
                (d_results,) = d_results
            return run_backward(inputs, found, d_results)

        return tuple(found[:n]), gradient

    return operation(*inputs)


def _torch_operation(run, run_backward, n, inputs):
    import torch

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(context, *inputs):
            found = run(*inputs)
            context.save_for_backward(*inputs, *found)
            return tuple(found[:n])

        @staticmethod
        def backward(context, *d_results):
            saved, k = context.saved_tensors, len(inputs)
            return run_backward(saved[:k], saved[k:], d_results)

    return Operation.apply(*inputs)


def _call(function, shapes, *tensors):
    """The float32 tensors that `function` of arrays makes."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        types = [tf.float32] * len(shapes)
        results = tf.numpy_function(function, tensors, types, stateful=False)
        results = results if isinstance(results, list) else [results]  # run eagerly, one is no list
        return [tf.ensure_shape(x, shape) for x, shape in zip(results, shapes, strict=True)]
    if backend == "jax":
        import jax

        kinds = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        return jax.pure_callback(lambda *xs: function(*map(np.asarray, xs)), kinds, *tensors)
    import torch

    arrays = [x.detach().contiguous().numpy() for x in tensors]
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in function(*arrays)]
