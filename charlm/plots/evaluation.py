"""Draws an evaluation: bits per character by model and by characters read, and samples."""

from collections.abc import Callable

from charlm.evaluation.report import KEYS
from charlm.plots import png


def draw(report: dict) -> bytes:
    """Draws bits per character of each model as bars, and of this one by position, as a PNG.

    Args:
        report: has `models`, {name: bits}; `by_position`, rows with `from`, `to`, `bits` and
            optionally others of `KEYS`; and optionally `samples`, a row for the text that was
            measured and one for each temperature.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    samples = report.get("samples")
    figure = Figure(figsize=(9, 9 if samples else 5), layout="constrained")
    bars, curve, *rest = figure.subplots(3 if samples else 2, 1)
    names, values = list(report["models"]), list(report["models"].values())
    colours = ["tab:blue" if name.startswith("this model") else "tab:gray" for name in names]
    drawn = bars.barh(names, values, color=colours)
    bars.bar_label(drawn, fmt="%.3f", padding=3)
    bars.invert_yaxis()
    bars.set(xlabel="bits per character, lower is better")
    bars.margins(x=0.12)
    rows = report["by_position"]
    for label, key in KEYS.items():
        if key in rows[0]:
            curve.plot([row["from"] for row in rows], [row[key] for row in rows], "o-", label=label)
    curve.set_xscale("log", base=2)
    curve.set(xlabel="characters read before", ylabel="bits per character")
    curve.legend()
    curve.grid(alpha=0.3)
    if samples:
        _draw_samples(samples, *rest)
    return png(figure)


def _draw_samples(rows, axes):
    """Draws shares by temperature; dashed lines are those of the text that was measured."""
    measured, *rows = rows
    rows = sorted(rows, key=lambda row: row["of"])
    temperatures = [row["of"] for row in rows]
    lengths = list(measured["new"])[1:4]  # of the shortest there are few, of the longest all
    shares: dict[str, Callable[..., float | None]] = {
        f"new {n}-grams": lambda row, n=n: row["new"][n] for n in lengths
    }
    shares |= {
        "repeated": lambda row: row["repeated"],
        "known words": lambda row: row["known_words"],
    }
    for label, share in shares.items():
        values = [share(row) for row in rows]
        if None in values:  # samples without a word
            continue
        (line,) = axes.plot(temperatures, values, "o-", label=label)
        if share(measured) is not None:
            axes.axhline(share(measured), color=line.get_color(), linestyle="--", linewidth=1)
    axes.set(xlabel="temperature of samples; dashed, the text that was measured", ylabel="share")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.grid(alpha=0.3)
