"""Builds models that do not need charlm: from stock Keras layers, or of a single step."""

import keras
import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.interop.stock import stock
from charlm.reference.network import DENSE, layer_path
from charlm.training import network as model


def text_model(config: ModelConfig, weights: dict[str, np.ndarray], vocab_size: int) -> keras.Model:
    """Builds a functional model of stock Keras layers: ids (B, T) -> logits (B, T, V)."""
    config, weights = stock(config, weights)
    network = model.build(config, vocab_size, states=False)
    model.set_weights(network, _without_random_states(weights))
    return network


def step_model(config: ModelConfig, weights: dict[str, np.ndarray], vocab_size: int) -> keras.Model:
    """Builds a model of a single step, as the sampler uses it.

    Returns:
        A functional model of dictionaries, {"ids": (B,), "h_0": (B, H), ...} -> {"logits": (B, V),
        "next_h_0": (B, H), ...}, with a state for each layer and each state tensor of the cell.
    """
    cell_class = CELLS[config.cell_name].cell_class
    inputs = {"ids": keras.Input((), dtype="int32", name="ids")}
    outputs: dict[str, keras.KerasTensor] = {}
    x = inputs["ids"]
    for k in range(config.layers):
        names = [f"{state}_{k}" for state in cell_class.STATES]
        for name in names:
            inputs[name] = keras.Input((config.units,), name=name)
        cell = cell_class(
            config.units,
            **model.cell_options(config, cell_class),
            vocab_size=vocab_size if k == 0 else None,
        )
        h, after = cell(x, [inputs[name] for name in names])
        outputs |= {f"next_{name}": state for name, state in zip(names, after, strict=True)}
        cell.set_weights(
            [weights[f"{layer_path(config, k)}/{n}"] for n in range(3)]
            + [np.asarray(w) for w in cell.get_weights()[3:]]
        )
        x = h if k == 0 or config.skip == "none" else keras.layers.add([x, h])
    dense = keras.layers.Dense(vocab_size, name="dense")
    outputs = {"logits": dense(x), **outputs}
    dense.set_weights([weights[f"{DENSE}/0"], weights[f"{DENSE}/1"]])
    step = keras.Model(inputs, outputs, name="charlm_step")
    step({name: np.zeros((1, *x.shape[1:]), x.dtype) for name, x in inputs.items()})
    return step  # Keras exports only models that were called to ONNX


def _without_random_states(weights):
    return {path: w for path, w in weights.items() if not path.endswith(model.RANDOM_STATE)}
