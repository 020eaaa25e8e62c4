"""Tables of the cells that were found."""

from collections.abc import Callable

import numpy as np

from charlm.inside.finding import LEAST, Report
from charlm.inside.states import HIGH, LOW

LONGEST = 5  # cells with a long memory that are listed
HEADER = "layer  cell share   AUC    F1 chance  last chars   far  clamped  most"
LEGEND = """\
Layers and cells are counted from 0; a cell with - is low where the property is there.
share: of the characters that have the property.
AUC: how often the state is higher (with -: lower) at a character with the property than at one
  without; 0.5 is no relation. F1: of the best threshold; always saying yes has 2 share/(1 + share).
chance: AUC that chance can reach, from the same labels at wrong places.
last chars: AUC of the last 1, 2, 4 or 6 characters alone (the number in brackets).
far: AUC of the cell 10 or more characters from where the property begins or ends.
clamped: bits per character more if the state always has its mean; most: the character for which
  this differs most."""


def tables(report: Report, visible: Callable[[str], str] = str) -> list[str]:
    """Returns lines for the terminal.

    Args:
        report: what was found.
        visible: makes the characters of a text visible.
    """
    lines = ["", f"Cells that follow a property (state {report.letter})", ""]
    if report.findings:
        names = [visible(f.property) for f in report.findings]
        width = max(map(len, names))
        lines.append(f"{'property':{width}} {HEADER}")
        lines += [f"{x:{width}} {_row(f)}" for x, f in zip(names, report.findings, strict=True)]
        lines += ["", LEGEND]
    for title, properties in (
        (f"Followed by no cell (AUC above chance and {LEAST})", report.none),
        ("Too rare, nearly always there, or too regular to compare with chance", report.untested),
    ):
        if properties:
            lines += ["", f"{title}:", *(f"  {visible(name)}" for name in properties)]
    if report.half_lives.size:
        lines += ["", "Longest memory (characters after which half of the state is gone):"]
        lines += [f"  {text}" for text in _longest(report.half_lives)]
    if report.saturation:
        lines += ["", "Gates, share of their values that are nearly closed and nearly open:"]
        for gate, (low, high) in report.saturation.items():
            lines.append(f"  {gate}: {low:4.0%} below {LOW}, {high:4.0%} above {HIGH}")
    return lines


def _row(f):
    far = "    -" if f.away is None else f"{f.away:5.2f}"
    character, most = next(iter(f.costs.items()), ("", 0.0))
    cell = f"{'-' * (f.sign < 0)}{f.cell}"
    return (
        f"{f.layer:5} {cell:>5} {f.share:5.3f} {f.auc:5.3f} {f.f1:5.2f} {f.null:6.2f}    "
        f"{f.characters:4.2f} ({f.context}) {far} {f.cost:+8.4f}  {character!r} {most:+.2f}"
    )


def _longest(half_lives):
    for place in np.argsort(-half_lives, axis=None)[:LONGEST]:
        layer, cell = np.unravel_index(place, half_lives.shape)
        yield f"layer {layer}, cell {cell}: {half_lives[layer, cell]:.1f}"
