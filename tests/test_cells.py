"""Law: a cell is a line of the table and its files; everything else finds it there."""

from pathlib import Path

import numpy as np
import pytest

from charlm import cells, export, gradients, sample, train
from charlm.runs import checkpoint

REFERENCE = '''
from pathlib import Path

import numpy as np
from charlm.reference.activations import SIGMOID, TANH
from charlm.reference.gates import split

def step(a_x, states, weights, activation=TANH, recurrent_activation=SIGMOID):
    (h_prev, c_prev), (U,) = states, weights
    a_i, a_f, a_g = split(a_x + h_prev @ U, "ifg")
    i, f, g = recurrent_activation(a_i), recurrent_activation(a_f), activation(a_g)
    c = f * c_prev + i * g
    h = activation(c)
    return (h, c), (h_prev, c_prev, i, f, g, h)

def step_backward(d_states, cache, weights, activation=TANH, recurrent_activation=SIGMOID):
    (dh, dc), (U,) = d_states, weights
    h_prev, c_prev, i, f, g, h = cache
    dc = dc + dh * activation.slope(h)
    da_i = dc * g * recurrent_activation.slope(i)
    da_f = dc * c_prev * recurrent_activation.slope(f)
    da_g = dc * i * activation.slope(g)
    da = np.concatenate([da_i, da_f, da_g], axis=-1)
    return (da @ U.T, dc * f), da, (h_prev.T @ da,)

def as_lstm(weights):
    """Its output gate is open: sigmoid(50) is 1."""
    W, U, b = weights
    H = len(U)
    return [np.pad(W, ((0, 0), (0, H))), np.pad(U, ((0, 0), (0, H))),
            np.concatenate([b, np.full(H, 50, b.dtype)])]
'''
LAYER = """
import keras
from keras import ops
from charlm.cells import CELLS
from charlm.layers import Recurrent, RecurrentCell
from charlm.layers.options import without

@keras.saving.register_keras_serializable(package="test")
class OpenLSTMCell(RecurrentCell):
    GATES, STATES = CELLS["open"].gates, CELLS["open"].states
    OPTIONS = RecurrentCell.OPTIONS | {"unit_forget_bias": True}

    def step(self, a_x, states, weights, masks=None):
        (h_prev, c_prev), (U,) = states, weights
        i, f, g = ops.split(a_x + self.recurrent_matmul(h_prev, U, masks), 3, axis=-1)
        i, f = self.recurrent_activation(i), self.recurrent_activation(f)
        c = f * c_prev + i * self.activation(g)
        return (self.activation(c), c), ()

@keras.saving.register_keras_serializable(package="test")
class OpenLSTM(Recurrent):
    CELL = OpenLSTMCell
    OPTIONS = without(Recurrent.OPTIONS, "use_cudnn")
"""


@pytest.fixture
def fifth(tmp_path, monkeypatch, text_file):
    """An LSTM without an output gate, from two files outside the package."""
    (tmp_path / "open_reference.py").write_text(REFERENCE)
    (tmp_path / "open_layers.py").write_text(LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    cell = cells.Cell("ifg", "hc", "OpenLSTM", "open_lstm", "open_reference", "open_layers")
    monkeypatch.setitem(cells.CELLS, "open", cell)
    return cell


@pytest.mark.full
def test_a_fifth_cell_trains_samples_exports_and_shows_its_gradients(fifth, capsys):
    flags = "--cell open --units 8 --batch-size 4 --window 8 --epochs 2 --warmup-steps 0"
    assert train.main(["--corpus", "small.txt", "--name", "a", *flags.split()]) == 0
    saved = checkpoint.read(Path("saved_models/a/last.weights.h5"))
    bits = [row["val_bpc"] for row in saved.progress.history]
    assert bits[1] < bits[0]
    capsys.readouterr()
    assert sample.main(["a", "--length", "40", "--seed", "1", "--prompt", "was"]) == 0
    assert len(capsys.readouterr().out) == len("was") + 40 + 1
    assert export.main(["a", "--format", "keras", "--output", "a.keras"]) == 0
    flags = "--cells open --units 4 --corpus small.txt --steps 9"
    assert gradients.main(flags.split()) == 0

    import keras

    network = saved.to_network()
    ids = np.random.default_rng(0).integers(len(saved.vocab), size=(2, 11))
    expected = network.forward(ids, network.initial_states(2))[0]
    exported = keras.models.load_model("a.keras")(ids)
    np.testing.assert_allclose(exported, expected, rtol=1e-4, atol=1e-5)
