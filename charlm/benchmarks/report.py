"""Reports a benchmark: Markdown tables within 100 columns, and files."""

import json
import os
import time
from math import log
from pathlib import Path

from charlm.benchmarks import figures, machine
from charlm.benchmarks.case import Case
from charlm.benchmarks.sections import Setup
from charlm.notes import note
from charlm.plots import try_draw
from charlm.runs import atomic

WHAT = {
    "layer": "layers alone, forward and backward",
    "step": "whole training step",
    "characters": "sampling",
    "windows": "charlm train's fit and its bare step",
}
FILES = "bench.md", "bench.json", "bench.png"
BUSY = 0.5  # load average before the benchmark above which a note is printed
TOLERANCE = 1e-3  # relative; float32 peers that differ by more compute something else


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Formats a table; the first column is left-aligned, the others right-aligned."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]

    def line(cells):
        first, *others = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join("-" * (w + 2) if k == 0 else "-" * (w + 1) + ":" for k, w in enumerate(widths))
    return "\n".join([line(columns), f"|{rule}|", *map(line, rows)])


def start(command: str, setup: Setup) -> dict:
    """Returns results without measurements: the machine, the time and the settings.

    Args:
        command: the command line.
        setup: settings of the measurements.
    """
    return {
        "command": command, "began": time.strftime("%Y-%m-%d %H:%M"), "device": setup.device,
        "threads": len(setup.cpus), "cpus": setup.cpus, "rounds": setup.rounds,
        "seconds": setup.seconds, "machine": machine.describe(), "load": os.getloadavg()[0],
        "peaks": {}, "measured": [],
    }  # fmt: skip


def write(folder: Path, text: str, results: dict) -> bool:
    """Writes bench.md, bench.json and bench.png, and prints their names; reports failures.

    Returns:
        Whether the first two were written.
    """
    from charlm.benchmarks import plot

    atomic.make_folder(folder)
    tables, data, drawing = FILES
    files = {tables: text.encode(), data: json.dumps(results, indent=1).encode()}
    picture = try_draw(lambda: plot.draw(results["measured"]), folder / drawing, note)
    pictures = {} if picture is None else {drawing: picture}
    written = [name for name, data in (files | pictures).items()
               if atomic.try_write(folder / name, data, note)]  # fmt: skip
    print(f"{folder}: {', '.join(written)}")
    return files.keys() <= set(written)


def heading(results: dict) -> str:
    """Returns lines about the machine and the settings of the measurements."""
    m, busy = results["machine"], []
    if results["load"] > BUSY:
        busy = [f"NOTE: load {results['load']:.1f} at the start; a busy machine distorts figures."]
    return "\n".join(
        [
            "# charlm bench",
            "",
            f"{m['processor']}, {results['threads']} of {m['cores']} cores; "
            f"{m['memory'] / 1e9:.1f} GB; {m['system']}; Python {m['python']}",
            f"`{results['command']}` on {results['device']}, {results['began']}",
            "",
            f"Peers take turns: {results['rounds']} rounds, {results['seconds']:g} s each unless a",
            'table says otherwise. Times: medians over rounds, and quartiles. "x NAME": time',
            "divided by NAME's in the same round, median; above 1 is slower.",
            *busy,
        ]
    )


def measurement(measured: dict) -> str:
    """Returns the table of one measurement with figures, and notes about it."""
    case, rows, peak = Case(**measured["case"]), measured["rows"], measured["peak"]
    section, flops = measured["section"], measured["flops"]
    columns = {  # title: (row -> cell, whether it is there)
        "ms": (lambda r: _ms(r["quartiles"][1]), True),
        "quartiles": (lambda r: f"{_ms(r['quartiles'][0])}-{_ms(r['quartiles'][2])}", True),
        f"x {figures.reference(measured)['peer']}": (lambda r: _number(r["ratio"], ".2f"), True),
        "chars/s": (lambda r: f"{r['characters_per_second']:,.0f}", True),
        "GFLOP/s": (lambda r: f"{r['gflops']:.1f}", flops),
        "of peak": (lambda r: _number(r["share"], ".0%"), peak),
        "first s": (lambda r: f"{r['first']:.2f}", section != "fit"),
    }
    shown = {title: cell for title, (cell, there) in columns.items() if there}
    cells = [
        [r["peer"], *(cell(r) if r["seconds"] else "-" for cell in shown.values())] for r in rows
    ]
    size = f"B={case.batch} T={case.window} V={case.vocab}"
    if section == "sampling":
        size = f"{case.batch} stream{'s' * (case.batch > 1)}"
    title = f"## {case}, {WHAT[measured['job']]} ({size})"
    lines = [title, "", table(["peer", *shown], cells), ""]
    if peak:
        lines.append(
            f"Peak: {peak['gflops']:.0f} GFLOP/s, large float32 products by {peak['library']} in"
            " the same rounds."
        )
    lines += _agreement(measured)
    lines += [f"{row['peer']}: {row['failed']}" for row in rows if row["failed"]]
    return "\n".join(lines).rstrip()


