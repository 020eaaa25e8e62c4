"""The recurrent cells: for each a line of facts, and the modules that hold its equations.

A new cell is a line in `CELLS`, a file in `reference/` (equations, derivatives, sources) and one in
`layers/` (the Keras layer). With a third file in `kernels/` it trains and samples as machine code.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Cell:
    """What the whole package knows of a cell."""

    gates: str
    """A letter for each block of H columns in the kernels, in their order."""
    states: str
    """A letter for each state (B, H); the first, h, is the output."""
    layer: str
    """The class of its layer in `layers_module`; that of the cell ends with "Cell"."""
    saved_as: str
    """The name of its layers in weights files."""
    reference_module: str
    """Functions `step` and `step_backward` in NumPy; `as_lstm(weights)`, if there is one, writes
    the cell as an LSTM for programs that lack it."""
    layers_module: str
    kernel: str | None = None
    """The module of its machine code, if there is one."""
    keras: str | None = None
    """Its namesake in `keras.layers`."""

    @property
    def reference(self) -> ModuleType:
        """The module of its equations in NumPy."""
        return importlib.import_module(self.reference_module)

    @property
    def layer_class(self) -> type:
        """Its Keras layer."""
        return getattr(importlib.import_module(self.layers_module), self.layer)

    @property
    def cell_class(self) -> type:
        """Its Keras cell, one step of the layer."""
        return getattr(importlib.import_module(self.layers_module), f"{self.layer}Cell")


def _ours(module, gates, states, layer, saved_as, keras=None):
    rooms = ("reference", "layers", "kernels")
    reference, layers, kernel = (f"charlm.{room}.{module}" for room in rooms)
    return Cell(gates, states, layer, saved_as, reference, layers, kernel, keras)


CELLS = {
    "lstm": _ours("lstm", "ifgo", "hc", "LSTM", "lstm", "LSTM"),
    "gru": _ours("gru", "zrg", "h", "GRU", "gru", "GRU"),
    "rnn": _ours("rnn", "h", "h", "SimpleRNN", "simple_rnn", "SimpleRNN"),
    "coupled": _ours("coupled", "fgo", "hc", "CoupledLSTM", "coupled_lstm"),
}
"""By the name that `--cell` takes."""
