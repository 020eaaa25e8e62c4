"""Summaries of the trials of `charlm.evaluation.memory`: medians over seeds, and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.evaluation.memory import LADDER, Trial
from charlm.evaluation.memory_texts import TASKS


@dataclass(frozen=True)
class Row:
    """Medians over the seeds, for each gap."""

    cell: str
    gaps: list[int]
    updates: list[int]
    accuracy: list[float]
    lowest: list[float]
    """The lowest accuracy of a seed."""
    highest: list[float]
    before: list[float | None]
    after: list[float | None]
    """None if a network diverged."""


def summarized(trials: Sequence[Trial]) -> list[Row]:
    """Returns a row for each cell, in their order."""
    rows = []
    for cell in dict.fromkeys(t.cell for t in trials):
        gaps = sorted({t.gap for t in trials})
        of = [[t for t in trials if (t.cell, t.gap) == (cell, gap)] for gap in gaps]
        median: dict[str, Any] = {
            name: [float(np.median([getattr(t, name) for t in ts])) for ts in of]
            for name in ("updates", "accuracy", "before", "after")
        }
        lowest, highest = ([f(t.accuracy for t in ts) for ts in of] for f in (min, max))
        updates = [round(n) for n in median.pop("updates")]
        for name in ("before", "after"):
            median[name] = [x if np.isfinite(x) else None for x in median[name]]
        rows.append(Row(cell, gaps, updates, lowest=lowest, highest=highest, **median))
    return rows


def tables(rows: Sequence[Row], task: str) -> list[str]:
    """Returns lines: accuracy, gradients and updates by gap, and a rank correlation."""
    shown = [
        (f"right answers by gap (chance: {1 / TASKS[task]:.1%})", "accuracy", ".1%"),
        ("norm of the gradient over the gap, before training", "before", ".1e"),
        ("norm of the gradient over the gap, after it", "after", ".1e"),
        ("updates", "updates", ",d"),
    ]
    width = max(len(LADDER[row.cell]) for row in rows)
    lines = []
    for title, name, form in shown:
        lines += [title, " " * width + "".join(f"{gap:>12}" for gap in rows[0].gaps)]
        for row in rows:
            cells = ("-" if x is None else format(x, form) for x in getattr(row, name))
            lines.append(f"{LADDER[row.cell]:{width}}" + "".join(f"{x:>12}" for x in cells))
        lines.append("")
    r = explained(rows)
    if r is None:
        return lines[:-1]
    return [
        *lines,
        f"Spearman's rank correlation of accuracy and gradient before training: {r:.2f}",
    ]


def explained(rows: Sequence[Row]) -> float | None:
    """Returns Spearman's rank correlation of accuracy and gradient before training.

    It is over all cells and gaps; None if one of them is the same everywhere.
    """
    accuracy, norms = (np.array([x for row in rows for x in getattr(row, name)])
                       for name in ("accuracy", "before"))  # fmt: skip
    ranks = [_ranks(x) for x in (accuracy, norms)]
    if any(np.ptp(x) == 0 for x in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(x):
    """Returns ranks from 0; equal numbers have the mean of theirs."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]
