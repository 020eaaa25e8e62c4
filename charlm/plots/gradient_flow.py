"""Draws gradient norms against distance in time."""

import numpy as np

from charlm.plots import png

FLOOR = 1e-38  # lower end of the axis: smaller numbers are zero in float32


def draw(curves: list[tuple[str, str, bool, bool, np.ndarray]], about: str = "") -> bytes:
    """Draws norms on a logarithmic axis, with a colour for each group, as a PNG.

    Args:
        curves: (label, group, dashed, thin, norms (T,)); norms[k] is the norm k steps back.
        about: lines below the picture.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.add_subplot()
    groups = list(dict.fromkeys(group for _, group, *_ in curves))
    for label, group, dashed, thin, norms in curves:
        style, width = "--" if dashed else "-", 0.8 if thin else 1.8
        colour = f"C{groups.index(group) % 10}"
        above = np.where(norms > 0, norms, np.nan)  # the loss at T does not depend on c at T
        axes.plot(above, style, color=colour, linewidth=width, label=label)
    axes.set_yscale("log")
    low = min(n[np.isfinite(n) & (n > 0)].min(initial=1) for *_, n in curves)
    axes.set_ylim(bottom=max(low / 2, FLOOR))
    axes.set(
        xlabel="steps back in time, T - t",
        ylabel="norm of the gradient of the loss at T",
        title="How far back a gradient reaches",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    if about:
        figure.supxlabel(about, fontsize="small", x=0.02, ha="left")
    return png(figure)
