"""Starts workers, measures them in turns, and returns the results as plain data."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from charlm.benchmarks import figures, matmul, peers
from charlm.benchmarks.case import Case
from charlm.benchmarks.layer_case import LayerCase
from charlm.benchmarks.peers import Peer
from charlm.benchmarks.time_limit import TimeLimit
from charlm.benchmarks.workers import LOAD, RUN, PeerFailed, Worker, environment
from charlm.notes import progress

CHECKED = 4  # first runs of a job, to warm up and to compare the peers' numbers


@dataclass(frozen=True)
class Setup:
    """Settings of the measurements.

    Args:
        gpu: whether to measure on a GPU instead of the CPU.
        cpus: cores of every worker, one for each thread.
        rounds: number of rounds; in each, every peer takes a turn.
        seconds: length of a turn.
        say: prints progress.
        limit: when to stop.
    """

    gpu: bool
    cpus: list[int]
    rounds: int
    seconds: float
    say: Callable[[str], None]
    limit: TimeLimit = field(default_factory=TimeLimit)

    @property
    def device(self) -> str:
        return "gpu" if self.gpu else "cpu"

    def worker(self, peer: Peer) -> Worker:
        """Starts a process for a peer."""
        own = self.cpus[: peer.cores]
        return Worker(environment(len(own), self.gpu, peer.backend, peer.ordinary), own, self.limit)


@dataclass
class Turn:
    """One peer's turn in the rounds of a job."""

    row: dict
    worker: Worker
    job: str
    guess: float  # seconds of a step

    def take(self, seconds: float) -> None:
        """Times as many steps as take `seconds`, after an untimed one that warms the caches."""
        n = max(1, round(seconds / self.guess))
        if n > 1:
            self.worker.ask("run", self.job, 1)
        self.guess, _ = self.worker.ask("run", self.job, n)
        self.row["seconds"].append(self.guess)


def alternate(turns: list[Turn], rounds: int, seconds: float) -> None:
    """Measures A B C A B C ...; a peer that fails gets the reason in its row and drops out."""
    with progress("measuring rounds", rounds) as tell:
        for _ in range(rounds):
            for turn in turns:
                if not turn.row["failed"]:
                    try:
                        turn.take(seconds)
                    except PeerFailed as error:
                        turn.row["failed"] = str(error)
            tell()


def start(
    lineup: tuple[Peer, ...], setup: Setup, stack: ExitStack
) -> tuple[dict[str, Worker], dict[str, str], dict[str, str]]:
    """Starts workers and loads their libraries; returns them, the failures, and versions."""
    failed = {p.name: why for p in lineup if (why := p.missing())}
    workers = {p.name: stack.enter_context(setup.worker(p)) for p in lineup if p.name not in failed}
    versions: dict[str, str] = {}
    for p in lineup:  # all at once: loading is not measured
        if p.name in workers:
            workers[p.name].send("load", p.needs, f"{peers.HERE}.{p.make.split(':')[0]}")
    for name in list(workers):
        try:
            workers[name].receive(LOAD)
            versions |= workers[name].ask("state")["versions"]
        except PeerFailed as error:
            failed[name] = str(error)
            workers.pop(name).close()
    return workers, failed, versions


def compare(
    section: str,
    lineup: tuple[Peer, ...],
    cases: list[Case] | list[LayerCase],
    jobs: tuple[str, ...],
    setup: Setup,
    peak: tuple[str, Worker] | None = None,
) -> Iterator[dict]:
    """Yields the measurements, a dict for each case and job.

    Keys: section, job, case, characters (in a step), flops (of a step, or None), versions, peak
    (library and seconds of a product in each round, or None), rows. A row has peer, failed (reason,
    or None), first (seconds of the first run), seconds (of a step, for each round), difference
    (from the first peer's numbers), exact, memory (peak bytes).

    Args:
        section: name of the section.
        lineup: the peers.
        cases: the cases.
        jobs: the jobs of each case.
        setup: settings of the measurements.
        peak: a library's name and its worker with the job "matmul", measured in each round.
    """
    with ExitStack() as stack:
        setup.say(f"{section}: starting {', '.join(p.name for p in lineup)}")
        workers, missing, versions = start(lineup, setup, stack)
        for case in cases:
            if not setup.limit.allows(f"{section} of {case}"):
                continue
            setup.say(f"{section}, {case}: making {', '.join(workers)}")
            failed = missing | _make(lineup, workers, case, setup)
            found = []
            for k, job in enumerate(jobs):
                if k and not setup.limit.allows(f"{section} of {case}, {job}"):
                    continue
                rows = [_row(p, failed.get(p.name)) for p in lineup]
                found.append(_measurement(section, job, case, rows, versions))
                turns = _first_runs(rows, workers, job, setup)
                large = _peak_turns(peak)
                setup.say(f"{section}, {case}, {job}: {setup.rounds} rounds")
                alternate(turns + large, setup.rounds, setup.seconds)
                if peak and large and (seconds := large[0].row["seconds"]):
                    found[-1]["peak"] = {"library": peak[0], "seconds": seconds}
                failed |= {row["peer"]: row["failed"] for row in rows if row["failed"]}
            for row in (row for m in found for row in m["rows"] if not row["failed"]):
                try:
                    row["memory"] = workers[row["peer"]].ask("state")["memory"]
                except PeerFailed as error:
                    row["failed"] = str(error)
            yield from found


