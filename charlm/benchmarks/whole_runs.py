"""Measures whole training runs, one worker at a time: time to a given quality, and memory."""

from dataclasses import asdict

from charlm.benchmarks import peers
from charlm.benchmarks.case import Case
from charlm.benchmarks.peers import Peer
from charlm.benchmarks.sections import Setup
from corpora import Corpus

HOURS = 3 * 3600.0  # to wait for the original recipe


def time_to_quality(case: Case, corpus: Corpus, epochs: int, setup: Setup) -> dict:
    """Trains the original recipe, then charlm until it reaches both of the recipe's losses.

    Returns:
        A dict of section, case, corpus, epochs, original and ours. The last two have curve, rows of
        (seconds, training loss, held-out loss); carried, the held-out loss with the state carried;
        memory. ours also has reached, the seconds to each of the original's last losses, or None.
        Losses are in nats per character.

    Raises:
        PeerFailed: one of the two failed.
    """
    shared = {"case": case, "gpu": setup.gpu, "corpus": corpus}
    setup.say(f"quality: the original recipe, {epochs} epoch{'s' * (epochs > 1)}: minutes")
    theirs = _run_alone("quality:original", shared, epochs, setup)
    _, *target = theirs["curve"][-1]
    setup.say("quality: ours")
    ours = _run_alone("quality:ours", shared | {"target": target}, 1, setup)
    return {
        "section": "quality", "case": asdict(case), "corpus": corpus.name, "epochs": epochs,
        "original": theirs, "ours": ours,
    }  # fmt: skip


def memory_of_training(case: Case, setup: Setup) -> dict:
    """Measures the peak memory of a `charlm train` process.

    Raises:
        PeerFailed: it failed.
    """
    setup.say("memory: charlm train")
    found = _run_alone("train_memory:make", {"case": case, "gpu": setup.gpu}, 1, setup)
    return {"section": "memory", "case": asdict(case), "memory": found["train"]}


def _run_alone(make, options, n, setup):
    """Returns the value of the job "train" of a worker, with the worker's memory."""
    with setup.worker(Peer("train", make)) as worker:
        worker.ask("make", f"{peers.HERE}.{make}", options)
        _, value = worker.ask("run", "train", n, timeout=HOURS)
        return value | {"memory": worker.ask("state")["memory"]}
