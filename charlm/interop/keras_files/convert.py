"""Converts the weights of another program to those of charlm's network."""

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.interop.keras_files import KerasWeights
from charlm.reference.network import DENSE, layer_path


def network_weights(
    found: KerasWeights, config: ModelConfig, ids: np.ndarray, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Returns {path: array} of charlm's network; an embedding is multiplied into the first kernel.

    Args:
        found: the content of the weights file.
        config: the network's settings.
        ids: (n,), the model's id of each character of charlm's network.
        scale: factor on the weights of the gates.

    Raises:
        InputError: a product of the file's numbers is too large for float32.
    """
    gates = CELLS[config.cell_name].gates
    kernel, bias = found.dense
    weights = {f"{DENSE}/0": np.ascontiguousarray(kernel[:, ids]), f"{DENSE}/1": bias[ids]}
    factors = np.repeat([1.0 if x in "gh" else scale for x in gates], config.units)
    with np.errstate(over="ignore", invalid="ignore"):
        for k, (kernel, recurrent_kernel, bias) in enumerate(found.layers):
            if k == 0:  # one row for each id
                table = found.embedding
                kernel = kernel[ids] if table is None else table[ids] @ kernel
            for n, w in enumerate((kernel, recurrent_kernel, bias)):
                scaled = (w * factors).astype(np.float32, order="C")  # as a run's file has them
                weights[f"{layer_path(config, k)}/{n}"] = scaled
    for path, w in weights.items():
        if not np.isfinite(w).all():
            raise InputError(
                "expected products of weights within the range of float32, found a larger one in "
                f"{path} (an embedding is multiplied by the first kernel, and gates of "
                "hard_sigmoid by 1.2); no network of charlm has such weights"
            )
    return weights
