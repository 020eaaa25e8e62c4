"""The cells that the tests go through: ours, Keras's and NumPy's side by side."""

import inspect
import os
from dataclasses import dataclass, field

import keras
import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.reference.activations import ACTIVATIONS

if keras.backend.backend() == "jax":  # small programs, run once: the time goes into compiling
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    if jax.__version_info__ < (0, 11):  # which has the first no more, and ends the process for it
        quickly = "--xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true"
        os.environ.setdefault("XLA_FLAGS", quickly)  # read when JAX first computes

# A cell's name and options of its own. A new cell is one more row.
PRODUCT = [
    ("lstm", {}),
    ("gru", {}),
    ("gru", {"reset_after": False}),
    ("rnn", {}),
    ("coupled", {}),
]


@dataclass(frozen=True)
class Case:
    """One row of `PRODUCT`."""

    name: str
    options: dict = field(default_factory=dict)

    def __str__(self):
        return " ".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    @property
    def cell(self):
        """What the package knows of the cell."""
        return CELLS[self.name]

    @property
    def reference(self):
        """The NumPy module."""
        return self.cell.reference

    @property
    def kind(self):
        """Our layer's class; its cell's is `kind.CELL`."""
        return self.cell.layer_class

    @property
    def keras_kind(self):
        """Keras's class of the same name, or None."""
        return self.cell.keras and getattr(keras.layers, self.cell.keras)

    @property
    def keras_cell(self):
        """Keras's cell of the same name, or None."""
        return self.cell.keras and getattr(keras.layers, f"{self.cell.keras}Cell")

    def known(self, settings):
        """Those of the settings that the layer has; a cell without gates has fewer."""
        names = {*inspect.signature(self.kind).parameters, "dtype", "zero_output_for_mask", "name"}
        return {name: value for name, value in settings.items() if name in names}

    def make(self, *units, kind=None, **settings):
        """Our layer, or one of another class, with this row's options."""
        return (kind or self.kind)(*units, **self.options, **self.known(settings))

    def step_options(self, layer):
        """What the layer's options say of the NumPy cell's `step`."""
        names = inspect.signature(self.reference.step).parameters
        found = {n: getattr(layer.cell, n) for n in names if n in layer.cell.OPTIONS}
        return {
            n: ACTIVATIONS[keras.activations.serialize(v)] if n.endswith("activation") else v
            for n, v in found.items()
        }

    def config(self, **settings):
        """Settings of a whole network of such cells."""
        if not self.options.get("reset_after", True):
            settings["reset"] = "before"
        return ModelConfig(cell=self.name, **{"dropout": 0.0} | settings)


CASES = [Case(*row) for row in PRODUCT]
NAMESAKES = [case for case in CASES if case.keras_kind]
KINDS = list({case.name: case for case in CASES}.values())  # each class once
# what backends that compile all anew go through: one gradient for both products, and two
FEW = [case for case in CASES if case.name in ("lstm", "gru") and not case.options]


def set_random(rng, *layers, scale=0.4):
    """The same random weights for all."""
    values = [scale * rng.normal(size=w.shape).astype("float32") for w in layers[0].weights]
    for layer in layers:
        assert [w.shape for w in layer.weights] == [v.shape for v in values]
        layer.set_weights(values)


def normal(rng, *shape):
    """float32 numbers of a size at which no gate is saturated."""
    return 0.5 * rng.normal(size=shape).astype(np.float32)
