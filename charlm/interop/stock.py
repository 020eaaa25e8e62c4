"""Converts a network to the cells that other programs have."""

from dataclasses import replace

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.reference.network import DENSE, layer_path


def stock(
    config: ModelConfig, weights: dict[str, np.ndarray]
) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Converts a network to layers that Keras has; a cell that Keras lacks becomes an LSTM.

    Raises:
        InputError: the cell cannot be converted.
    """
    cell, config = CELLS[config.cell_name], config.without_dropout()
    if cell.keras:
        return replace(config, cell=f"keras-{config.cell_name}"), weights
    if not hasattr(cell.reference, "as_lstm"):
        raise InputError(f"expected a cell that Keras has, found {config.cell}")
    as_lstm = replace(config, cell="keras-lstm")
    found = {path: w for path, w in weights.items() if path.startswith(DENSE)}
    for k in range(config.layers):
        old, new = layer_path(config, k), layer_path(as_lstm, k)
        converted = cell.reference.as_lstm([weights[f"{old}/{n}"] for n in range(3)])
        found |= {f"{new}/{n}": w for n, w in enumerate(converted)}
    return as_lstm, found
