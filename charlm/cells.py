"""The registry of recurrent cells: their properties, and the modules that hold their equations.

A new cell needs a line in `CELLS`, a file in `reference/` (equations, derivatives, sources) and one
in `layers/` (the Keras layer). A file in `kernels/` adds compiled training and sampling.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

CONTEXT_SCALE = 1 / 32
"""The factor of what a context adds. Adam moves every weight by about the learning rate in a step,
and a context's weights are used in all steps of its texts: without a factor they follow the last
few sentences of a text, not what its texts share (docs/experiments.md)."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell and its modules."""

    gates: str
    """A letter for each block of H columns in the kernels, in their order."""
    states: str
    """A letter for each state (B, H); the first, h, is the output."""
    layer: str
    """The class of its layer in `layers_module`; the name of the cell's class adds "Cell"."""
    saved_as: str
    """The name of its layers in weights files."""
    reference_module: str
    """The module with functions `step` and `step_backward` in NumPy; `as_lstm(weights)`, if there
    is one, converts the cell to an LSTM for programs that lack it."""
    layers_module: str
    kernel: str | None = None
    """The module of its compiled kernel, if there is one."""
    keras: str | None = None
    """The name of the corresponding layer in `keras.layers`."""

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
