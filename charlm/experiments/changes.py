"""`python -m charlm.experiments.changes CHANGE ...`: `charlm train ...` with one change.

What is tried for the recipe and is no option of charlm (docs/recipe.md). A change is a function
here that puts something else in the place of a part of charlm or Keras before the run begins.
Nothing is written, for the weights may fit no model of charlm's; the run's history is printed, as
JSON.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable

import keras
from keras import ops

from callbacks import NonFiniteLossError, StopOnNaN, TrackProgress
from charlm import cli, presets
from charlm.config import Config
from charlm.layers.gather import gather_rows
from charlm.layers.lstm import LSTM, LSTMCell
from charlm.layers.mixed_precision import tensor
from charlm.layers.recurrent import Recurrent
from charlm.training import network
from charlm.training.trainer import Training

CHANGES: dict[str, Callable] = {}
WIDTH = 64  # of an embedding


def main() -> int:
    """Trains with the change that is the first argument and the flags that are the others."""
    return cli.run(_main, None)


def _main(argv):
    parser = argparse.ArgumentParser(prog="python -m charlm.experiments.changes")
    parser.add_argument("change", choices=CHANGES)
    parser.add_argument("--preset", choices=presets.PRESETS, default=presets.DEFAULT)
    args, flags = parser.parse_known_args(argv)
    config = cli.parse(Config, parser.prog, flags, presets.PRESETS[args.preset])
    CHANGES[args.change]()
    training = Training(config, cli.text(cli.corpus(config.data)))
    characters = config.data.batch_size * config.data.window
    track = TrackProgress(training.progress, characters, training.windows().steps)
    try:
        training.fit([StopOnNaN(training.progress), track])
    except NonFiniteLossError as error:
        cli.note(f"stopped: {error}")
    print(json.dumps(training.progress.history))


def _change(function):
    CHANGES[function.__name__.replace("_", "-")] = function
    return function


@_change
def nothing():
    """As charlm trains."""


# The output layer and the loss


@_change
def label_smoothing(share=0.05):
    """Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; training only."""
    plain = network.Streams.compute_loss

    def smoothed(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = plain(self, x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        alike = ops.mean(ops.logsumexp(y_pred, axis=-1) - ops.mean(y_pred, axis=-1))
        return (1 - share) * loss + share * alike

    network.Streams.compute_loss = smoothed


# The input


@_change
def embedding(width=WIDTH):
    """The first kernel is a product: of a row for each character, and one matrix for all.

    Returns:
        A list that will hold the first layer's cell.
    """
    build, cells = LSTMCell.build, []

    def built(self, input_shape):
        build(self, input_shape)
        shape = (self.vocab_size, width)
        self.embedding = self.add_weight(name="embedding", shape=shape, initializer="uniform")
        shape = (width, len(self.GATES) * self.units)
        self.unfolding = self.add_weight(name="unfolding", shape=shape)
        cells.append(self)

    LSTMCell.build = built
    LSTMCell.input_table = lambda self: (
        ops.matmul(tensor(self.embedding), tensor(self.unfolding)) + tensor(self.bias)
    )
    return cells


@_change
def tied_output():
    """As `embedding`; logits are products of its rows with h, made as wide as they are."""
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

    network.Dense = Dense


@_change
def character_dropout(rate=0.05):
    """A share of the characters is not seen: a step of its own with no input but the bias."""
    rows, loop = LSTMCell.input_table, Recurrent.inner_loop
    LSTMCell.input_table = lambda self: ops.concatenate([rows(self), tensor(self.bias)[None]])

    def dropping(self, sequences, initial_state, mask, training=False):
        if training and self.vocab_size:
            unseen = keras.random.uniform(ops.shape(sequences), seed=seed) < rate
            sequences = ops.where(unseen, self.vocab_size, sequences)
        return loop(self, sequences, initial_state, mask, training)

    seed = keras.random.SeedGenerator(1)
    Recurrent.inner_loop = dropping


# The cell


def _cell(kind):
    """Makes it the LSTM's."""
    LSTM.CELL = kind


