"""An evaluation as a picture: models beside each other, and bits by how much was read before."""

from pathlib import Path


def draw(report: dict, path: Path) -> None:
    """Bits per character of each model as bars, and of this one by position, as a PNG.

    Args:
        report: with `models` {name: bits} and `by_position`, rows with `from`, `to` and `bits`.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(9, 5), layout="constrained")
    bars, curve = figure.subplots(2, 1)
    names, values = list(report["models"]), list(report["models"].values())
    colours = ["tab:blue" if name.startswith("this model") else "tab:gray" for name in names]
    drawn = bars.barh(names, values, color=colours)
    bars.bar_label(drawn, fmt="%.3f", padding=3)
    bars.invert_yaxis()
    bars.set(xlabel="bits per character, lower is better")
    bars.margins(x=0.12)
    rows = report["by_position"]
    curve.plot([row["from"] for row in rows], [row["bits"] for row in rows], "o-")
    curve.set_xscale("log", base=2)
    curve.set(xlabel="characters read before, state carried", ylabel="bits per character")
    curve.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
