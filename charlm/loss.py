"""The loss of training: softmax cross-entropy of logits, in nats, at every position."""

import keras
from keras import ops

from charlm.layers import host


@keras.saving.register_keras_serializable(package="charlm")
class CrossEntropy(keras.losses.Loss):
    """`keras.losses.SparseCategoricalCrossentropy(from_logits=True)`, sooner.

    In machine code where `layers.host.pays`, that is on TensorFlow on a CPU; else Keras's function.

    >>> z = np.array([[[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]], "float32")  # (B, T, V)
    >>> float(CrossEntropy()(np.array([[2, 1]]), z))  # the mean of 0.1698 and log(3)
    0.63421...
    """

    def call(self, y_true, y_pred):
        """Ids (B, T), logits (B, T, V) -> the loss at each position (B, T)."""
        targets = ops.cast(y_true, "int32")
        if not host.pays(y_pred):
            return ops.sparse_categorical_crossentropy(targets, y_pred, from_logits=True)
        from charlm.compiled import loss

        def backward(_targets, _logits, _losses, slopes, d_losses):
            return [loss.backward(slopes, d_losses)]

        shapes = [targets.shape], [y_pred.shape]
        return host.operation(loss.forward, backward, shapes, [targets], [y_pred])[0]
