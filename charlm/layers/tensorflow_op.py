"""A function of NumPy arrays as an operation of TensorFlow: see `charlm.layers.numpy_op`."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import tensorflow as tf

from charlm.layers.annotations import Shape


def operation(
    forward: Callable,
    backward: Callable,
    fallback: Callable,
    shapes: Sequence[Sequence[Shape]],
    given: Sequence[tf.Tensor],
    inputs: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, ...]:
    """Runs the operation; arguments and results are those of `numpy_op`."""
    (results, rest), k = shapes, len(inputs)

    @tf.custom_gradient
    def run(*inputs):
        found = _call(forward, [*results, *rest], [*given, *inputs])

        def gradient(*d_results):
            @tf.custom_gradient  # or TensorFlow would take its derivative for zero
            def back(*arrays):
                shapes = [x.shape for x in inputs]
                read = [*given, *arrays[:k], *found, *arrays[k:]]
                gradients = _call(backward, shapes, read)

                def second(*d_gradients):
                    results_of = partial(fallback, *given)
                    return _second_derivative(results_of, inputs, d_results, d_gradients)

                return gradients, second

            return back(*inputs, *d_results)

        return tuple(found[: len(results)]), gradient

    return run(*inputs)


def _second_derivative(run, inputs, d_results, d_gradients):
    """Differentiates the gradients of `run` by its inputs and by d_results.

    Args:
        run: *inputs -> results, by TensorFlow's own operations.
        inputs: tensors.
        d_results: dLoss/d(results).
        d_gradients: the loss's derivatives by the gradients, one for each input.
    """
    zero, k = tf.UnconnectedGradients.ZERO, len(inputs)

    @partial(tf.function, autograph=False)
    def in_a_graph(arrays, d_gradients):
        found = run(*arrays[:k])
        gradients = tf.gradients(found, arrays[:k], arrays[k:], unconnected_gradients=zero)
        return tf.gradients(gradients, arrays, d_gradients, unconnected_gradients=zero)

    # copies: for a tensor that is given twice, a tape returns the sum of both gradients
    arrays = [tf.identity(x) for x in (*inputs, *d_results)]
    inputs, d_results, d_gradients = arrays[:k], arrays[k:], list(d_gradients)
    with tf.GradientTape() as outer:
        outer.watch(arrays)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            found = run(*inputs)
        gradients = inner.gradient(found, inputs, d_results)
        connected = [g for g in gradients if g is not None]
    if not connected:  # TensorFlow's forward mode runs with tapes stopped
        return in_a_graph(arrays, d_gradients)
    wanted = [d for d, g in zip(d_gradients, gradients, strict=True) if g is not None]
    return outer.gradient(connected, arrays, wanted, zero)


def _call(function, shapes, tensors):
    if not tf.executing_eagerly() and (resource := _not_to_be_saved()) is not None:
        tf.raw_ops.VarIsInitializedOp(resource=resource)
    kinds = [tf.float32] * len(shapes)
    results = tf.numpy_function(function, tensors, kinds, stateful=False, name=NOT_FOR_XLA)
    if not isinstance(results, list):  # eagerly, a single result is not a list
        results = [results]
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
    """Creates a resource that no object owns: TensorFlow refuses to save a graph that reads it.

    Otherwise TensorFlow would save the graph without an error, and it would fail when loaded.
    """
    with tf.init_scope():
        if not tf.executing_eagerly():  # a graph of TensorFlow 1: its handle is valid only there
            return None
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=(), shared_name=NOT_TO_BE_SAVED)
