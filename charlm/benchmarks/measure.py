"""The sections of `charlm bench`: each measures, adds to the results and prints its tables.

Each takes the `Plan`, the `Setup`, the text of `quality` (or a line that says why it is missing),
the results to add to, and a function that prints a table.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace

from charlm.benchmarks import drop_in, figures, report, sections, whole_runs
from charlm.benchmarks.case import Case
from charlm.benchmarks.peers import FIT, SAMPLING
from charlm.benchmarks.plan import Plan
from charlm.benchmarks.sections import Setup
from charlm.benchmarks.workers import PeerFailed
from charlm.config import DataConfig
from corpora import Corpus

STREAMS, PROMPT = (1, 64), 40  # of sampling; 40 is the original program's window

QualityText = Corpus | str | None
Tell = Callable[[str], object]


def _keep(measured, results, tell):
    figures.add_figures(measured)
    results["measured"].append(measured)
    tell(report.measurement(measured))


def step(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures whole training steps, and their recurrent layers alone."""
    with ExitStack() as stack:
        peak, results["peaks"] = sections.find_peak(setup, stack)
        found = sections.compare("step", plan.lineup(), plan.cases(), plan.jobs, setup, peak)
        for measured in found:
            _keep(measured, results, tell)


def sampling(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures sampling of one text and of 64."""
    cases = [
        Case("lstm", H, 1, B, PROMPT)
        for H in sorted({min(plan.sizes), max(plan.sizes)})
        for B in STREAMS
    ]
    for measured in sections.compare("sampling", SAMPLING, cases, ("characters",), setup):
        _keep(measured, results, tell)


def fit(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures the overhead of `fit` over a bare training step."""
    own = DataConfig()
    sizes = (own.batch_size, own.window), (plan.batch_size, plan.steps)
    cases = [Case("lstm", min(plan.sizes), 1, B, T) for B, T in sizes]
    for measured in sections.compare("fit", FIT, cases, ("windows",), setup):
        _keep(measured, results, tell)


def memory(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures the peak memory of a training step and of a whole run."""
    if "step" not in plan.sections:
        once = replace(setup, rounds=0)
        lineup, cases = plan.lineup(), plan.cases()
        results["measured"] += sections.compare("step", lineup, cases, ("step",), once)
    case = plan.cases()[0]
    try:
        found = whole_runs.memory_of_training(case, setup)
    except PeerFailed as error:
        found = {"section": "memory", "case": asdict(case), "failed": str(error)}
    results["measured"].append(found)
    tell(report.memory(results["measured"]))


def quality(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures the seconds to the losses of the original recipe."""
    try:
        if not isinstance(text, Corpus):
            raise PeerFailed(text)
        case = Case("lstm", min(plan.sizes), 1, plan.batch_size, plan.steps)
        found = whole_runs.time_to_quality(case, text, plan.quality_epochs, setup)
    except PeerFailed as error:
        found = {"section": "quality", "failed": str(error)}
    results["measured"].append(found)
    tell(report.quality(found))


def layers(plan: Plan, setup: Setup, text: QualityText, results: dict, tell: Tell) -> None:
    """Measures Keras models with `charlm.layers` and with `keras.layers`."""
    if not (plan.quick or plan.rounds):
        setup = replace(setup, rounds=drop_in.ROUNDS)
    found = list(drop_in.measure(plan.layer_cases(), plan.engines or tuple(drop_in.TITLES), setup))
    results["measured"] += found
    if found:
        tell(drop_in.report(found))


MEASURE = {
    "step": step, "sampling": sampling, "fit": fit, "memory": memory, "quality": quality,
    "layers": layers,
}  # fmt: skip
