"""Recurrent layers by hand, gate by gate, that take the place of their `keras.layers` namesakes.

Every cell is a file of its own, found by its name (`charlm.reference.CELLS`), with two classes: the
cell and its layer over time. All are exported here: LSTM, LSTMCell, GRU, GRUCell, and so on.
"""

import importlib

from charlm.layers.cell import RecurrentCell
from charlm.layers.recurrent import Recurrent
from charlm.reference import CELLS

LAYERS: dict[str, type[Recurrent]] = {}
"""The layer of each cell by the cell's name, for example "rnn": SimpleRNN."""

for _name in CELLS:
    _module = importlib.import_module(f"charlm.layers.{_name}")
    for _class in vars(_module).values():
        if isinstance(_class, type) and _class.__module__ == _module.__name__:
            globals()[_class.__name__] = _class
            if issubclass(_class, Recurrent):
                LAYERS[_name] = _class

__all__ = ["LAYERS", "Recurrent", "RecurrentCell", *(x.__name__ for x in LAYERS.values())]
__all__ += [x.CELL.__name__ for x in LAYERS.values()]
