"""Functions of NumPy arrays as operations of whichever backend runs, on the CPU."""

import importlib
import re
from functools import cache, partial

import keras
import numpy as np


def is_supported(tensor=None):
    """Whether such an operation can stand where we are: on the CPU, and not in TensorFlow's XLA.

    Args:
        tensor: one of those that it would be given, or None to ask about the machine.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # private, but the only one who knows while a graph is made
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
    """Whether a TensorFlow graph is the body of a `tf.vectorized_map`.

    It copies operations without their custom gradients, and then TensorFlow takes the gradient of a
    NumPy function for zero.
    """
    while graph is not None:
        # TensorFlow calls the first in a graph loop_body, the second loop_body_1
        if re.search(r"(^|/)loop_body(_\d+)?(/|$)", graph.get_name_scope()):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def on_gpu():
    """Whether the backend puts new tensors on a GPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    return backend == "torch" and keras.ops.zeros(()).device.type == "cuda"


def is_faster(tensor):
    """Whether machine code is quicker than the backend for what is no loop: products, sums.

    So it is in float32 on TensorFlow. JAX fuses such operations itself, and torch's threads stay
    busy for a while after each of its own, in the way of others.
    """
    if not (keras.backend.backend() == "tensorflow" and tensor.dtype == "float32"):
        return False
    return load_kernel("jit") is not None and is_supported(tensor)


def load_kernel(name):
    """A module of `charlm.kernels`, or None where there is no such or no Numba that loads."""
    try:
        return importlib.import_module(f"charlm.kernels.{name}")
    except ImportError:
        return None


def numpy_op(forward, backward, fallback, shapes, given, inputs):
    """An operation of NumPy functions, with its gradient.

    What its gradient does not serve (second derivatives; on JAX also forward mode and `vmap`) is
    derived by the backend from the fallback, slower.

    Args:
        forward: (*given, *inputs) -> list of arrays: results, and what only `backward` needs.
        backward: (*given, *inputs, *all that `forward` returned, *dLoss/d(results)) -> list of
            dLoss/d(inputs).
        fallback: (*given, *inputs) -> the results, of tensors by the backend's own operations.
        shapes: a list of those of the results and a list of those of the rest; None in them where
            TensorFlow does not know a length yet.
        given: tensors that are not differentiated. inputs: tensors that are.

    Returns:
        The results, a tuple of tensors. All are float32; functions must not change what they get.
    """
    make = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return make(forward, backward, fallback, shapes, given, inputs)


def _tensorflow(forward, backward, fallback, shapes, given, inputs):
    import tensorflow as tf

    (results, rest), k = shapes, len(inputs)
    zero = tf.UnconnectedGradients.ZERO

    def second_derivative(arrays, d_gradients):
        # copies: of a tensor that is given twice, a tape returns the sum of both gradients
        arrays = [tf.identity(x) for x in arrays]
        inputs, d_results = arrays[:k], arrays[k:]
        with tf.GradientTape() as outer:
            outer.watch(arrays)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                found = fallback(*given, *inputs)
            gradients = inner.gradient(found, inputs, d_results)
            connected = [g for g in gradients if g is not None]
        if not connected:  # TensorFlow's forward mode runs with tapes stopped
            return in_a_graph(arrays, d_gradients)
        wanted = [d for d, g in zip(d_gradients, gradients, strict=True) if g is not None]
        return outer.gradient(connected, arrays, wanted, zero)

    @partial(tf.function, autograph=False)
    def in_a_graph(arrays, d_gradients):
        found = fallback(*given, *arrays[:k])
        gradients = tf.gradients(found, arrays[:k], arrays[k:], unconnected_gradients=zero)
        return tf.gradients(gradients, arrays, d_gradients, unconnected_gradients=zero)

    @tf.custom_gradient
    def operation(*inputs):
        found = _call(forward, [*results, *rest], [*given, *inputs])

        def gradient(*d_results):
            @tf.custom_gradient  # or TensorFlow would take its derivative for zero
            def back(*arrays):
                shapes = [x.shape for x in inputs]
                arrays = [*given, *arrays[:k], *found, *arrays[k:]]
                gradients = _call(backward, shapes, arrays)
                return gradients, lambda *d: second_derivative([*inputs, *d_results], list(d))

            return back(*inputs, *d_results)

        return tuple(found[: len(results)]), gradient

    return operation(*inputs)


def _call(function, shapes, tensors):
    import tensorflow as tf

    if not tf.executing_eagerly() and (resource := _not_to_be_saved()) is not None:
        tf.raw_ops.VarIsInitializedOp(resource=resource)
    kinds = [tf.float32] * len(shapes)
    results = tf.numpy_function(function, tensors, kinds, stateful=False, name=NOT_FOR_XLA)
    results = results if isinstance(results, list) else [results]  # run eagerly, one is no list
    return [tf.ensure_shape(x, shape) for x, shape in zip(results, shapes, strict=True)]


# TensorFlow prints these names when it refuses such a graph, so they tell the user what to do.
NOT_FOR_XLA = (
    "charlm_machine_code.If_XLA_refuses_it_"
    "give_jit_compile_to_the_inner_function_too_or_set_layer.compiled_training_to_False"
)
NOT_TO_BE_SAVED = (
    "charlm: a graph with machine code runs in no other process. Call the layer with "
    "training=False in what is to be saved, or set layer.compiled_training = False before."
)


@cache
def _not_to_be_saved():
    """A resource that no object owns: TensorFlow refuses to save a graph that reads it.

    Without it such a graph would be saved without a word, and fail wherever it is loaded.
    """
    import tensorflow as tf

    with tf.init_scope():
        if not tf.executing_eagerly():  # in a graph of TensorFlow 1, whose handle serves it alone
            return None
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=(), shared_name=NOT_TO_BE_SAVED)


def _jax(forward, backward, fallback, shapes, given, inputs):
    import jax

    from charlm.layers import jax_op

    results, rest = shapes
    kinds = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (*results, *rest)]
    functions = jax_op.Functions(forward, backward, fallback, len(inputs), kinds, len(results))
    return jax_op.operation(functions, *given, *inputs)


def _torch(forward, backward, fallback, shapes, given, inputs):
    functions = forward, backward, fallback, given
    return _torch_operation().apply(functions, len(shapes[0]), *inputs)


@cache
def _torch_operation():
    import torch

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(context, functions, results, *inputs):
            run, _, _, given = context.functions = functions
            found = _on_host(run, [*given, *inputs])
            context.save_for_backward(*inputs, *found)
            return tuple(found[:results])

        @staticmethod
        def backward(context, *d_results):
            (_, run, fallback, given), saved = context.functions, context.saved_tensors
            inputs = saved[: len(context.needs_input_grad) - 2]
            if not torch.is_grad_enabled():
                return None, None, *_on_host(run, [*given, *saved, *d_results])
            # The gradient is to be differentiated too. Of views, since one input may be computed
            # from another or be given twice, and what is wanted are partial derivatives.
            inputs = [x.view_as(x) for x in inputs]
            found = fallback(*given, *inputs)
            wanted = [x for x in inputs if x.requires_grad]
            made = iter(torch.autograd.grad(found, wanted, d_results, create_graph=True))
            return None, None, *(next(made) if x.requires_grad else None for x in inputs)

    return Operation


def _on_host(function, tensors):
    import torch

    arrays = [x.detach().contiguous().numpy() for x in tensors]
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in function(*arrays)]
