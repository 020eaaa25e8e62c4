"""A program: trains small runs on this process's devices, and writes what they end with."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from callbacks import TrackProgress
from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.layers import numpy_op
from charlm.runs import checkpoint
from charlm.text.encode import read
from charlm.training import network
from charlm.training.trainer import Training
from corpora import Corpus, Document
from tests.text.test_contexts import speeches, with_contexts

B, T, EPOCHS = 8, 5, 2
TEXT = "It was the best of times, it was the worst of times.\n" * 8
DROPS = {"dropout": 0.2, "weight_drop": 0.1}
MODELS = {
    **{cell: {"cell": cell, **DROPS} for cell in ("lstm", "gru", "rnn", "coupled")},
    "gru, reset before": {"cell": "gru", "reset": "before", **DROPS},
    "two layers": {"layers": 2, "skip": "add", **DROPS},
    "keras-lstm": {"cell": "keras-lstm", "dropout": 0.2},
    "contexts": DROPS,
}


class Look(keras.callbacks.Callback):
    """Keeps the running loss after each window; stops after `last` of them."""

    def __init__(self, last):
        super().__init__()
        self.last, self.losses = last, []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        self.model.stop_training = len(self.losses) == self.last


def trained(case, saved=None, last=None):
    """Returns a trained run and its running losses.

    Args:
        case: a name of `MODELS`; with " in loops" after it, without machine code.
        saved: a checkpoint to continue from.
        last: the number of windows after which it stops; 0 for none.
    """
    model = MODELS[case.removesuffix(" in loops")]
    data = DataConfig(corpus="small", batch_size=B, window=T, seed=5, restart_every=4)
    if case == "contexts":
        text, data = with_contexts(speeches(12, 12)), replace(data, context="president")
    else:
        text = read(Corpus("small", (Document("small", TEXT),)))
    config = Config(ModelConfig(units=6, **model), data, FitConfig(epochs=EPOCHS, precision="fp32"))
    is_supported = numpy_op.is_supported
    if case.endswith(" in loops"):
        numpy_op.is_supported = lambda tensor=None: False
    try:
        training, look = Training(config, text, saved), Look(last)
        windows = training.windows().steps
        if last != 0:
            training.fit([TrackProgress(training.progress, B * T, windows), look])
    finally:
        numpy_op.is_supported = is_supported
    return training, look.losses


def main(out, *cases):
    """Writes OUT.json and OUT.npz; OUT-CASE.h5 is a run to go on with, or is made."""
    found, arrays = {}, {}
    for case in cases:
        kept = Path(f"{out}-{case}.h5")
        saved = checkpoint.from_bytes(kept.read_bytes()) if kept.exists() else None
        training, losses = trained(case, saved)
        history = [[row["loss"], row["val_loss"]] for row in training.progress.history]
        found[case] = {"losses": losses, "history": history, "devices": training.devices}
        weights = network.weights(training.network).values()
        carried = map(keras.ops.convert_to_numpy, training.streams.carried["training"])
        arrays |= {f"{case} {k}": w for k, w in enumerate([*weights, *carried])}
    Path(f"{out}.json").write_text(json.dumps(found))
    np.savez(f"{out}.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
