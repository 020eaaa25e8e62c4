"""The page of a run: one HTML file with the weights, a text and the cells that were found."""

import html
import math
import string
from dataclasses import asdict
from typing import Any

from charlm.errors import InputError
from charlm.inside import bundle, weights
from charlm.inside.finding import Report
from charlm.inside.weights import Kind
from charlm.runs.checkpoint import Checkpoint

FORMAT = 1  # of the data in the page
CHIPS = 12  # findings that the page has buttons for
PASSAGE = 5000  # characters
LARGEST = 60e6  # bytes of a page
GLUE = """
const session = new Session((message) => self.postMessage(message));
self.onmessage = ({ data }) => session.answer(data);
"""


def page(saved: Checkpoint, name: str, text: str, report: Report, kind: Kind = "fp16") -> str:
    """Returns the page of a run.

    It needs no server and requests nothing. It holds the model and the text; who has the page has
    both.

    Args:
        saved: the run.
        name: of the run.
        text: a passage to show, one character or more.
        report: the cells that were found in the run.
        kind: bits of the weights.
    """
    config = saved.config.model
    arrays, packed = weights.packed(saved.weights, config, kind)
    best = report.findings[0] if report.findings else None
    data: dict[str, Any] = {
        "format": FORMAT,
        "config": {**asdict(config), "cell": config.cell_name},
        "vocabulary": list(saved.vocab.characters),
        "arrays": arrays,
        "weights": bundle.packed_bytes(packed),
        "product": bundle.packed_bytes((bundle.PAGE / "product.wasm").read_bytes()),
        "separator": saved.config.data.separator,
        "normalize": saved.config.data.normalize,
        "text": text,
        "caret": min(len(text) - 1, 100),
        "letter": report.letter,
        "layer": best.layer if best else 0,
        "cell": best.cell if best else 0,
        "findings": [asdict(f) for f in report.findings[:CHIPS]],
    }
    style = (bundle.PAGE / "page.css").read_text(encoding="utf-8")
    worker = bundle.to_json(bundle.script("session") + GLUE)
    script = f"const WORKER = {worker};\n{bundle.script('page')}"
    template = string.Template((bundle.PAGE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=bundle.policy([script], [style]),
        title=html.escape(f"Inside {name}"),
        summary=html.escape(summary(report)),
        about=html.escape(_about(saved, kind)),
        style=style,
        data=bundle.to_json(data),
        script=script,
    )


def check_size(saved: Checkpoint, kind: Kind) -> None:
    """Raises InputError if the weights are too large for a page."""
    _, packed = weights.packed(saved.weights, saved.config.model, kind)
    size = len(packed) * 4 / 3
    if size > LARGEST:
        hint = "give --weights int8, or " * (kind != "int8")
        raise InputError(
            f"expected a model whose page has at most {LARGEST / 1e6:.0f} MB, found one of "
            f"{size / 1e6:.0f} MB; {hint}give --find for the tables alone"
        )


def summary(report: Report) -> str:
    """Returns a sentence about the cell that most surpasses the last characters."""
    if not report.findings:
        return "No single cell of this network was found to follow a property of the text."
    f = report.findings[0]
    found = (
        f"Cell {f.cell} of layer {f.layer} is {'high' if f.sign > 0 else 'low'} for: {f.property}. "
        f"On text that was not used to choose it, its AUC is {f.auc:.2f}; the last {f.context} "
        f"characters alone reach {f.characters:.2f}, chance {f.null:.2f}."
    )
    for character, bits in f.costs.items():
        if bits > 0:
            return f"{found} Without the cell, each {character!r} costs {bits:.1f} bits more."
    return found


def _about(saved, kind):
    model, best = saved.config.model, saved.progress.best
    parts = [f"{model.cell_name}, {model.layers} x {model.units}", f"weights in {kind}"]
    if best is not None:
        parts.append(f"{best / math.log(2):.3f} bits per character held out")
    return "; ".join([*parts, "this page holds the model and the text, and loads nothing"])
