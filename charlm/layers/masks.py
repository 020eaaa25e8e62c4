"""Time masks: which sequence takes which step."""

from keras import ops

from charlm.layers.annotations import Tensor


def time_mask(mask: Tensor | None, sequences: Tensor) -> Tensor | None:
    """Converts a mask (B, T) or (B, T, 1), or None, to booleans (B, T) or None.

    Raises:
        ValueError: a mask that does not fit the sequences (B, T, ...).
    """
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == 3 and mask.shape[-1] == 1:
        mask = ops.squeeze(mask, -1)
    B, T = sequences.shape[:2]
    pairs = zip(mask.shape, (B, T), strict=False)
    if len(mask.shape) != 2 or any(None not in p and p[0] != p[1] for p in pairs):
        raise ValueError(
            f"Expected a mask of shape ({B or 'batch'}, {T or 'time'}). "
            f"Received: shape {tuple(mask.shape)}"
        )
    return mask


def has_started(live: Tensor) -> Tensor:
    """Returns whether a sequence has taken a step so far: (B, T) -> (B, T, 1)."""
    return ops.cumsum(ops.cast(live, "int32"), axis=1)[..., None] > 0
