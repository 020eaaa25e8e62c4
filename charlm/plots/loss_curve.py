"""Draws the loss curve of a run."""

from typing import Any

from charlm.plots import png

TRAINING, HELD_OUT = "tab:blue", "tab:orange"
FIRST = 0.02  # of the first epoch, which is left out of the axis's range: the loss falls steeply


def draw(history: list[dict], steps: list[dict] | None = None) -> bytes:
    """Draws training and held-out bits per character against passes over the text, as a PNG.

    Args:
        history: a row for each epoch, with `epoch`, `bpc` and `val_bpc`.
        steps: rows within the epochs, with `epochs` and `bpc`; by default the training loss is
            drawn from `history`.
    """
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    if steps:
        first = steps[0]["epochs"]  # earlier epochs are those of a run before steps were recorded
        points = [(row["epoch"], row["bpc"]) for row in history if row["epoch"] < first]
        points += [(row["epochs"], row["bpc"]) for row in steps]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=TRAINING, linewidth=1, label="training")
        seen = [b for a, b in zip(x, y, strict=True) if a > FIRST] or y
        low = min(*seen, *(row["val_bpc"] for row in history))
        axes.set_ylim(low - 0.08 * (max(seen) - low) - 0.02, max(seen) + 0.02)
        axes.set_xlim(0, epochs[-1] * 1.04)
    else:
        axes.plot(epochs, [row["bpc"] for row in history], "o-", color=TRAINING, label="training")
        axes.margins(y=0.12)
        locator: Any = axes.xaxis.get_major_locator()
        locator.set_params(integer=True)
    held_out = [row["val_bpc"] for row in history]
    axes.plot(epochs, held_out, "s-", color=HELD_OUT, markersize=4, label="held out")
    best = min(history, key=lambda row: row["val_bpc"])
    place = best["epoch"], best["val_bpc"]
    label = f"best: {best['val_bpc']:.3f} in epoch {best['epoch']}"
    axes.plot(*place, "*", color=HELD_OUT, markersize=14, label=label)
    axes.set(xlabel="epochs", ylabel="bits per character", title="Loss, lower is better")
    axes.grid(alpha=0.3)
    axes.legend()
    return png(figure)
