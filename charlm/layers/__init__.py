"""Recurrent layers by hand, gate by gate, that take the place of their `keras.layers` namesakes."""

from charlm.layers.lstm import LSTM, LSTMCell

__all__ = ["LSTM", "LSTMCell"]
