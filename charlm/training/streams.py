"""A network as `fit` trains it: states carried from window to window, loss, optimizer, schedule."""

import keras
from keras import ops

from charlm.config import FitConfig
from charlm.layers import Recurrent, numpy_op
from charlm.training.loss import CrossEntropy
from charlm.training.optimizer import Adam

# Windows between two calls from Python: TensorFlow takes 0.8 ms to begin each, and under JAX a GPU
# stands still for as long while callbacks look at the loss.
STEPS_PER_EXECUTION = 4


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

    def call(
        self, inputs: tuple[keras.KerasTensor, keras.KerasTensor], training: bool = False
    ) -> keras.KerasTensor:
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
