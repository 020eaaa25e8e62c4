"""The sections of `charlm bench`: each measures, adds to the results and tells its tables.

Each takes the options (`charlm.bench.Bench`), the `Setup`, the text of `quality` (or why there is
none), the results to add to, and a function that tells a table.
"""

from contextlib import ExitStack
from dataclasses import asdict, replace

from charlm.benchmarks import drop_in, figures, report, sections, whole_runs
from charlm.benchmarks.case import Case
from charlm.benchmarks.peers import FIT, SAMPLING
from charlm.benchmarks.workers import PeerFailed
from charlm.config import DataConfig
from corpora import Corpus

STREAMS, PROMPT = (1, 64), 40  # of sampling; the window is the original program's


def _keep(measured, results, tell):
    figures.add_figures(measured)
    results["measured"].append(measured)
    tell(report.measurement(measured))


def step(args, setup, text, results, tell):
    """Whole training steps, and their recurrent layers alone."""
    with ExitStack() as stack:
        peak, results["peaks"] = sections.find_peak(setup, stack)
        found = sections.compare("step", args.lineup(), args.cases(), args.jobs, setup, peak)
        for measured in found:
            _keep(measured, results, tell)


def sampling(args, setup, text, results, tell):
    """Characters of one text and of 64."""
    cases = [
        Case("lstm", H, 1, B, PROMPT)
        for H in sorted({min(args.sizes), max(args.sizes)})
        for B in STREAMS
    ]
    for measured in sections.compare("sampling", SAMPLING, cases, ("characters",), setup):
        _keep(measured, results, tell)


def fit(args, setup, text, results, tell):
    """What `fit` adds to a bare step."""
    own = DataConfig()
    sizes = (own.batch_size, own.window), (args.batch_size, args.steps)
    cases = [Case("lstm", min(args.sizes), 1, B, T) for B, T in sizes]
    for measured in sections.compare("fit", FIT, cases, ("windows",), setup):
        _keep(measured, results, tell)


def memory(args, setup, text, results, tell):
    """Peak memory of a training step and of a whole run."""
    if "step" not in args.sections:
        once = replace(setup, rounds=0)
        lineup, cases = args.lineup(), args.cases()
        results["measured"] += sections.compare("step", lineup, cases, ("step",), once)
    case = args.cases()[0]
    try:
        found = whole_runs.memory_of_training(case, setup)
    except PeerFailed as error:
        found = {"section": "memory", "case": asdict(case), "failed": str(error)}
    results["measured"].append(found)
    tell(report.memory(results["measured"]))


def quality(args, setup, text, results, tell):
    """Seconds to the losses of the original recipe."""
    try:
        if not isinstance(text, Corpus):
            raise PeerFailed(text)
        case = Case("lstm", min(args.sizes), 1, args.batch_size, args.steps)
        found = whole_runs.time_to_quality(case, text, args.quality_epochs, setup)
    except PeerFailed as error:
        found = {"section": "quality", "failed": str(error)}
    results["measured"].append(found)
    tell(report.quality(found))


def layers(args, setup, text, results, tell):
    """Keras models with `charlm.layers` in place of `keras.layers`."""
    if not (args.quick or args.rounds):
        setup = replace(setup, rounds=drop_in.ROUNDS)
    found = list(drop_in.measure(args.layer_cases(), args.engines or tuple(drop_in.TITLES), setup))
    results["measured"] += found
    tell(drop_in.report(found))


MEASURE = {
    "step": step, "sampling": sampling, "fit": fit, "memory": memory, "quality": quality,
    "layers": layers,
}  # fmt: skip
