"""Peers for tests of the benchmark's workers: each writes down when it is at work."""

import os
import signal
import sys
import time
from pathlib import Path

from charlm.benchmarks import Timed

BALLAST = 50_000_000


def make(case, gpu, name, log, value=1.0):
    """Jobs "layer" and "step" that add `name` to the file `log` when they begin and end."""

    def run(n):
        with open(log, "a") as file:
            file.write(f"{name}+ ")
            file.flush()
            time.sleep(0.001 * n)
            file.write(f"{name}- ")
        return value

    return {"layer": run, "step": run}


def surroundings(case, gpu):
    names = "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES"
    found = {name: os.environ.get(name) for name in names}
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"step": lambda n: (found, cpus)}


def timed(case, gpu):
    return {"step": lambda n: Timed(7.0, "told"), "layer": lambda n: time.sleep(0.002 * n)}


def failing(case, gpu, how, log):
    """Fails in its sixth run, after those that warm up and one round, and in no other."""

    def run(n):
        Path(log).write_text(Path(log).read_text() + "x" if Path(log).exists() else "x")
        if len(Path(log).read_text()) == 6:
            if how == "raises":
                raise ValueError("no more\nof this")
            if how == "exits":
                print("last words", file=sys.stderr)
                os._exit(3)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    return {"layer": run, "step": run}


def unmade(case, gpu):
    raise RuntimeError("In user code:\n\n  File x\n\n  cannot be made")


def ballast(case, gpu):
    return {"step": lambda n: len(bytearray(BALLAST))}


def sleeper(case, gpu):
    return {"step": lambda n: time.sleep(600)}


def clock(case, gpu, seconds):
    """Jobs of the section `layers`, each of so many seconds by its own account."""
    return dict.fromkeys(case.sequences, lambda n: Timed(seconds, 1.0))


def meeting(case, gpu, name, folder):
    """Is made when another of its kind is being made, and never before."""
    (Path(folder) / name).touch()
    end = time.monotonic() + 20
    while len(list(Path(folder).iterdir())) < 2:
        if time.monotonic() > end:
            raise RuntimeError("nobody came")
        time.sleep(0.01)
    return clock(case, gpu, 1.0)
