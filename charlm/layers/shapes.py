"""Shapes of a layer's states and outputs."""

from collections.abc import Sequence

import keras
from keras import ops

from charlm.layers.annotations import Tensor, Tensors


def broadcast_states(given: Sequence[Tensor], sequences: Tensor, S: int, H: int) -> Tensors:
    """Returns the S initial states as a tuple of (B, H), broadcast where Keras does.

    Raises:
        ValueError: a wrong number of states, or one that cannot be broadcast.
    """
    B = sequences.shape[0]
    shapes = [tuple(s.shape) for s in given]

    def fits(shape):
        rows = shape[0] if len(shape) == 2 else 1
        return len(shape) in (1, 2) and shape[-1] == H and (None in (B, rows) or rows in (1, B))

    if len(shapes) != S or not all(map(fits, shapes)):
        raise ValueError(
            f"Expected {S} initial state{'s' * (S > 1)} of shape (batch, {H}), where batch is "
            f"{'that of the input' if B is None else B}, or (1, {H}) or ({H},). "
            f"Received: shapes {shapes}"
        )
    known = [s if B is not None and s.shape == (B, H) else None for s in given]
    wanted = (ops.shape(sequences)[0], H)
    pairs = zip(given, known, strict=True)
    return tuple(ops.broadcast_to(s, wanted) if k is None else k for s, k in pairs)


def with_static_shape(h: Tensor, sequences: Tensor, H: int) -> Tensor:
    """Restores lengths that TensorFlow loses in its loops and layers above may need."""
    if keras.backend.backend() == "tensorflow" and not hasattr(h, "numpy"):
        h.set_shape((sequences.shape[0], h.shape[1] or sequences.shape[1], H))
    return h
