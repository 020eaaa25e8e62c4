"""The same cells and network in plain NumPy, forward and backward by hand, one equation a line.

What the layers are checked against, what samples text, and what trains without Keras
(`python -m charlm.reference`). Each cell is a module of two functions, `step` and `step_backward`,
that share nothing but the cache the first returns:

    GATES    a letter for each block of H columns in the kernels
    STATES   a letter for each state (B, H); the first, h, is the output
    LAYER    its layers' name in weights files
    KERAS    its namesake in `keras.layers`, or None; then `as_lstm(weights)`, if there is one,
             says how to write it as an LSTM for Keras

`CELLS` are the names of all cells: a cell is what has a file of one name here and in
`charlm/layers/`.
"""

import importlib
from pathlib import Path


def _names(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


_HERE = Path(__file__).parent
CELLS = tuple(sorted(_names(_HERE) & _names(_HERE.parent / "layers")))


def cell(name: str):
    """The module of a cell."""
    return importlib.import_module(f"{__name__}.{name}")
