"""The process of one peer: runs the jobs that it is sent over a pipe, and returns their times.

python -m charlm.benchmarks.worker FILE_DESCRIPTOR CPU[,CPU...]
"""

import contextlib
import gc
import importlib
import os
import sys
import threading
import time
from multiprocessing.connection import Connection

from charlm.benchmarks import Timed

LIBRARIES = "numpy", "numba", "tensorflow", "keras", "jax", "torch"


class Answers:
    """The questions that a worker answers."""

    def __init__(self):
        self.jobs = {}

    def load(self, *modules: str) -> None:
        """Imports modules with their libraries."""
        for module in modules:
            importlib.import_module(module)

    def make(self, path: str, options: dict) -> list[str]:
        """Makes the jobs of "module:function", replacing earlier ones; returns their names."""
        self.jobs = {}
        gc.collect()
        reset_peak_memory()
        module, name = path.split(":")
        self.jobs = getattr(importlib.import_module(module), name)(**options)
        return list(self.jobs)

    def run(self, job: str, n: int) -> tuple[float, object]:
        """Runs n steps; returns the seconds of one, and the job's value."""
        began = time.perf_counter()
        value = self.jobs[job](n)
        seconds = (time.perf_counter() - began) / n
        return (value[0], value[1]) if isinstance(value, Timed) else (seconds, value)

    def state(self) -> dict:
        """Returns the peak memory in bytes since `make`, and the versions of loaded libraries."""
        versions = {
            name: sys.modules[name].__version__ for name in LIBRARIES if name in sys.modules
        }
        return {"memory": peak_memory(), "versions": versions}


def peak_memory() -> int:
    """Returns the peak memory of this process in bytes, since `reset_peak_memory` or its start."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(x.split()[1]) * 1024 for x in status if x.startswith("VmHWM"))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> None:
    """Resets the peak, if the system supports it (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def serve(channel: Connection) -> None:
    """Answers each (question, *arguments) with (True, answer) or (False, reason)."""
    answers = Answers()
    while True:
        try:
            question, *arguments = channel.recv()
        except EOFError:
            return
        try:
            channel.send((True, getattr(answers, question)(*arguments)))
        except Exception as error:  # from any library; a row of the table reports it
            channel.send((False, one_line(error)))


def one_line(error: Exception) -> str:
    """Returns the error's name and its most informative line."""
    first, *_, last = (str(error).strip().splitlines() or [""]) * 2
    return f"{type(error).__name__}: {last.strip() if first.endswith(':') else first}"[:300]


def _end_with(parent):
    """Ends the process when its parent has ended; a job may take minutes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    descriptor, cpus = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, {int(c) for c in cpus.split(",")})
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    serve(Connection(int(descriptor)))


if __name__ == "__main__":
    main()