def _peak_turns(peak):
    """Returns the turn of large products, if they are measured and do not fail."""
    if not peak:
        return []
    row: dict[str, Any] = {"failed": None, "seconds": []}
    try:
        guess, _ = peak[1].ask("run", "matmul", 1)
    except PeerFailed:
        return []
    return [Turn(row, peak[1], "matmul", guess)]


def _make(lineup, workers, case, setup):
    """Makes the jobs of all peers at the same time; returns {peer: reason} of failures."""
    crew = [p for p in lineup if p.name in workers]
    for p in crew:
        options = {"case": case, "gpu": setup.gpu} | p.options
        workers[p.name].send("make", f"{peers.HERE}.{p.make}", options)
    failed = {}
    for p in crew:
        try:
            workers[p.name].receive(RUN)
        except PeerFailed as error:
            failed[p.name] = str(error)
    return failed


def _row(peer, failed):
    return {
        "peer": peer.name, "failed": failed, "first": None, "seconds": [], "difference": None,
        "exact": peer.exact, "memory": None,
    }  # fmt: skip


def _measurement(section, job, case, rows, versions):
    flops = case.flops(job == "step") if section == "step" else None
    return {
        "section": section, "job": job, "case": asdict(case), "characters": case.characters(job),
        "flops": flops, "versions": versions, "peak": None, "rows": rows,
    }  # fmt: skip


def _first_runs(rows, workers, job, setup):
    """Runs each peer a few times and compares their numbers; returns the turns of the others."""
    turns, reference = [], None
    for row in rows:
        if row["failed"]:
            continue
        setup.say(f"{job}: first run of {row['peer']}")
        worker = workers[row["peer"]]
        began = time.perf_counter()
        try:
            runs = [worker.ask("run", job, 1)]
            row["first"] = time.perf_counter() - began
            runs += [worker.ask("run", job, 1) for _ in range(CHECKED - 1)]
        except PeerFailed as error:
            row["failed"] = str(error)
            continue
        guess, _ = runs[-1]
        values = [value for _, value in runs]
        if values[0] is not None:
            reference = values if reference is None else reference
            row["difference"] = figures.relative_difference(values, reference)
        turns.append(Turn(row, worker, job, guess))
    return turns


def find_peak(setup: Setup, stack: ExitStack) -> tuple[tuple[str, Worker] | None, dict[str, float]]:
    """Returns the library with the fastest large products, its worker, and the GFLOP/s of all.

    If all libraries fail, there is neither, and a line says why.
    """
    lineup = tuple(p for p in peers.MATMUL if setup.device in p.devices)
    setup.say("large products: numpy, tensorflow, torch")
    workers, failed, _ = start(lineup, setup, stack)
    rates, options = {}, {"case": Case("lstm", 1, 1, 1, 1), "gpu": setup.gpu}
    for p in lineup:
        if p.name not in workers:
            continue
        try:
            worker = workers[p.name]
            worker.ask("make", f"{peers.HERE}.{p.make}", options | p.options)
            seconds = min(worker.ask("run", "matmul", 1)[0] for _ in range(CHECKED))
        except PeerFailed as error:
            failed[p.name] = str(error)
            continue
        rates[p.name] = matmul.FLOPS / seconds / 1e9
    if not rates:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        setup.say(f"large products were not measured, so there is no peak ({reasons})")
        return None, {}
    best = max(rates, key=rates.__getitem__)
    for name, worker in workers.items():
        if name != best:
            worker.close()
    return (best, workers[best]), rates
