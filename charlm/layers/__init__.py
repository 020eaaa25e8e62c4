"""Recurrent layers written by hand, gate by gate, in the place of their `keras.layers` namesakes."""

from charlm.layers.lstm import LSTM, LSTMCell

__all__ = ["LSTM", "LSTMCell"]
