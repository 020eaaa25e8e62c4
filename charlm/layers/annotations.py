"""Types of the arguments and results of layers."""

from typing import TypeAlias

import keras

Tensor: TypeAlias = keras.KerasTensor
"""A tensor of the current backend, or a symbolic one."""
Tensors: TypeAlias = tuple[Tensor, ...]
Masks: TypeAlias = Tensor | list[Tensor] | None
"""Dropout masks: none, one for all gates, or one for each."""
Shape: TypeAlias = tuple[int | None, ...]
