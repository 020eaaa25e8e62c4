"""The training loss: softmax cross-entropy of logits, in nats, at every position."""

import keras
from keras import ops

from charlm.layers import numpy_op
from charlm.layers.ids import checked_ids


@keras.saving.register_keras_serializable(package="charlm")
class CrossEntropy(keras.losses.Loss):
    """Computes `keras.losses.SparseCategoricalCrossentropy(from_logits=True)` faster.

    Where `numpy_op.is_faster` (TensorFlow on a CPU), a compiled kernel computes it, elsewhere
    Keras's function.

    >>> import numpy as np
    >>> z = np.array([[[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]], "float32")  # (B, T, V)
    >>> round(float(CrossEntropy()(np.array([[2, 1]]), z)), 4)  # the mean of 0.1698 and log(3)
    0.6342
    """

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Computes the loss at each position (B, T) from ids (B, T) and logits (B, T, V).

        Raises:
            ValueError: an id is not a whole number from 0 to V - 1; see `checked_ids`.
        """
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)  # as Keras does
        if not numpy_op.is_faster(y_pred):
            return _by_keras(y_true, y_pred)
        from charlm.kernels import loss

        def backward(_targets, _logits, _losses, slopes, d_losses):
            return [loss.backward(slopes, d_losses)]

        def fallback(targets, logits):
            return (_by_keras(targets, logits),)

        shapes = [y_true.shape], [y_pred.shape]
        return numpy_op.numpy_op(loss.forward, backward, fallback, shapes, [y_true], [y_pred])[0]


def _by_keras(targets, logits):
    V = logits.shape[-1]
    ids = checked_ids(targets, V, "targets")
    losses = ops.sparse_categorical_crossentropy(ops.minimum(ids, V - 1), logits, from_logits=True)
    return ops.where(ids < V, losses, float("nan"))
