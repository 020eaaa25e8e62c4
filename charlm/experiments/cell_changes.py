"""Changes of the recurrent cell and its dropout, for `charlm.experiments.changes`.

Each function replaces a part of charlm or Keras before the run is built.
"""

import keras
from keras import ops

from charlm.layers.gather import gather_rows
from charlm.layers.lstm import LSTM, LSTMCell
from charlm.layers.mixed_precision import tensor
from charlm.training import network


def _cell(kind):
    """Makes `kind` the cell of the LSTM layer."""
    LSTM.CELL = kind


def layer_normalisation() -> None:
    """Normalizes x W, h U and c (Ba, Kiros and Hinton 2016, "Layer Normalization")."""

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


def multiplicative() -> None:
    """Replaces the cell (Krause et al. 2017, "Multiplicative LSTM for Sequence Modelling")."""

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


def zoneout(keep_h: float = 0.05, keep_c: float = 0.2) -> None:
    """Keeps a random part of the states from the step before (Krueger et al. 2017, "Zoneout")."""

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


def recurrent_dropout(rate: float = 0.2) -> None:
    """Drops parts of h, one mask per window (Gal and Ghahramani 2016)."""
    options = network.cell_options
    network.cell_options = lambda *given: options(*given) | {"recurrent_dropout": rate}


def dropout_by_step() -> None:
    """Gives `--dropout` another mask at each step of a window (Zaremba et al. 2014)."""
    kind = keras.layers.Dropout
    keras.layers.Dropout = lambda rate, noise_shape, seed, name: kind(rate, seed=seed, name=name)
