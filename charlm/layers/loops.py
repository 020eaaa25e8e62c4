"""Loops over time around any step function. They know no gates.

Arrays are time-major: axis 0 is time, so that one step's slice is contiguous.
"""

from collections.abc import Callable

import keras
from keras import ops

from charlm.layers.annotations import Tensors


def scan(
    step: Callable[[Tensors, Tensors], tuple[Tensors, Tensors]],
    states: Tensors,
    xs: Tensors,
    *,
    reverse: bool = False,
    unroll: bool = False,
) -> tuple[Tensors, Tensors]:
    """Runs `step` over axis 0 of `xs`, as this plain Python loop does:

        outputs = []
        for t in range(T):                      # from T-1 down to 0 if `reverse`
            states, output = step(states, tuple(x[t] for x in xs))
            outputs.append(output)              # put in front if `reverse`
        return states, tuple(stack(o) for o in zip(*outputs))

    Args:
        step: (states, xs at t) -> (states, outputs at t), all tuples of tensors.
        states: tuple of tensors, the states before the first step.
        xs: tuple of tensors (T, ...).
        reverse: go from the last step to the first; outputs stay in the order of `xs`.
        unroll: write out the loop; T must be known.

    Returns:
        The states after the last step, and a tuple of outputs (T, ...).
    """
    if unroll or keras.backend.backend() == "torch":
        return _plain_loop(step, states, xs, reverse)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_loop(step, states, xs, reverse)
    return ops.scan(step, states, xs, reverse=reverse)


def _plain_loop(step, states, xs, reverse):
    T = xs[0].shape[0]
    outputs = []
    for t in reversed(range(T)) if reverse else range(T):
        states, output = step(states, tuple(x[t] for x in xs))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return states, tuple(ops.stack(o) for o in zip(*outputs, strict=True))


def _tensorflow_loop(step, states, xs, reverse):
    """Loops on TensorFlow, where `keras.ops.scan` requires outputs of the states' shapes.

    The first step runs before the loop and gives the number and the types of the outputs.
    """
    import tensorflow as tf

    T, length = tf.shape(xs[0])[0], xs[0].shape[:1]
    first, ahead = (T - 1, -1) if reverse else (0, 1)
    xs = [tf.TensorArray(x.dtype, T, element_shape=x.shape[1:]).unstack(x) for x in xs]
    states, output = step(states, tuple(x.read(first) for x in xs))
    outputs = tuple(tf.TensorArray(o.dtype, T, element_shape=o.shape) for o in output)

    def body(k, states, outputs):
        t = first + ahead * k
        states, output = step(states, tuple(x.read(t) for x in xs))
        return k + 1, states, tuple(a.write(t, o) for a, o in zip(outputs, output, strict=True))

    outputs = tuple(a.write(first, o) for a, o in zip(outputs, output, strict=True))
    _, states, outputs = tf.while_loop(
        lambda k, *_: k < T,
        body,
        (1, states, outputs),
        maximum_iterations=T,
    )
    # later layers, such as keras.layers.TimeDistributed, may need the length
    return states, tuple(tf.ensure_shape(a.stack(), length + a.element_shape) for a in outputs)
