"""Rows of a matrix by integer ids, with a dense gradient."""

import keras
from keras import ops

from charlm.layers.ids import checked_ids


def gather_rows(kernel: keras.KerasTensor, ids: keras.KerasTensor) -> keras.KerasTensor:
    """Reads rows of `kernel` (D, N) by ids (...) -> (..., N): one_hot(ids) @ kernel.

    The gradient is dense, a sum by id. That of autodiff is a list of rows: its norm (for clipping)
    and Adam's moments would be those of the list, not of the kernel.

    Raises:
        ValueError: an id that is not a whole number from 0 to D - 1. Where `checked_ids` cannot
            raise, its row is NaN instead.
    """
    D, N = kernel.shape
    kernel, ids = with_row_of_nan(kernel, ids)
    if keras.backend.backend() == "jax":  # its own gradient is dense, and forward mode works too
        wide = keras.backend.result_type(kernel.dtype, "float32")
        return ops.cast(ops.take(ops.cast(kernel, wide), ids, axis=0), kernel.dtype)

    @ops.custom_gradient
    def gather(kernel):
        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            # in float32 at least: a frequent id has thousands of rows, and half precision cannot
            # add a small number to a large one
            wide = keras.backend.result_type(upstream.dtype, "float32")
            rows = ops.cast(ops.reshape(upstream, (-1, N)), wide)
            total = ops.segment_sum(rows, ops.reshape(ids, (-1,)), num_segments=D + 1)
            return ops.cast(total, upstream.dtype)

        return ops.take(kernel, ids, axis=0), gradient

    return gather(kernel)


def with_row_of_nan(
    kernel: keras.KerasTensor, ids: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Appends to `kernel` (D, N) a row of NaN, which ids that `checked_ids` cannot refuse read."""
    D, N = kernel.shape
    row = ops.full((1, N), float("nan"), kernel.dtype)
    return ops.concatenate([kernel, row]), checked_ids(ids, D)
