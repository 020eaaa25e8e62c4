"""`python -m charlm.experiments.changes CHANGE ...`: `charlm train ...` with one change.

The changes were tried for the presets and are not options of charlm (docs/experiments.md). A change
is a function that replaces a part of charlm or Keras before the run is built. Nothing is saved,
because the weights may not fit a model of charlm; the run's history is printed as JSON.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from callbacks import StopOnNaN, TrackProgress
from charlm import cli, presets
from charlm.config import Config
from charlm.errors import NonFiniteLossError
from charlm.experiments import cell_changes
from charlm.experiments.sampled_softmax import sampled_softmax
from charlm.layers.lstm import LSTMCell
from charlm.layers.mixed_precision import tensor
from charlm.layers.recurrent import Recurrent
from charlm.training import network, streams
from charlm.training.trainer import Training

# what the changes replace parts of
Cell: Any = LSTMCell
Loop: Any = Recurrent
Network: Any = network

CHANGES: dict[str, Callable] = {}
WIDTH = 64  # of an embedding


def main() -> int:
    """Trains with the change named by the first argument and the flags in the others."""
    return cli.run(_main, None)


def _main(argv):
    parser = argparse.ArgumentParser(prog="python -m charlm.experiments.changes")
    parser.add_argument("change", choices=CHANGES)
    parser.add_argument("--preset", choices=presets.PRESETS, default=presets.DEFAULT)
    args, flags = parser.parse_known_args(argv)
    config = cli.parse(Config, parser.prog, flags, presets.PRESETS[args.preset])
    CHANGES[args.change]()
    text, data = cli.text(cli.corpus(config.data)), config.data
    vocab = text.learned_vocab(data.tokens, data.separator)
    training = Training(config, text.translated(vocab))
    characters = data.batch_size * data.window * training.per_token.training
    steps = training.windows().steps
    track = TrackProgress(training.progress, characters, steps, training.per_token)
    try:
        training.fit([StopOnNaN(training.progress), track])
    except NonFiniteLossError as error:
        cli.note(f"stopped: {error}")
    print(json.dumps(training.progress.history))


def _change(function):
    CHANGES[function.__name__.replace("_", "-")] = function
    return function


@_change
def nothing() -> None:
    """Trains as charlm does, without a change."""


# The output layer and the loss


@_change
def label_smoothing(share: float = 0.05) -> None:
    """Smooths the targets in training.

    Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """
    plain = streams.Streams.compute_loss

    def smoothed(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = plain(self, x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        alike = ops.mean(ops.logsumexp(y_pred, axis=-1) - ops.mean(y_pred, axis=-1))
        return (1 - share) * loss + share * alike

    streams.Streams.compute_loss = smoothed


_change(sampled_softmax)


# The input


@_change
def embedding(width: int = WIDTH) -> list[LSTMCell]:
    """Factorizes the first kernel into an embedding of each character and a shared matrix.

    Returns:
        A list, to which the first layer's cell is added when it is built.
    """
    build = LSTMCell.build
    cells: list[LSTMCell] = []

    def built(self, input_shape):
        build(self, input_shape)
        shape = (self.vocab_size, width)
        self.embedding = self.add_weight(name="embedding", shape=shape, initializer="uniform")
        shape = (width, len(self.GATES) * self.units)
        self.unfolding = self.add_weight(name="unfolding", shape=shape)
        cells.append(self)

    Cell.build = built
    Cell.input_table = lambda self: (
        ops.matmul(tensor(self.embedding), tensor(self.unfolding)) + tensor(self.bias)
    )
    return cells


@_change
def tied_output() -> None:
    """Adds an `embedding` and computes the logits with its rows (tied weights)."""
    cells = embedding(WIDTH)

    class Dense(keras.layers.Dense):
        def __init__(self, V, **kwargs):
            super().__init__(WIDTH, use_bias=False, **kwargs)
            self.V = V

        def build(self, shape):
            super().build(shape)
            self.bias = self.add_weight(name="bias", shape=(self.V,), initializer="zeros")

        def call(self, inputs, training=None):
            rows = ops.matmul(tensor(self.kernel), ops.transpose(tensor(cells[0].embedding)))
            return ops.matmul(inputs, rows) + self.bias

        def compute_output_shape(self, shape):
            return (*shape[:-1], self.V)

    Network.Dense = Dense


@_change
def character_dropout(rate: float = 0.05) -> None:
    """Hides a fraction of the input characters; at those steps only the bias is added."""
    rows, loop = LSTMCell.input_table, Recurrent.inner_loop
    Cell.input_table = lambda self: ops.concatenate([rows(self), tensor(self.bias)[None]])

    def dropping(self, sequences, initial_state, mask, training=False):
        if training and self.vocab_size:
            unseen = keras.random.uniform(ops.shape(sequences), seed=seed) < rate
            sequences = ops.where(unseen, self.vocab_size, sequences)
        return loop(self, sequences, initial_state, mask, training)

    seed = keras.random.SeedGenerator(1)
    Loop.inner_loop = dropping


CHANGES["token-dropout"] = functools.partial(character_dropout, 0.15)  # tokens are memorized sooner


# The cell

for _function in (
    cell_changes.layer_normalisation,
    cell_changes.multiplicative,
    cell_changes.zoneout,
    cell_changes.recurrent_dropout,
    cell_changes.dropout_by_step,
):
    _change(_function)


# The optimizer


def _optimizer(kind, rate=1.0, **options):
    """Replaces Adam in `charlm.training.network`, at `rate` times Adam's learning rate."""

    def made(schedule, **given):
        schedule.initial_learning_rate *= rate
        schedule.warmup_target = schedule.warmup_target and schedule.warmup_target * rate
        return kind(schedule, **given, **options)

    streams.Adam = made