def _agreement(measured):
    """Returns lines about the relative differences between the peers' numbers and the first's."""
    what = {"layer": "Gradients", "step": "Losses", "characters": "Log-probabilities"}
    found = [r for r in measured["rows"][1:] if r["difference"] is not None]
    exact = {r["peer"]: r["difference"] for r in found if r["exact"]}
    parts = [f"to {max(exact.values()):.0e}"] if exact else []
    parts += [f"{r['peer']} to {r['difference']:.0e}" for r in found if not r["exact"]]
    lines = [f"{what[measured['job']]} agree {', '.join(parts)} (relative)."] if parts else []
    odd = [name for name, difference in exact.items() if not difference <= TOLERANCE]
    return lines + [f"NOTE: {name} does not compute the same as the first." for name in odd]


def _ms(seconds):
    """Formats milliseconds with four digits."""
    return f"{1e3 * seconds:,.0f}" if seconds >= 1 else f"{1e3 * seconds:.4g}"


def _number(value, how):
    return "-" if value is None else format(value, how)


def memory(measured: list[dict]) -> str:
    """Formats the peak memory of the peers' processes by case, and of `charlm train`."""
    steps = [m for m in measured if m["section"] == "step" and m["job"] == "step"]
    lines = ["## Peak memory of a process, MB", ""]
    if steps:
        columns = ["training step", *(str(Case(**m["case"])) for m in steps)]
        cells = [
            [row["peer"], *(_megabytes(m["rows"][k]["memory"]) for m in steps)]
            for k, row in enumerate(steps[0]["rows"])
        ]
        lines += [table(columns, cells), ""]
    for m in (m for m in measured if m["section"] == "memory"):
        found = m.get("failed") or f"{_megabytes(m['memory'])} MB"
        lines.append(f"charlm train, {Case(**m['case'])}, its other settings default: {found}")
    return "\n".join(lines).rstrip()


def _megabytes(count):
    return "-" if count is None else f"{count / 1e6:,.0f}"


def quality(measured: dict) -> str:
    """Formats the time to the original recipe's losses."""
    title = "## Time to a given quality"
    if "failed" in measured:
        return f"{title}\n\nnot measured: {measured['failed']}"
    units, epochs = measured["case"]["units"], measured["epochs"]
    columns = ["recipe", "s", "training", "held out", "held out, carried", "MB"]
    cells = []
    names = f"original, {epochs} epoch{'s' * (epochs > 1)}", "ours, until both are reached"
    for name, key in zip(names, ("original", "ours"), strict=True):
        seconds, *losses = measured[key]["curve"][-1]
        bits = [f"{x / log(2):.3f}" for x in (*losses, measured[key]["carried"])]
        cells.append([name, f"{seconds:.1f}", *bits, _megabytes(measured[key]["memory"])])
    lines = [
        f"{title}: LSTM of {units} units, {measured['corpus']}", "", table(columns, cells), "",
        "Bits per character after a window of 40 from a zero state, the original's training loss.",
        "Carried: bits per character of the whole held-out text with the state carried.",
    ]  # fmt: skip
    theirs = measured["original"]["curve"][-1][0]
    for what, seconds in zip(("training", "held-out"), measured["ours"]["reached"], strict=True):
        part = "" if seconds is None else f"{seconds:.1f} s, 1/{theirs / seconds:.0f} of its time"
        lines.append(f"Time to the original's {what} loss: {part or 'not reached'}.")
    return "\n".join(lines)
