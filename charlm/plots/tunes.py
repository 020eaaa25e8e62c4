"""Draws the shares of right tunes by temperature."""

from collections.abc import Sequence

from charlm.evaluation.tunes import Shares
from charlm.plots import png

COLOURS = {"parses": "tab:green", "adds_up": "tab:orange", "strict": "tab:blue", "new": "tab:gray"}
LABELS = {"parses": "parse", "adds_up": "bars add up", "strict": "strict", "new": "new 12-grams"}


def draw(rows: Sequence[Shares]) -> bytes:
    """Draws shares as a PNG: of drawn tunes by temperature, of other tunes as bars."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    drawn = [row for row in rows if row.temperature is not None]
    others = [row for row in rows if row.temperature is None]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for name, colour in COLOURS.items():
        for ruled, style in ((False, "o-"), (True, "s--")):
            of = [row for row in drawn if (row.read is not None) == ruled]
            label = LABELS[name] + ", with rules" * ruled
            values = [getattr(row, name) for row in of]
            if of and None not in values:
                left.plot([row.temperature for row in of], values, style, color=colour, label=label)
    left.set(xlabel="temperature", ylabel="share of tunes (of 12-grams)", ylim=(0, 1.03))
    left.grid(alpha=0.3)
    if drawn:
        left.legend(fontsize="small")
    for k, (name, colour) in enumerate(COLOURS.items()):
        values = [getattr(row, name) or 0 for row in others]
        places = [x + 0.2 * (k - 1.5) for x in range(len(others))]
        right.bar(places, values, 0.2, color=colour)
    right.set_xticks(range(len(others)), [row.of for row in others])
    right.grid(alpha=0.3, axis="y")
    return png(figure)