@_change
def averaged_weights(momentum: float = 0.995) -> None:
    """Measures held-out text with a running mean of the weights over about 200 steps."""
    _optimizer(streams.Adam, use_ema=True, ema_momentum=momentum)
    evaluate = streams.Streams.evaluate

    def averaged(self, *args, **kwargs):
        variables = self.trainable_variables
        kept = [ops.convert_to_numpy(v) for v in variables]
        self.optimizer._overwrite_model_variables_with_average_value(variables)
        try:
            return evaluate(self, *args, **kwargs)
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    streams.Streams.evaluate = averaged


OPTIMIZERS = {  # rate: factor on Adam's learning rate, guessed for each and not tuned
    "adam-beta-2-99": (streams.Adam, {"beta_2": 0.99}),
    "adamw": (keras.optimizers.AdamW, {"weight_decay": 0.01}),
    "nadam": (keras.optimizers.Nadam, {}),
    "rmsprop": (keras.optimizers.RMSprop, {"rate": 0.25}),
    "lion": (keras.optimizers.Lion, {"rate": 0.1}),
    "sgd": (keras.optimizers.SGD, {"rate": 50, "momentum": 0.9}),
}
for _name, (_kind, _options) in OPTIMIZERS.items():
    CHANGES[_name] = functools.partial(_optimizer, _kind, **_options)


def _schedule(share):
    """Replaces the cosine decay of the learning rate by `share`."""

    class Schedule(keras.optimizers.schedules.CosineDecay):
        def _decay_function(self, step, decay_steps, decay_from_lr, dtype):
            done = ops.minimum(ops.cast(step, dtype) / decay_steps, 1.0)
            return decay_from_lr * ops.maximum(share(done), self.alpha)

    keras.optimizers.schedules.CosineDecay = Schedule


SCHEDULES = {  # fraction of the steps after the warm-up -> fraction of the learning rate
    "linear-schedule": lambda done: 1 - done,
    "late-schedule": lambda done: ops.minimum(1.0, (1 - done) / 0.4),  # constant until 0.6
    "constant-rate": ops.ones_like,
}
for _name, _share in SCHEDULES.items():
    CHANGES[_name] = functools.partial(_schedule, _share)


if __name__ == "__main__":
    sys.exit(main())
