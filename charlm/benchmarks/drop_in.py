"""Section `layers`: compares Keras models with `charlm.layers` and with `keras.layers`.

Both models of a pair run in separate processes and take turns: see `sections.compare`.
"""

from collections.abc import Iterator
from dataclasses import replace

from charlm.benchmarks import figures, sections
from charlm.benchmarks.layer_case import LayerCase
from charlm.benchmarks.peers import LAYERS
from charlm.benchmarks.report import table
from charlm.benchmarks.sections import Setup

TITLES = {"tf": "TensorFlow graph", "tf-xla": "TensorFlow XLA", "jax": "JAX"}  # of engines
WINDOW = 200
# Many short rounds: the two models are measured close in time, so ratios of 1.03 are visible.
ROUNDS, SECONDS = 11, 0.1
TOLERANCE = 1e-5  # relative; a step's wrong gradient moves the loss by more
SLOWER = 1.03  # ratios above it are larger than the noise


def measure(cases: list[LayerCase], engines: tuple[str, ...], setup: Setup) -> Iterator[dict]:
    """Yields the results of `sections.compare` for each engine, with the engine and the ratio.

    The ratio is the lower quartile, median and upper quartile over rounds, or None if a model
    failed.
    """
    setup = replace(setup, seconds=SECONDS)
    jobs = tuple(cases[0].sequences)
    for engine in engines:
        for measured in sections.compare("layers", LAYERS[engine], cases, jobs, setup):
            measured |= {"engine": engine, "ratio": _ratio(measured["rows"])}
            setup.say(f"{_name(measured)}, {TITLES[engine]}: {_cell(measured)}")
            yield measured


def _ratio(rows):
    theirs, ours = rows
    if theirs["failed"] or ours["failed"]:
        return None
    return figures.quartiles(figures.ratios(ours["seconds"], theirs["seconds"]))


def report(found: list[dict]) -> str:
    """Formats the ratios: a line for each model and job, a column for each engine."""
    engines = list(dict.fromkeys(m["engine"] for m in found))
    cells = {(_name(m), m["engine"]): _cell(m) for m in found}
    rows = [
        [name, *(cells.get((name, e), "-") for e in engines)]
        for name in dict.fromkeys(map(_name, found))
    ]
    case = found[0]["case"]
    rounds = max(len(row["seconds"]) for m in found for row in m["rows"])
    return "\n".join(
        [
            "## Keras models with charlm.layers in place of keras.layers",
            "",
            table(["time with charlm / with Keras", *(TITLES[e] for e in engines)], rows),
            "",
            "Below 1: charlm is faster; above 1: charlm is slower. Median (quartiles) over",
            f"{rounds} rounds of {SECONDS:g} s each. B={case['batch']} in training, "
            f"T={case['window']}, D=H={case['units']}.",
            _slower(found, engines),
            *_agreement(found),
            *_failures(found),
        ]
    )


def _name(measured):
    return f"{LayerCase(**measured['case'])}, {measured['job']}"


def _cell(measured):
    if not measured["ratio"]:
        return "failed"
    low, median, high = measured["ratio"]
    return f"{median:.2f} ({low:.2f}-{high:.2f})" + "*" * _differs(measured)


def _differs(measured):
    """Whether the two models compute different numbers."""
    return not measured["rows"][1]["difference"] <= TOLERANCE  # true for NaN


def _slower(found, engines):
    counts = []
    for engine in engines:
        ratios = [m["ratio"][1] for m in found if m["engine"] == engine and m["ratio"]]
        counts.append(f"{TITLES[engine]} {sum(r > SLOWER for r in ratios)} of {len(ratios)}")
    return f"Ratios above {SLOWER}: {', '.join(counts)}."


def _agreement(found):
    measured = [m for m in found if m["ratio"]]
    same = [m["rows"][1]["difference"] for m in measured if not _differs(m)]
    lines = [f"Losses and logits agree to {max(same):.0e} (relative)."] if same else []
    for m in filter(_differs, measured):
        difference = m["rows"][1]["difference"]
        lines.append(
            f"NOTE: * {_name(m)}, {TITLES[m['engine']]}: the two models do not compute the same; "
            f"their numbers differ by {difference:.0e} (relative)."
        )
    return lines


def _failures(found):
    """Returns one line for each peer and reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for m in found:
        for row in m["rows"]:
            if row["failed"]:
                names.setdefault((row["peer"], row["failed"]), []).append(_name(m))
    return [
        f"{peer}: {why} ({first}{f' and {len(more)} more' * bool(more)})"
        for (peer, why), (first, *more) in names.items()
    ]
