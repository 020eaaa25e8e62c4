"""Draws gradient norms against distance in time."""

import numpy as np

from charlm.plots import png

FLOOR = 1e-16  # lower end of the axis: smaller gradients vanish in a float32 sum


def draw(curves: list[tuple[str, str, bool, np.ndarray]]) -> bytes:
    """Draws norms on a logarithmic axis, with a colour for each group, as a PNG.

    Args:
        curves: (label, group, dashed, norms (T,)); norms[k] is the norm k steps back.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    groups = list(dict.fromkeys(group for _, group, _, _ in curves))
    for label, group, dashed, norms in curves:
        style = "--" if dashed else "-"
        axes.plot(norms, style, color=f"C{groups.index(group) % 10}", label=label)
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
    return png(figure)
