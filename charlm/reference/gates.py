"""The blocks of gates in a matrix of pre-activations."""

import numpy as np


def split(a: np.ndarray, gates: str) -> list[np.ndarray]:
    """Splits (..., G*H) into a view (..., H) for each gate.

    `np.split` would take as long as a small product.
    """
    H = a.shape[-1] // len(gates)
    return [a[..., k * H : (k + 1) * H] for k in range(len(gates))]
