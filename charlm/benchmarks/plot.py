"""Draws a benchmark, with a panel for each table."""

from math import ceil, log

from charlm.benchmarks.case import Case
from charlm.plots import png

COLUMNS = 4
BARS = "step", "sampling", "fit"  # sections
OURS, OTHERS = "tab:blue", "tab:gray"


def draw(measured: list[dict]) -> bytes | None:
    """Draws characters per second of each peer as bars, and losses against time, as a PNG.

    Args:
        measured: measurements with their figures.

    Returns:
        The PNG, or None if there is nothing to draw; the section `layers` has only a table.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    panels = [m for m in measured if m["section"] in BARS and any(r["seconds"] for r in m["rows"])]
    panels += [m for m in measured if m["section"] == "quality" and "failed" not in m]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows), layout="constrained")
    for axes, m in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        (_bars if m["section"] in BARS else _curves)(axes, m)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    return png(figure, dpi=110)


def _bars(axes, m):
    """Draws medians as bars and quartiles as whiskers."""
    rows = [r for r in m["rows"] if r["seconds"]]
    speeds = [r["characters_per_second"] for r in rows]
    low, high = ([m["characters"] / r["quartiles"][k] for r in rows] for k in (2, 0))
    whiskers = [[s - x for s, x in zip(speeds, low, strict=True)],
                [x - s for s, x in zip(speeds, high, strict=True)]]  # fmt: skip
    colours = [OURS if r["peer"].startswith("ours") else OTHERS for r in rows]
    axes.barh([r["peer"] for r in rows], speeds, xerr=whiskers, color=colours, ecolor="black")
    axes.invert_yaxis()
    if m["section"] == "sampling":
        axes.set_xscale("log")
        detail = f"{m['case']['batch']} stream{'s' * (m['case']['batch'] > 1)}"
    else:
        detail = m["job"] if m["section"] == "step" else f"B={m['case']['batch']}"
    axes.set_title(f"{Case(**m['case'])}, {m['section']}: {detail}", fontsize="small")
    axes.set_xlabel("characters per second", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.xaxis.set_major_formatter("{x:,.0f}" if m["section"] == "sampling" else _thousands)
    axes.grid(axis="x", alpha=0.3)


def _thousands(x, _):
    return f"{x / 1e3:g}k"


def _curves(axes, m):
    for key, colour in (("original", OTHERS), ("ours", OURS)):
        seconds, *losses = zip(*m[key]["curve"], strict=True)
        for loss, style, part in zip(losses, ("--", "-"), ("training", "held out"), strict=True):
            bits = [x / log(2) for x in loss]
            axes.plot(seconds, bits, style, color=colour, label=f"{key}, {part}")
    axes.set_xscale("log")
    axes.set_title(f"time to quality, {m['case']['units']} units", fontsize="small")
    axes.set_xlabel("seconds of training", fontsize="small")
    axes.set_ylabel("bits per character", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
