"""Draws the loss curve of a run."""

from typing import Any

from charlm.plots import png


def draw(history: list[dict]) -> bytes:
    """Draws training and held-out bits per character against epochs, as a PNG.

    Args:
        history: rows with `epoch`, `bpc` and `val_bpc`.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(epochs, [row["bpc"] for row in history], "o-", color="tab:blue", label="training")
    axes.plot(
        epochs, [row["val_bpc"] for row in history], "s-", color="tab:orange", label="held out"
    )
    best = min(history, key=lambda row: row["val_bpc"])
    axes.annotate(
        f"{best['val_bpc']:.3f}",
        (best["epoch"], best["val_bpc"]),
        textcoords="offset points",
        xytext=(0, 8),
        ha="center",
    )
    axes.set(xlabel="epoch", ylabel="bits per character", title="Loss, lower is better")
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)
    axes.margins(y=0.12)
    axes.grid(alpha=0.3)
    axes.legend()
    return png(figure)
