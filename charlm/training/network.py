"""The character model: ids in, logits of the next character out, and the state passed by hand.

`build` makes the network, (ids, states) -> (logits, states), with no memory of its own: sampling,
scoring and inspection call it as they like. `Streams` wraps it for `fit` and `evaluate`, where the
state flows from one window to the next.
"""

import inspect

import keras
import numpy as np
from keras import ops

from charlm.cells import CELLS
from charlm.config import FitConfig, ModelConfig
from charlm.errors import InputError
from charlm.layers import Recurrent, numpy_op
from charlm.layers.dense import Dense
from charlm.reference.network import RANDOM_STATE
from charlm.training.loss import CrossEntropy
from charlm.training.optimizer import Adam

POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}
# Windows between two calls from Python: TensorFlow takes 0.8 ms to begin each, and under JAX a GPU
# stands still for as long while callbacks look at the loss.
STEPS_PER_EXECUTION = 4


def build(
    config: ModelConfig,
    vocab_size: int,
    seed: int | None = None,
    states: bool = True,
    precision: str = "fp32",
) -> keras.Model:
    """The network: recurrent layers, then logits over the vocabulary at every position.

    Args:
        config: sizes. vocab_size: V. seed: of dropout.
        states: whether they are inputs and outputs; else every call begins at zero.
        precision: of the recurrent layers, one of `POLICIES`; logits are in float32.

    Returns:
        A functional model, [ids (B, T), states (B, H) ...] -> [logits (B, T, V), states ...].
        Its layers bear the names that Keras gives them in weight files, so that a file fits
        `keras.Sequential([Input((None, V)), LSTM(H, return_sequences=True), Dense(V)])` too.
    """
    V, H = vocab_size, config.units
    x = keras.Input((None,), dtype="int32", name="ids")
    inputs, after = [x], []
    if not config.uses_own_layer:  # a Keras layer reads vectors
        x = ops.one_hot(x, V)
    cell = CELLS[config.cell_name]
    for k in range(config.layers):
        before = [keras.Input((H,), name=f"{state}_{k}") for state in cell.states if states]
        options = {"dtype": POLICIES[precision]}
        if config.uses_own_layer and k == 0:
            options["vocab_size"] = V
        layer = _recurrent_layer(config, k, return_state=states, **options)
        h = layer(x, initial_state=before or None)
        h, *new = h if states else [h]
        if config.dropout:
            layer_seed = None if seed is None else seed + k
            name = _numbered("dropout", k)
            once = (None, 1, None)  # a mask for all steps of a window: docs/recipe.md
            h = keras.layers.Dropout(config.dropout, once, layer_seed, name=name)(h)
        x = h if k == 0 or config.skip == "none" else keras.layers.Add(name=f"add_{k}")([x, h])
        inputs += before
        after += new
    dense = Dense if config.uses_own_layer else keras.layers.Dense
    logits = dense(V, dtype="float32", name="dense")(x)
    outputs = [logits, *after] if states else logits
    network = keras.Model(inputs, outputs, name="charlm")
    if config.forget_bias != 1:
        _set_forget_bias(network, cell.gates.index("f"), config)
    return network


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
    """How a model's own layers would compute gradients in training, None for Keras's layers."""
    if not config.uses_own_layer:
        return None
    return _recurrent_layer(config, 0, dtype=POLICIES[precision]).backward_pass()


def cell_options(config: ModelConfig, kind: type) -> dict:
    """What the settings say to the constructor of a cell or a layer, of what it has."""
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


class Streams(keras.Model):
    """A network reading streams of text window by window, each going on where it stopped.

    Input as `charlm.text.windows` makes it: (ids (B, T), fresh (B,)); output logits
    (B, T, V). Where
    fresh is 1 the stream begins anew from a zero state. Training and validation have states of
    their own, so that neither disturbs the other. A batch of another size is read from zero states
    and leaves none.

    Args:
        network: from `build`; from here on its layers' inference is in machine code where there is
            some, which no exported graph can hold (`charlm.interop.keras_model` exports from
            weights).
        training, validation: number of streams of each.
    """

    def __init__(self, network: keras.Model, training: int, validation: int):
        super().__init__(name="streams")
        self.network = network
        for layer in network.layers:
            if isinstance(layer, Recurrent):
                layer.compiled_inference = True
        shapes = [x.shape[1:] for x in network.inputs[1:]]
        self.carried = {
            name: [
                self.add_weight(
                    shape=(B, *s), initializer="zeros", trainable=False, name=f"{name}_{k}"
                )
                for k, s in enumerate(shapes)
            ]
            for name, B in (("training", training), ("validation", validation))
        }

    def call(self, inputs, training=False):
        ids, fresh = inputs
        variables = self.carried["training" if training else "validation"]
        B = ids.shape[0]
        if B not in (None, variables[0].shape[0]):  # Keras's trial call in fit is such a one
            zeros = [ops.zeros((B, *v.shape[1:]), v.dtype) for v in variables]
            return self.network([ids, *zeros], training=training)[0]
        kept = 1 - fresh[:, None]
        logits, *states = self.network(
            [ids, *(ops.copy(v) * ops.cast(kept, v.dtype) for v in variables)], training=training
        )
        for variable, state in zip(variables, states, strict=True):
            variable.assign(ops.cast(ops.stop_gradient(state), variable.dtype))
        return logits


def compile_for(streams: Streams, config: FitConfig, steps_per_epoch: int) -> None:
    """Gives a run its loss, optimizer and schedule; the optimizer's variables exist after."""
    total = (config.decay_epochs or config.epochs) * steps_per_epoch
    warmup = min(config.warmup_steps, total // 10)  # a small text has few steps
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        alpha=config.final_rate,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = Adam(
        schedule,
        global_clipnorm=config.clip_norm or None,
        clipvalue=config.clip_value or None,
    )
    if config.precision == "fp16":  # its smallest numbers are larger than many gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    backend = keras.backend.backend()
    several = backend == "tensorflow" or (backend == "jax" and not numpy_op.is_supported())
    streams.compile(
        optimizer=optimizer,
        loss=CrossEntropy(),
        steps_per_execution=STEPS_PER_EXECUTION if several else 1,
    )
    streams.optimizer.build(streams.trainable_variables)


def weights(network: keras.Model) -> dict[str, np.ndarray]:
    """All the network's variables by their path in a Keras weights file."""
    return {path: ops.convert_to_numpy(v) for path, v in _variables(network).items()}


def set_weights(network: keras.Model, values: dict[str, np.ndarray]) -> None:
    """Gives every variable its value from `weights`; checks all before it changes any.

    The random states of dropout may be missing, as in weights that Keras did not make; they then
    stay as they are.

    Raises:
        InputError: names or shapes that are not this network's.
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
    for path, value in values.items():
        variables[path].assign(value)


def _variables(network):
    """{path: variable}; Keras's files number an object's own variables, object inside object."""
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
