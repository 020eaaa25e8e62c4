"""The page of a run: one HTML file with the weights, a text and the cells that were found."""

import base64
import html
import math
import string
from dataclasses import asdict
from typing import Any

import numpy as np

from charlm.errors import InputError
from charlm.generation import generate
from charlm.inside import bundle, recording, states, weights
from charlm.inside.finding import Report
from charlm.inside.training_cells import TrainingCells
from charlm.inside.weights import Kind
from charlm.reference.network import Network
from charlm.runs.checkpoint import Checkpoint

FORMAT = 1  # of the data in the page
CHIPS = 12  # findings that the page has buttons for
WRITTEN = 2000  # characters of a text that the model writes: a second or so
MOST_BITS = 8  # a surprise with the strongest colour, as in session.mjs
LARGEST = 60e6  # bytes of a page


def page(
    saved: Checkpoint,
    name: str,
    text: str | None = None,
    report: Report | None = None,
    kind: Kind = "fp16",
    training: TrainingCells | None = None,
) -> str:
    """Returns the page of a run.

    It needs no server and makes no requests. Anyone with the page has the model and the text.

    Args:
        saved: the run.
        name: of the run.
        text: a passage to show, one character or more; None for one that the model writes.
        report: the cells that were found in the run; None if no search was run.
        kind: bits of the weights.
        training: what the cells did while the network was trained, on the beginning of the text.

    Raises:
        InputError: the model knows no character of the text, or the page would be too large.
    """
    config = saved.config.model
    arrays, packed = weights.packed(saved.weights, config, kind)
    _check_size(len(packed), kind)
    if text is None:
        args = saved.to_network(), saved.vocab, WRITTEN, [1.0], 1
        text = generate.whole_texts(*args)[0]
    findings = report.findings if report else []
    layer, cell = (findings[0].layer, findings[0].cell) if findings else (0, 0)
    data: dict[str, Any] = {
        "format": FORMAT,
        "config": {**asdict(config), "cell": config.cell_name},
        "vocabulary": list(saved.vocab.characters),
        "arrays": arrays,
        "product": bundle.packed_bytes((bundle.PAGE / "product.wasm").read_bytes()),
        "separator": saved.config.data.separator,
        "normalize": saved.config.data.normalize,
        "text": text,
        "caret": min(len(text) - 1, 100),
        "letter": states.state_letter(config),
        "layer": layer,
        "cell": cell,
        "colours": _colours(saved, config, text, layer, cell, kind),
        "findings": [asdict(f) for f in findings[:CHIPS]],
        "training": _training(training, [(layer, cell)], findings) if training else None,
        "epochs": saved.progress.epoch,
    }
    style = (bundle.PAGE / "page.css").read_text(encoding="utf-8")
    worker = bundle.to_json(bundle.script("worker"))
    script = f"const WORKER = {worker};\n{bundle.script('page')}"
    template = string.Template((bundle.PAGE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=bundle.policy([script], [style]),
        title=html.escape(f"Inside {_utf8(name)}"),
        summary=html.escape(_utf8(summary(report))),
        about=html.escape(_about(saved, kind)),
        style=style,
        data=bundle.to_json(data),
        weights=bundle.packed_bytes(packed),
        script=script,
    )


def check_size(saved: Checkpoint, kind: Kind) -> None:
    """Raises InputError if the weights are too large for a page."""
    _, packed = weights.packed(saved.weights, saved.config.model, kind)
    _check_size(len(packed), kind)


def _check_size(packed, kind):
    size = packed * 4 / 3
    if size > LARGEST:
        hint = "give --weights int8, or " * (kind != "int8")
        raise InputError(
            f"expected a model whose page has at most {LARGEST / 1e6:.0f} MB, found one of "
            f"{size / 1e6:.0f} MB; {hint}give --find for the tables alone"
        )


def _training(recorded, cells, findings):
    """Returns the snapshots of the cells that the page has buttons for."""
    cells = sorted({*cells, *((f.layer, f.cell) for f in findings[:CHIPS])})
    rows = []
    for s in recorded.snapshots:
        x = [s.values[:, layer, cell].astype(np.float32) for layer, cell in cells]
        rows += [np.tanh(y) for y in x] if recorded.letter == "c" else x
        rows.append(s.bits.astype(np.float32) / MOST_BITS)
    values = np.rint(127 * np.clip(rows, -1, 1)).astype(np.int8)
    return {
        "length": len(recorded.text),
        "snapshots": [[s.updates, s.epochs, s.mean_bits] for s in recorded.snapshots],
        "cells": cells,
        "values": bundle.packed_bytes(values.tobytes()),
    }


def _colours(saved, config, text, layer, cell, kind):
    """Returns the bytes of a cell's state at every character, so that the page opens coloured."""
    letter = states.state_letter(config)
    ids = {c: k for k, c in enumerate(saved.vocab.characters)}
    known = np.array([ids.get(c, -1) for c in text])
    if not (known >= 0).any():
        raise InputError("expected a text with characters that the model knows, found none")
    network = Network(weights.rounded(saved.weights, config, kind), len(ids), config)
    found = np.zeros(len(text), np.int8)
    for r in recording.record(network, [known[known >= 0]], letter):
        x = r.values[letter][:, layer, cell]
        x = np.rint(127 * np.clip(np.tanh(x) if letter == "c" else x, -1, 1))
        found[np.flatnonzero(known >= 0)[r.positions]] = x
    return base64.b64encode(found.tobytes()).decode("ascii")


def summary(report: Report | None) -> str:
    """Returns a sentence about the cell that surpasses the last characters by most."""
    if report is None:
        return (
            "Choose a cell below. `charlm show` looks for cells that follow a property of a text."
        )
    if not report.findings:
        return "No single cell of this network was found to follow a property of the text."
    f = report.findings[0]
    context = "character" if f.context == 1 else f"{f.context} characters"
    found = (
        f"Cell {f.cell} of layer {f.layer} is {'high' if f.sign > 0 else 'low'} for: {f.property}. "
        f"On text that was not used to choose it, its AUC is {f.auc:.2f} (1 separates perfectly, "
        f"0.5 is chance); the last {context} alone reach {f.characters:.2f}."
    )
    character, bits = next(iter(f.costs.items()), ("", 0.0))
    if abs(bits) < 0.05:
        return found
    more = "more" if bits > 0 else "less"
    cost = f"each {character!r} costs {abs(bits):.1f} bits {more}"
    return f"{found} With the cell kept at its mean, {cost}."


def _utf8(text):
    """Returns a text without what UTF-8 cannot store, as names of folders may have."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _about(saved, kind):
    model, best = saved.config.model, saved.progress.best
    parts = [f"{model.cell_name}, {model.layers} x {model.units}", f"weights in {kind}"]
    if best is not None:
        parts.append(f"{best / math.log(2):.3f} bits per character held out")
    return "; ".join([*parts, "this page holds the model and the text, and makes no requests"])