@_change
def layer_normalisation():
    """Ba, Kiros and Hinton 2016, "Layer Normalization": of x W, h U and c."""

    class Cell(LSTMCell):
        def build(self, input_shape):
            super().build(input_shape)
            GH = len(self.GATES) * self.units
            for name, width in (("gain_x", GH), ("gain_h", GH), ("gain_c", self.units)):
                gain = self.add_weight(name=name, shape=(width,), initializer="ones")
                setattr(self, name, gain)

        def rows(self):
            return _normalised(tensor(self.kernel)) * self.gain_x + self.bias

        def step(self, a_x, states, weights, masks=None):
            (h, c), (U,) = states, weights
            a = a_x + _normalised(self.matmul(h, U)) * self.gain_h
            i, f, g, o = ops.split(a, 4, axis=-1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            return (ops.sigmoid(o) * ops.tanh(_normalised(c) * self.gain_c), c), ()

    _cell(Cell)


def _normalised(x):
    return (x - ops.mean(x, -1, keepdims=True)) / (ops.std(x, -1, keepdims=True) + 1e-3)


@_change
def multiplicative():
    """Krause et al. 2017, "Multiplicative LSTM for Sequence Modelling"."""

    class Cell(LSTMCell):
        def build(self, input_shape):
            super().build(input_shape)
            shapes = {"factor_x": (self.vocab_size, self.units), "factor_h": (self.units,) * 2}
            for name, shape in shapes.items():
                setattr(self, name, self.add_weight(name=name, shape=shape))

        def project(self, inputs, masks=None):
            kernel = ops.concatenate([self.input_table(), tensor(self.factor_x)], axis=-1)
            return gather_rows(kernel, inputs[..., 0])

        def recurrent_weights(self, training=False):
            return (*super().recurrent_weights(training), tensor(self.factor_h))

        def step(self, a_x, states, weights, masks=None):
            (h, c), (U, factor) = states, weights
            a_x, m_x = a_x[:, : -self.units], a_x[:, -self.units :]
            return super().step(a_x, (m_x * self.matmul(h, factor), c), (U,))

    _cell(Cell)


@_change
def zoneout(keep_h=0.05, keep_c=0.2):
    """Krueger et al. 2017, "Zoneout": a share of the states stays as it was."""

    class Cell(LSTMCell):
        def recurrent_masks(self, h, training):
            self.in_training = training
            return super().recurrent_masks(h, training)

        def project(self, inputs, masks=None):
            a_x = super().project(inputs, masks)
            shape = (*ops.shape(a_x)[:-1], self.units)
            stay = []
            for share in (keep_h, keep_c):
                if self.in_training:
                    drawn = keras.random.uniform(shape, seed=self.seed_generator)
                    stay.append(ops.cast(drawn < share, a_x.dtype))
                else:  # the mean
                    stay.append(ops.full(shape, share, a_x.dtype))
            return ops.concatenate([a_x, *stay], axis=-1)

        def step(self, a_x, states, weights, masks=None):
            H = self.units
            a_x, *stay = a_x[:, : 4 * H], a_x[:, 4 * H : 5 * H], a_x[:, 5 * H :]
            new, cache = super().step(a_x, states, weights)
            zipped = zip(stay, states, new, strict=True)
            return tuple(s * old + (1 - s) * x for s, old, x in zipped), cache

    _cell(Cell)


@_change
def recurrent_dropout(rate=0.2):
    """Of h, one mask for a window: Gal and Ghahramani 2016, "A Theoretically Grounded..."."""
    options = network.cell_options
    network.cell_options = lambda *given: options(*given) | {"recurrent_dropout": rate}


@_change
def dropout_by_step():
    """`--dropout` with a mask of its own for each step of a window: Zaremba et al. 2014."""
    kind = keras.layers.Dropout
    keras.layers.Dropout = lambda rate, noise_shape, seed, name: kind(rate, seed=seed, name=name)


# The optimizer


def _optimizer(kind, rate=1.0, **options):
    """Makes it what `charlm.training.network` takes for Adam, at `rate` times Adam's rate."""

    def made(schedule, **given):
        schedule.initial_learning_rate *= rate
        schedule.warmup_target = schedule.warmup_target and schedule.warmup_target * rate
        return kind(schedule, **given, **options)

    network.Adam = made


@_change
def averaged_weights(momentum=0.995):
    """Held-out text is measured with a running mean of the weights, as long as 200 steps."""
    _optimizer(network.Adam, use_ema=True, ema_momentum=momentum)
    evaluate = network.Streams.evaluate

    def averaged(self, *args, **kwargs):
        variables = self.trainable_variables
        kept = [ops.convert_to_numpy(v) for v in variables]
        self.optimizer._overwrite_model_variables_with_average_value(variables)
        try:
            return evaluate(self, *args, **kwargs)
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    network.Streams.evaluate = averaged


OPTIMIZERS = {  # rate: times Adam's learning rate; a guess for each, not searched for
    "adam-beta-2-99": (network.Adam, {"beta_2": 0.99}),
    "adamw": (keras.optimizers.AdamW, {"weight_decay": 0.01}),
    "nadam": (keras.optimizers.Nadam, {}),
    "rmsprop": (keras.optimizers.RMSprop, {"rate": 0.25}),
    "lion": (keras.optimizers.Lion, {"rate": 0.1}),
    "sgd": (keras.optimizers.SGD, {"rate": 50, "momentum": 0.9}),
}
for _name, (_kind, _options) in OPTIMIZERS.items():
    CHANGES[_name] = functools.partial(_optimizer, _kind, **_options)


def _schedule(share):
    """The learning rate falls by `share` in the place of a cosine."""

    class Schedule(keras.optimizers.schedules.CosineDecay):
        def _decay_function(self, step, decay_steps, decay_from_lr, dtype):
            done = ops.minimum(ops.cast(step, dtype) / decay_steps, 1.0)
            return decay_from_lr * ops.maximum(share(done), self.alpha)

    keras.optimizers.schedules.CosineDecay = Schedule


SCHEDULES = {  # share of what is done after the warm-up -> share of the rate
    "linear-schedule": lambda done: 1 - done,
    "late-schedule": lambda done: ops.minimum(1.0, (1 - done) / 0.4),  # constant until 0.6
    "constant-rate": ops.ones_like,
}
for _name, _share in SCHEDULES.items():
    CHANGES[_name] = functools.partial(_schedule, _share)


if __name__ == "__main__":
    sys.exit(main())
