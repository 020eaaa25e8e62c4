"""Tables of the cells that were found."""

from collections.abc import Callable

import numpy as np

from charlm.inside.finding import Report
from charlm.inside.states import HIGH, LOW

LONGEST = 5  # cells with a long memory that are listed
HEADER = f"{'layer':>5} {'cell':>5}   AUC    F1  chance  last characters   far  clamped  most"
LEGEND = """\
AUC, F1: how well the cell's state tells whether a character has the property. AUC 0.5: not at all,
  1: always. A cell is chosen on the first half of the text; all figures are of the second.
chance: AUC that the best cell reaches for the same labels at wrong places of the text.
last characters: AUC of the last 1, 2, 4 or 6 characters alone (the number in brackets).
far: AUC of the cell 10 or more characters from where the property begins or ends.
clamped: bits per character more if the cell's state always has its mean; most: the character for
  which this is largest."""


def tables(report: Report, visible: Callable[[str], str] = str) -> list[str]:
    """Returns lines for the terminal.

    Args:
        report: what was found.
        visible: makes the characters of a text visible.
    """
    lines = ["", f"Cells that follow a property (state {report.letter})", ""]
    if report.findings:
        width = max(len(f.property) for f in report.findings)
        lines.append(f"{'property':{width}} {HEADER}")
        lines += [_row(f, width) for f in report.findings]
        lines += ["", LEGEND]
    lines += ["", f"Followed by no cell: {visible(', '.join(report.none)) or 'none'}"]
    lines += [f"Too rare, or nearly always there: {visible(', '.join(report.rare)) or 'none'}"]
    if report.half_lives.size:
        lines += ["", "Longest memory (characters after which half of the state is gone):"]
        lines += [f"  {text}" for text in _longest(report.half_lives)]
    if report.saturation:
        lines += ["", "Gates, share of their values that are nearly closed and nearly open:"]
        for gate, (low, high) in report.saturation.items():
            lines.append(f"  {gate}: {low:4.0%} below {LOW}, {high:4.0%} above {HIGH}")
    return lines


def _row(f, width):
    far = "    -" if f.away is None else f"{f.away:5.2f}"
    character, most = next(iter(f.costs.items()), ("", 0.0))
    return (
        f"{f.property:{width}} {f.layer + 1:5} {f.cell:5} {f.auc:5.3f} {f.f1:5.2f} {f.null:7.2f} "
        f"{f.characters:12.2f} ({f.context}) {far} {f.cost:+8.4f}  {character!r} {most:+.2f}"
    )


def _longest(half_lives):
    for place in np.argsort(-half_lives, axis=None)[:LONGEST]:
        layer, cell = np.unravel_index(place, half_lives.shape)
        yield f"layer {layer + 1} cell {cell}: {half_lives[layer, cell]:.1f}"
