"""Checks of the arrays that machine code reads, which itself checks nothing."""

import numpy as np


def require(
    name: str, array: np.ndarray, shape: tuple[int | None, ...], kind: str | None = "float32"
) -> None:
    """Raises ValueError if an array has a wrong shape or type (None: any) or is not contiguous."""
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, found) for found, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or (kind is not None and array.dtype != kind):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"Expected {name} of shape ({wanted}){(kind and f' in {kind}') or ''}. "
            f"Received: shape {array.shape} in {array.dtype}"
        )
    if kind is not None and not array.flags.c_contiguous:
        raise ValueError(f"Expected {name} to be contiguous. Received: strides {array.strides}")


def indices(ids: np.ndarray, N: int, name: str = "ids") -> np.ndarray:
    """Converts ids of any type to int32.

    Raises:
        ValueError: an id that is not a whole number from 0 to N - 1.
    """
    fits = (ids >= 0) & (ids < N)
    if ids.dtype.kind not in "iu":
        fits &= ids == np.floor(ids)
    if not fits.all():
        raise ValueError(
            f"Expected {name} to be whole numbers from 0 to {N - 1}. Received: {ids[~fits][0]}"
        )
    return np.ascontiguousarray(ids, np.int32)
