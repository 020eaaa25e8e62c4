"""The inputs' share of a cell's pre-activations: x W + b."""

from collections.abc import Callable
from functools import partial

import keras
from keras import ops

from charlm.layers.annotations import Masks, Tensor
from charlm.layers.gather import gather_rows, with_row_of_nan
from charlm.layers.mixed_precision import MixedPrecisionMatmul, tensor
from charlm.layers.overrides import overrides


class InputProjection(MixedPrecisionMatmul):
    """Computes x W + b for a cell with `kernel`, `bias` and `vocab_size`, vectors or ids as x."""

    kernel: Tensor
    bias: Tensor | None
    vocab_size: int | None
    context_size: int | None
    context_scale: float

    def project(self, inputs: Tensor, masks: Masks = None) -> Tensor:
        """Computes the inputs' share of the pre-activations, x W + b, of any number of steps.

        Args:
            inputs: (..., D); or integer ids (..., 1) where `vocab_size` is set; or ids and contexts
                (..., 2) where `context_size` is set, too.
            masks: masks of input dropout: None, one for all gates or a list of one for each. A mask
                has the shape (B, D), or (B, 1, D) where `inputs` has a time axis.

        Returns:
            (..., G*H).
        """
        if self.vocab_size and masks is None:
            a_x = gather_rows(self.input_table(), inputs[..., 0])
            if self.context_size:
                a_x += gather_rows(self.context_table(), inputs[..., 1])
            return a_x
        return self._projected(tensor(self.kernel), self.input_bias(), inputs, masks)

    def _projected(self, kernel, bias, inputs, masks=None):
        """Does what `project` does, with weights that were read before."""
        if not isinstance(masks, list):
            masks = [masks]
        kernels = ops.split(kernel, len(masks), axis=-1)
        parts = [self._times(inputs, m, k) for m, k in zip(masks, kernels, strict=True)]
        a_x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        return a_x if bias is None else a_x + bias

    def projection(
        self, inputs: Tensor, masks: Masks = None, training: bool = False
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Prepares `project` for a loop over time.

        The loop multiplies one time step at a time where possible. This is faster, because the
        product of all steps does not fit into the processor's caches.

        Args:
            inputs: as for `project`, (B, T, ...).
            masks: as in `project`, for one step.
            training: whether gradients are needed.

        Returns:
            An array (B, T, ...), and a function of one step of it, (B, ...) -> (B, G*H).
        """
        if overrides(type(self), ["project"], since="projection"):
            return inputs, partial(self.project, masks=masks)
        if self.vocab_size and (training or self.context_size):  # all rows at once: their gradient
            # is one sum by id
            if masks is not None:
                masks = keras.tree.map_structure(lambda m: m[:, None], masks)
            return self.project(inputs, masks), lambda a_x: a_x
        if self.vocab_size:
            rows, ids = with_row_of_nan(self.input_table(), inputs[..., 0])
            return ids, lambda i: ops.take(rows, i, axis=0)
        kernel = tensor(self.kernel)
        if not training:  # in training each step rounds it, so that gradients add up in float32
            (kernel,) = self.cast_operands([kernel])
        return inputs, partial(self._projected, kernel, self.input_bias(), masks=masks)

    def input_table(self) -> Tensor:
        """Computes x W + b for each id x, (D, G*H); cheaper than adding b to B * T inputs."""
        kernel, bias = tensor(self.kernel), self.input_bias()
        if self.context_size:
            kernel = kernel[: self.vocab_size]
        return kernel if bias is None else kernel + bias

    def context_table(self) -> Tensor:
        """Returns what each context adds to x W + b, (C + 1, G*H): first the mean of all."""
        rows = self.context_scale * tensor(self.kernel)[self.vocab_size :]
        return ops.concatenate([ops.mean(rows, axis=0, keepdims=True), rows])

    def _times(self, inputs, mask, kernel):
        if not self.vocab_size:
            # `keras.layers.RNN` draws masks in half precision where the policy is
            kept = inputs if mask is None else inputs * ops.cast(mask, inputs.dtype)
            return self.matmul(kept, kernel)
        rows = gather_rows(kernel, inputs[..., 0])
        inputs = ops.clip(ops.cast(inputs, "int32"), 0, self.vocab_size - 1)
        kept = ops.take_along_axis(mask + ops.zeros_like(inputs, dtype=mask.dtype), inputs, axis=-1)
        return rows * kept

    def input_bias(self) -> Tensor | None:
        """Returns the bias added to x W, (G*H,), or None."""
        return None if self.bias is None else tensor(self.bias)
