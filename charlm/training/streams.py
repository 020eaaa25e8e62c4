"""Wraps a network for `fit`: states carried between windows, loss, optimizer, schedule."""

import keras
from keras import ops

from charlm.config import FitConfig
from charlm.layers import Recurrent, numpy_op
from charlm.training.loss import CrossEntropy
from charlm.training.optimizer import Adam

# Windows in a call from Python: in TensorFlow starting a call takes 0.8 ms, and under JAX a GPU is
# idle for as long while callbacks read the loss.
STEPS_PER_EXECUTION = 4


class Streams(keras.Model):
    """A network that reads streams of text window by window and carries their states.

    The input is that of `charlm.text.windows`, (ids (B, T), fresh (B,)); the output is logits
    (B, T, V). A stream whose `fresh` is 1 starts from a zero state. Training and validation have
    separate states. A batch of another size than `validation` may be measured: it starts from zero
    states and leaves none.

    Args:
        network: from `build`; its layers are switched to compiled inference, which cannot be
            exported (`charlm.interop.keras_model` exports from weights instead).
        training: number of streams in training.
        validation: number of streams in validation.

    Raises:
        ValueError: in training, a batch of another size than `training`.
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

    def call(
        self, inputs: tuple[keras.KerasTensor, keras.KerasTensor], training: bool = False
    ) -> keras.KerasTensor:
        ids, fresh = inputs
        variables = self.carried["training" if training else "validation"]
        B = ids.shape[0]
        if B not in (None, variables[0].shape[0]):
            if training:  # it would read from states that are not those of its streams
                raise ValueError(
                    f"Expected a batch of {variables[0].shape[0]} streams, whose states are "
                    f"carried. Received: a batch of {B}"
                )
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
    """Sets a run's loss, optimizer and learning-rate schedule, and builds the optimizer."""
    total = (config.decay_epochs or config.epochs) * steps_per_epoch
    warmup = min(config.warmup_steps, total // 10)  # a short text has few steps
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
    if config.precision == "fp16":  # many gradients are below its smallest number
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    backend = keras.backend.backend()
    several = backend == "tensorflow" or (backend == "jax" and not numpy_op.is_supported())
    streams.compile(
        optimizer=optimizer,
        loss=CrossEntropy(),
        steps_per_execution=STEPS_PER_EXECUTION if several else 1,
    )
    streams.optimizer.build(streams.trainable_variables)
