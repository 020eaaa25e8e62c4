"""Matrix products in the dtype policy's precision, all other arithmetic in float32."""

from collections.abc import Sequence

import keras
from keras import ops

from charlm.layers.annotations import Tensor


class MixedPrecisionMatmul:
    """Defines what a half-precision dtype policy means here: half-precision products, else float32.

    Gates, states and their gradients are sums of many small steps, too small to register in half
    precision; products are where the time goes. So inputs, states and weights come in as
    `compute_dtype`, and `matmul` rounds what it multiplies.
    """

    @property
    def compute_dtype(self) -> str:
        """The dtype of everything but the operands of products: the policy's, at least float32."""
        return keras.backend.result_type(self.product_dtype, "float32")

    @property
    def product_dtype(self) -> str:
        """The dtype of the operands of products and of a layer's output: the policy's."""
        return super().compute_dtype  # type: ignore[misc]  # of the Keras layer it is mixed into

    def matmul(self, x: Tensor, W: Tensor) -> Tensor:
        """Multiplies in `product_dtype`: (..., N), (N, M) -> x W (..., M) in `compute_dtype`."""
        if self.product_dtype == self.compute_dtype:
            return ops.matmul(x, W)
        x, W = self.cast_operands((x, W))
        return ops.cast(ops.matmul(x, W), self.compute_dtype)

    def sum_of_products(self, x: Tensor, y: Tensor) -> Tensor:
        """Sums x^T y over steps and sequences: (T, B, N), (T, B, M) -> (N, M), as `matmul` rounds.

        The axes stay apart, so that devices that share the batch each sum their own sequences.
        """
        x, y = self.cast_operands((x, y))
        return ops.cast(ops.einsum("tbn,tbm->nm", x, y), self.compute_dtype)

    def cast_operands(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Rounds the matrices among tensors to `product_dtype`, so that `matmul` need not."""
        return [ops.cast(x, self.product_dtype) if len(x.shape) > 1 else x for x in tensors]


def tensor(variable: keras.Variable) -> Tensor:
    """Reads a variable in the compute dtype; TensorFlow's custom gradients refuse variables."""
    return ops.copy(ops.convert_to_tensor(variable))
