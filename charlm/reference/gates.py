"""Blocks of gates side by side, as the kernels have them."""


def split(a, gates: str):
    """(..., G*H) -> a view (..., H) for each gate; `np.split` takes as long as a small product."""
    H = a.shape[-1] // len(gates)
    return [a[..., k * H : (k + 1) * H] for k in range(len(gates))]
