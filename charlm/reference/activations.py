"""Activations y = f(a) and their slopes dy/da as functions of y."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

Arrays: TypeAlias = tuple[np.ndarray, ...]


class Activation(NamedTuple):
    """An elementwise function y = f(a), and its slope dy/da = slope(y)."""

    f: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]

    def __call__(self, a: np.ndarray) -> np.ndarray:
        return self.f(a)


TANH = Activation(np.tanh, lambda y: 1 - y * y)
# 1 / (1 + exp(-a)), written with tanh, which does not overflow
SIGMOID = Activation(lambda a: 0.5 + 0.5 * np.tanh(0.5 * a), lambda y: y * (1 - y))
RELU = Activation(lambda a: np.maximum(a, 0), lambda y: (y > 0).astype(y.dtype))
LINEAR = Activation(lambda a: a, np.ones_like)
# As in Keras 3. Keras before 2.3 had the slope 0.2, which is hard_sigmoid(1.2 a) here.
HARD_SIGMOID = Activation(
    lambda a: np.clip(a / 6 + 0.5, 0, 1), lambda y: ((y > 0) & (y < 1)).astype(y.dtype) / 6
)

ACTIVATIONS = {  # by name in `keras.activations`
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "relu": RELU,
    "linear": LINEAR,
    "hard_sigmoid": HARD_SIGMOID,
}
