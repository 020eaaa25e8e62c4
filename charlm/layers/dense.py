"""The output layer, which computes the logits of every position."""

import keras
from keras import ops

from charlm.layers import numpy_op
from charlm.layers.annotations import Tensor
from charlm.layers.mixed_precision import tensor


@keras.saving.register_keras_serializable(package="charlm")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that trains in machine code where `numpy_op.is_faster`.

    It computes the same sums. Its configuration and its place in weights files are those of its
    parent, which does everything but training in float32.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Computes x K + b: (..., H) -> (..., units)."""
        plain = self.use_bias and self.activation is keras.activations.linear
        if not (training and plain and numpy_op.is_faster(inputs)):
            return super().call(inputs, training=training)
        from charlm.kernels import dense

        def forward(x, kernel, bias):
            return [dense.forward(x, kernel, bias)]

        def backward(x, kernel, _bias, _y, d_y):
            return dense.backward(x, kernel, d_y)

        def fallback(x, kernel, bias):
            return (ops.matmul(x, kernel) + bias,)

        weights = [tensor(w) for w in (self.kernel, self.bias)]
        shape = (*inputs.shape[:-1], self.units)
        operands = [inputs, *weights]
        return numpy_op.numpy_op(forward, backward, fallback, ([shape], []), [], operands)[0]
