"""Norms of gradients over time as tables and as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from charlm.reference import gradient_flow, trainer
from charlm.reference.gradient_flow import Flow
from charlm.reference.gradient_series import Series

DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # columns of the table

Measured = Sequence[tuple[Series, Flow]]


def curves(measured: Measured) -> Iterator[tuple[Series, str, int, str, np.ndarray]]:
    """Yields (series, label, layer, letter of the state, norms (T,)) of every state."""
    for s, flow in measured:
        for (layer, letter), norms in flow.states.items():
            where = f" layer {layer + 1}" if s.network.config.layers > 1 else ""
            yield s, f"{s.label},{where} {letter}", layer, letter, norms


def to_csv(measured: Measured) -> bytes:
    """Returns all norms as CSV."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["network", "layer", "state", "steps_back", "norm"])
    for s, _, layer, letter, norms in curves(measured):
        writer.writerows([s.label, layer + 1, letter, k, f"{n:.6e}"] for k, n in enumerate(norms))
    return rows.getvalue().encode()


def tables(measured: Measured, streams: int, clip_norm: float, clip_value: float) -> list[str]:
    """Returns the lines of two tables: norms by distance, and what clipping does to gradients.

    Args:
        measured: at least one.
        streams: number of places that the norms are means of.
        clip_norm: limit of the norm of all weights' gradients together.
        clip_value: limit of each element.
    """
    found = list(curves(measured))
    width, steps = max(len(label) for _, label, *_ in found), len(found[0][-1])
    distances = [d for d in DISTANCES if d < steps] + [steps - 1] * (steps - 1 not in DISTANCES)
    lines = [f"norm of dLoss_T/d(state at T - k), mean over {streams} places; k steps back:"]
    lines.append(" ".join([" " * width, *(f"{f'k={d}':>8}" for d in distances)]))
    for _, label, _, _, norms in found:
        lines.append(" ".join([f"{label:{width}}", *(f"{norms[d]:8.1e}" for d in distances)]))
    names = f"clipped to norm {clip_norm:g}", f"cut to +-{clip_value:g}"
    lines.append(f"\n{'gradient of all weights, mean loss of all steps':{width}}")
    lines.append(
        f"{'':{width}} {'norm':>10} {names[0]:>20} {names[1]:>18} {'its cosine to the whole':>24}"
    )
    for s, flow in measured:
        whole = flow.weights
        scaled = gradient_flow.clip_by_norm(whole, clip_norm)
        cut = trainer.clipped(whole, clip_value)
        sizes = [gradient_flow.norm(g) for g in (whole, scaled, cut)]
        lines.append(
            f"{s.label:{width}} {sizes[0]:10.3g} {sizes[1]:20.3g} {sizes[2]:18.3g} "
            f"{gradient_flow.cosine(whole, cut):24.3f}"
        )
    return lines
