"""The page of tunes: one HTML file that shows scores, plays them, and writes another."""

import html
import math
import string
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from charlm.generation.tunes import header_of
from charlm.inside import bundle, counting, states, weights
from charlm.music.rule import END
from charlm.runs.checkpoint import Checkpoint
from corpora.contexts import UPBEAT

FORMAT = 1  # of the data in the page
MEANING = "Metre, and length of the upbeat as a part of a whole note"
KIND: weights.Kind = "fp16"  # of the weights in the page


def page(
    tunes: Sequence[str], name: str, saved: Checkpoint | None = None, own: Sequence[str] = ()
) -> str:
    """Returns the page. It needs no server and makes no requests.

    Args:
        tunes: in ABC notation, one or more.
        name: of the run or the file that they come from.
        saved: the run, which the page holds then; None for a page without a model.
        own: tunes to find the cell that counts the bar with, best those that were held out.
    """
    data: dict[str, Any] = {
        "format": FORMAT, "tunes": [*tunes], "page": None, "cell": None, "contexts": [],
    }  # fmt: skip
    packed, cell, field = b"", None, None
    if saved is not None:
        config = saved.config.model
        added, field = None, saved.config.data.context
        if saved.contexts:
            known = saved.contexts
            data["contexts"] = [
                {"name": name, "weight": x, "header": header_of(field, name)}
                for name, x in zip(known.names, known.weights.tolist(), strict=True)
            ]
            added = saved.conditioned_network().added[1:]
        mean = saved.in_context()
        arrays, packed = weights.packed(mean.weights, config, KIND, added)
        cell = counting.find(mean.to_network(), saved.vocab, own)
        fields = saved.config.data.abc_fields
        data |= {
            "page": {
                "config": {**asdict(config), "cell": config.cell_name},
                "vocabulary": list(saved.vocab.characters),
                "arrays": arrays,
                "separator": END,
                "normalize": saved.config.data.normalize,
            },
            "product": bundle.packed_bytes((bundle.PAGE / "product.wasm").read_bytes()),
            "fields": None if fields is None else fields + "KL",
            "letter": states.state_letter(config),
            "cell": None if cell is None else asdict(cell),
        }
    style = "".join(
        (bundle.PAGE / f"{name}.css").read_text(encoding="utf-8") for name in ("page", "tunes")
    )
    script = f"const WORKER = {bundle.to_json(bundle.script('worker'))};\n"
    script += bundle.script("tunes")
    template = string.Template((bundle.PAGE / "tunes.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=bundle.policy([script], [style]),
        title=html.escape(f"Tunes of {name.encode('utf-8', 'backslashreplace').decode()}"),
        about=html.escape(_about(saved)),
        cell=html.escape(_described(cell)),
        begin="M:6/8",
        field=html.escape((field or "").capitalize()),
        meaning=MEANING if data["contexts"] and field == UPBEAT else "",
        style=style,
        data=bundle.to_json(data),
        weights=bundle.packed_bytes(packed),
        script=script,
    )


def _about(saved):
    if saved is None:
        return "This page holds the tunes and makes no requests."
    model, best = saved.config.model, saved.progress.best
    parts = [f"{model.cell_name}, {model.layers} x {model.units}", f"weights in {KIND}"]
    if best is not None:
        parts.append(f"{best / math.log(2):.3f} bits per character held out")
    return "; ".join([*parts, "this page holds the model and the tunes, and makes no requests"])


def _described(cell):
    if cell is None:
        return ""
    return (
        f"Blue, below the staves: the state of cell {cell.cell} of layer {cell.layer}. Of all "
        f"cells it follows the number of notes since the bar line best (r = {cell.r:.2f} on tunes "
        "that were not used to choose it)."
    )
