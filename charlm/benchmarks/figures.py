"""Computes the figures of a table from the seconds of all rounds."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from charlm.benchmarks import matmul


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Returns the lower quartile, the median and the upper quartile."""
    low, median, high = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return low, median, high


def ratio(values: list[float], reference: list[float]) -> float | None:
    """Returns the median over rounds of value / reference in the same round; None without rounds.

    Measurements of one round are close in time, so a drift of the machine hardly affects it.
    """
    found = ratios(values, reference)
    return float(np.median(found)) if found else None


def ratios(values: list[float], reference: list[float]) -> list[float]:
    """Divides each round's value by the reference's; a peer that failed has fewer rounds."""
    return [a / b for a, b in zip(values, reference, strict=False)]


def relative_difference(values: ArrayLike, reference: ArrayLike) -> float:
    """Returns the largest difference of two arrays, divided by the second's largest number."""
    values, reference = np.asarray(values), np.asarray(reference)
    return float(np.max(np.abs(values - reference)) / np.max(np.abs(reference)))


def reference(measured: dict) -> dict:
    """Returns the row with which the others are compared: the first that was measured."""
    rows: list[dict] = measured["rows"]
    return next((row for row in rows if row["seconds"]), rows[0])


def add_figures(measured: dict) -> None:
    """Adds figures to each row of a measurement, and GFLOP/s to the peak.

    Figures: quartiles (seconds), ratio (to `reference`), characters_per_second, gflops, share (of
    the peak in the same round); None if there is nothing to compute them from.
    """
    peak, flops = measured["peak"], measured["flops"]
    if peak:
        peak["gflops"] = matmul.FLOPS / quartiles(peak["seconds"])[1] / 1e9
    first = reference(measured)["seconds"]
    for row in measured["rows"]:
        seconds = row["seconds"]
        found: dict[str, Any] = dict.fromkeys(
            ("quartiles", "ratio", "characters_per_second", "gflops", "share"), None
        )
        if seconds:
            found["quartiles"] = quartiles(seconds)
            median = found["quartiles"][1]
            found["ratio"] = ratio(seconds, first)
            found["characters_per_second"] = measured["characters"] / median
            if flops:
                found["gflops"] = flops / median / 1e9
            if flops and peak:
                found["share"] = ratio(peak["seconds"], seconds) * flops / matmul.FLOPS
        row |= found
