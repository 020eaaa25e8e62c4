"""Measures the machine's peak with large float32 matrix products of a library."""

from charlm.benchmarks.case import Case

SIZE = 2048
FLOPS = 2 * SIZE**3


def make(case: Case, gpu: bool, library: str) -> dict:
    """Returns the job "matmul", (2048, 2048) @ (2048, 2048), with numpy, tensorflow or torch."""
    multiply = {"numpy": _numpy, "tensorflow": _tensorflow, "torch": _torch}[library](gpu)

    def matmul(n):
        for _ in range(n):
            found = multiply()
        return float(found[0, 0]) / SIZE

    return {"matmul": matmul}


def _numpy(gpu):
    import numpy as np

    a, out = np.ones((SIZE, SIZE), np.float32), np.empty((SIZE, SIZE), np.float32)
    return lambda: np.matmul(a, a, out=out)


def _tensorflow(gpu):
    import tensorflow as tf

    a = tf.ones((SIZE, SIZE))
    product = tf.function(lambda a: tf.matmul(a, a))
    return lambda: product(a)


def _torch(gpu):
    import torch

    from charlm.benchmarks.torch_step import device

    a = torch.ones((SIZE, SIZE), device=device(gpu))
    out = torch.empty_like(a)
    return lambda: torch.matmul(a, a, out=out)
