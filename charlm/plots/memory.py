"""Draws accuracy against gap, next to the gradient over the gap."""

from collections.abc import Sequence

import numpy as np

from charlm.evaluation.memory import LADDER
from charlm.evaluation.memory_report import Row
from charlm.evaluation.memory_texts import TASKS
from charlm.plots import png

LEAST = 1e-12  # smaller gradients are drawn here, a gradient of zero is not drawn
GAPS = {"recall": "gap, characters", "copy": "letters to copy", "brackets": "depth"}


def draw(rows: Sequence[Row], task: str) -> bytes:
    """Draws a PNG: on the left accuracy, on the right gradients before and after training."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way
    from matplotlib.ticker import NullLocator, PercentFormatter

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, row in enumerate(rows):
        colour = f"C{k % 10}"
        left.plot(row.gaps, row.accuracy, "o-", color=colour, label=LADDER[row.cell])
        left.fill_between(row.gaps, row.lowest, row.highest, color=colour, alpha=0.12)
        for norms, style in ((row.before, "o--"), (row.after, "o-")):
            right.plot(
                row.gaps,
                [max(x, LEAST) if x else np.nan for x in norms],
                style,
                color=colour,
                markersize=4,
            )
    left.axhline(1 / TASKS[task], color="gray", linewidth=1)
    left.annotate("chance", (rows[0].gaps[0], 1 / TASKS[task]), (2, 3), textcoords="offset points")
    left.set(title="right answers (median and range of seeds)", ylim=(0, 1.03))
    left.yaxis.set_major_formatter(PercentFormatter(1))
    right.set(title="gradient over the gap: dashed before, solid after training", yscale="log")
    for axes in (left, right):
        axes.set(xlabel=GAPS[task], xscale="log")
        axes.set_xticks(rows[0].gaps, rows[0].gaps)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  fontsize="small")  # fmt: skip
    return png(figure)
