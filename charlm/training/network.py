"""The character model as a Keras network, with its states as inputs and outputs.

`build` makes the network, (ids, states) -> (logits, states), which keeps no state itself.
`charlm.training.streams.Streams` wraps it for `fit` and `evaluate` and carries the states from one
window to the next.
"""

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.layers.dense import Dense
from charlm.reference.network import RANDOM_STATE

POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


def build(
    config: ModelConfig,
    vocab_size: int,
    seed: int | None = None,
    states: bool = True,
    precision: str = "fp32",
    contexts: int = 0,
) -> keras.Model:
    """Builds the network: recurrent layers, then logits over the vocabulary at every position.

    Args:
        config: settings of the model.
        vocab_size: V.
        seed: random seed of dropout.
        states: whether states are inputs and outputs; else every call starts at zero states.
        precision: of the recurrent layers, a key of `POLICIES`; logits are in float32.
        contexts: C, if the network is conditioned on one of C contexts. The first input is then ids
            and contexts (B, T, 2), see `context_size` of the layers. Their rows start at zero.

    Returns:
        A functional model, [ids (B, T), states (B, H) ...] -> [logits (B, T, V), states ...].
        Its layers have the names that Keras gives them in weights files, so a file also fits
        `keras.Sequential([Input((None, V)), LSTM(H, return_sequences=True), Dense(V)])`.
    """
    V, H = vocab_size, config.units
    x = keras.Input((None, 2) if contexts else (None,), dtype="int32", name="ids")
    inputs = [x]
    after: list[keras.KerasTensor] = []
    if not config.uses_own_layer:  # a Keras layer reads vectors
        x = _vectors(x, V, contexts, config.context_scale)
    cell = CELLS[config.cell_name]
    for k in range(config.layers):
        before = [keras.Input((H,), name=f"{state}_{k}") for state in cell.states if states]
        options: dict[str, Any] = {"dtype": POLICIES[precision]}
        if config.uses_own_layer and k == 0:
            options |= {"vocab_size": V, "context_size": contexts or None}
            options["context_scale"] = config.context_scale
        layer = _recurrent_layer(config, k, return_state=states, **options)
        h = layer(x, initial_state=before or None)
        h, *new = h if states else [h]
        if config.dropout:
            layer_seed = None if seed is None else seed + k
            name = _numbered("dropout", k)
            once = (None, 1, None)  # one mask for all steps of a window: docs/experiments.md
            h = keras.layers.Dropout(config.dropout, once, layer_seed, name=name)(h)
        x = h if k == 0 or config.skip == "none" else keras.layers.Add(name=f"add_{k}")([x, h])
        inputs += before
        after += new
    dense = Dense if config.uses_own_layer else keras.layers.Dense
    logits = dense(V, dtype="float32", name="dense")(x)
    outputs = [logits, *after] if states else logits
    network = keras.Model(inputs if states else inputs[0], outputs, name="charlm")
    if config.forget_bias != 1:
        _set_forget_bias(network, cell.gates.index("f"), config)
    if contexts:
        kernel = network.get_layer(_numbered(cell.saved_as, 0)).cell.kernel
        value = ops.convert_to_numpy(kernel).copy()
        value[V:] = 0
        kernel.assign(value)
    return network


def _vectors(ids, V, C, scale):
    """Returns one-hot vectors of ids (B, T); with C contexts, of ids and contexts (B, T, 2)."""
    if not C:
        return ops.one_hot(ids, V)
    added = scale * np.concatenate([np.full((1, C), 1 / C), np.eye(C)])
    added = added.astype("float32")
    of_contexts = ops.take(ops.convert_to_tensor(added), ids[..., 1], axis=0)
    return ops.concatenate([ops.one_hot(ids[..., 0], V), of_contexts], axis=-1)


def _recurrent_layer(config, k, **options):
    name = _numbered(CELLS[config.cell_name].saved_as, k)
    if config.uses_own_layer:
        kind = CELLS[config.cell].layer_class
        options["weight_drop"] = config.weight_drop
    else:
        kind = getattr(keras.layers, CELLS[config.cell_name].keras)
    given = cell_options(config, kind)
    return kind(config.units, return_sequences=True, name=name, **given, **options)


def backward_pass(config: ModelConfig, precision: str) -> str | None:
    """Returns how charlm's layers would compute gradients in training; None for Keras's layers."""
    if not config.uses_own_layer:
        return None
    return _recurrent_layer(config, 0, dtype=POLICIES[precision]).backward_pass()


def cell_options(config: ModelConfig, kind: type) -> dict:
    """Returns the settings that the constructor of a cell or a layer accepts."""
    given = {
        "activation": config.activation,
        "recurrent_activation": config.recurrent_activation,
        "recurrent_initializer": config.recurrent_initializer,
        "reset_after": config.reset == "after",
    }
    known = inspect.signature(kind).parameters
    return {name: value for name, value in given.items() if name in known}


def _set_forget_bias(network, at, config):
    H = config.units
    for k in range(config.layers):
        bias = network.get_layer(_numbered(CELLS[config.cell_name].saved_as, k)).cell.bias
        value = ops.convert_to_numpy(bias).copy()
        value[at * H : (at + 1) * H] = config.forget_bias
        bias.assign(value)


def _numbered(name: str, k: int) -> str:
    return f"{name}_{k}" if k else name


def weights(network: keras.Model) -> dict[str, np.ndarray]:
    """Returns the network's variables by their paths in a Keras weights file."""
    return {path: ops.convert_to_numpy(v) for path, v in _variables(network).items()}


def set_weights(network: keras.Model, values: dict[str, np.ndarray]) -> None:
    """Sets every variable to its value from `weights`; checks all before it changes any.

    The random states of dropout may be missing, as in weights that Keras did not make; they are
    then left unchanged. The order of `values` does not matter.

    Raises:
        InputError: the names or shapes are not this network's.
    """
    variables = _variables(network)
    odd = set(variables) ^ set(values)
    odd -= {path for path in odd if path.endswith(RANDOM_STATE) and path in variables}
    if odd:
        raise InputError(
            f"expected the weights of this model, found others (they differ in {min(odd)})"
        )
    for path, value in values.items():
        if variables[path].shape != value.shape:
            raise InputError(
                f"expected {path} of shape {tuple(variables[path].shape)}, found {value.shape}"
            )
    for path, variable in variables.items():  # in the same order in all processes of a run
        if path in values:
            variable.assign(values[path])


def _variables(network):
    """Returns {path: variable}; Keras's files number the variables of each object."""
    found = {}
    for layer in network.layers:
        owner, path = layer, f"layers/{layer.name}"
        if hasattr(layer, "cell"):
            owner, path = layer.cell, f"{path}/cell"
        for k, variable in enumerate(owner.trainable_variables):
            found[f"{path}/vars/{k}"] = variable
        if hasattr(owner, "seed_generator"):
            found[f"{path}/{RANDOM_STATE}"] = owner.seed_generator.state
    return found
