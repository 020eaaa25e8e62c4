"""Draws the cells that follow a property, with the simpler explanations of their scores."""

from charlm.inside.finding import Report
from charlm.plots import png

MOST = 20  # rows


def draw(report: Report) -> bytes:
    """Draws a bar for each finding, marks for chance and the last characters, as a PNG."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    shown = report.findings[:MOST]
    figure = Figure(figsize=(9, 2.2 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"Cells that follow a property of {report.characters:,} characters", loc="left")
    if not shown:
        axes.text(0.5, 0.5, "no cell follows a property", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return png(figure)
    names = [f"{f.property}\nlayer {f.layer}, cell {'-' * (f.sign < 0)}{f.cell}" for f in shown]
    names = [name.replace("$", "\\$") for name in names]  # else it begins a formula
    rows = range(len(shown))
    axes.barh(rows, [f.auc - 0.5 for f in shown], 0.6, left=0.5, color="tab:blue")
    for k, f in enumerate(shown):
        axes.text(1.07, k, f"{f.auc:.3f}", ha="right", va="center")
    axes.plot(
        [f.characters for f in shown], rows, "k|", ms=14, mew=2, label="last characters alone"
    )
    axes.plot([f.null for f in shown], rows, "|", c="tab:red", ms=14, mew=2, label="chance")
    far = [(f.away, k) for k, f in enumerate(shown) if f.away is not None]
    if far:
        axes.plot(*zip(*far, strict=True), "o", c="tab:orange", label="cell, far from a border")
    axes.set_yticks(rows, names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0.5, 1.08), xlabel="AUC on the second half of the text (0.5: no relation)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    return png(figure)
