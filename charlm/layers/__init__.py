"""Recurrent layers written by hand, drop-in replacements for those of `keras.layers`."""

from charlm.layers.cell import RecurrentCell
from charlm.layers.coupled import CoupledLSTM, CoupledLSTMCell
from charlm.layers.gru import GRU, GRUCell
from charlm.layers.lstm import LSTM, LSTMCell
from charlm.layers.recurrent import Recurrent
from charlm.layers.rnn import SimpleRNN, SimpleRNNCell

__all__ = [
    "GRU",
    "LSTM",
    "CoupledLSTM",
    "CoupledLSTMCell",
    "GRUCell",
    "LSTMCell",
    "Recurrent",
    "RecurrentCell",
    "SimpleRNN",
    "SimpleRNNCell",
]
