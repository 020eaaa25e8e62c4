"""Rounds of seconds to the figures of a table."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from charlm.benchmarks import matmul


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, median, high = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return low, median, high


def ratio(values: list[float], reference: list[float]) -> float | None:
    """The median, over rounds, of a value by the reference's of the same round; None without any.

    Two measurements of one round stand close in time, so a drift of the machine leaves it alone.
    """
    found = ratios(values, reference)
    return float(np.median(found)) if found else None


def ratios(values: list[float], reference: list[float]) -> list[float]:
    """Each round's value by the reference's; a peer that failed midway has fewer rounds."""
    return [a / b for a, b in zip(values, reference, strict=False)]


def relative_difference(values: ArrayLike, reference: ArrayLike) -> float:
    """The largest difference of two arrays that should be equal, by the largest of the second."""
    values, reference = np.asarray(values), np.asarray(reference)
    return float(np.max(np.abs(values - reference)) / np.max(np.abs(reference)))


def add_figures(measured: dict) -> None:
    """Adds to each row of a measurement what its rounds say; to the peak, its GFLOP/s.

    Added: quartiles (seconds), ratio (by the first row's), characters_per_second, gflops, share (of
    the peak in the same round); None where there is nothing to say it of.
    """
    peak, flops = measured["peak"], measured["flops"]
    if peak:
        peak["gflops"] = matmul.FLOPS / quartiles(peak["seconds"])[1] / 1e9
    reference = measured["rows"][0]["seconds"]
    for row in measured["rows"]:
        seconds = row["seconds"]
        found: dict[str, Any] = dict.fromkeys(
            ("quartiles", "ratio", "characters_per_second", "gflops", "share"), None
        )
        if seconds:
            found["quartiles"] = quartiles(seconds)
            median = found["quartiles"][1]
            found["ratio"] = ratio(seconds, reference)
            found["characters_per_second"] = measured["characters"] / median
            if flops:
                found["gflops"] = flops / median / 1e9
            if flops and peak:
                found["share"] = ratio(peak["seconds"], seconds) * flops / matmul.FLOPS
        row |= found
