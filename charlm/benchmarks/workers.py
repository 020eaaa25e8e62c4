"""Controls worker processes: pins them to the same cores and asks one at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import Any

from charlm.benchmarks.time_limit import TimeLimit
from charlm.errors import CharlmError
from charlm.training import allocator

LOAD, RUN = 180, 600  # seconds to wait for an answer


class PeerFailed(CharlmError):
    """Error of a worker; the message is one line."""


def cpus() -> list[int]:
    """Returns the cores that this process may use."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return list(range(os.cpu_count() or 1))


def environment(
    threads: int, gpu: bool, backend: str = "tensorflow", ordinary: bool = False
) -> dict[str, str]:
    """Returns a worker's environment: threads and devices of every library, and Keras's backend.

    Args:
        threads: number of threads.
        gpu: whether to use a GPU.
        backend: KERAS_BACKEND.
        ordinary: leave out the allocator that charlm's commands ask TensorFlow for.
    """
    n = str(threads)
    names = (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
        "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC",
    )  # fmt: skip
    found = dict(os.environ) | dict.fromkeys(names, n)  # NPROC: XLA's
    found |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if ordinary:
        found.pop(allocator.VARIABLE, None)
    else:
        allocator.ask_for_reuse(found)  # for the peers with Keras's layers, too
    if gpu:  # several processes share it, so none may take all its memory
        found |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    else:
        found |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    found["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)  # the same modules as here
    return found


class Worker:
    """A process that runs `charlm.benchmarks.worker`.

    Args:
        environment: of the process.
        cpus: cores that it may use.
        limit: it is not waited for beyond this limit.
    """

    def __init__(
        self, environment: dict[str, str], cpus: list[int], limit: TimeLimit | None = None
    ):
        self.limit = limit or TimeLimit()
        self.gone: str | None = None  # why it answers no more
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self.channel, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "charlm.benchmarks.worker", str(theirs.fileno()),
                 ",".join(map(str, cpus))],
                pass_fds=[theirs.fileno()], env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            )  # fmt: skip

    def send(self, *question: object) -> None:
        """Sends a question without waiting; `receive` reports a worker that has ended."""
        if not self.gone:
            with contextlib.suppress(OSError):
                self.channel.send(question)

    def receive(self, timeout: float) -> Any:
        """Returns the answer to the last question.

        Raises:
            PeerFailed: the question raised an error, the worker has ended, or it takes too long.
        """
        if not self.gone:
            wait = self.limit.wait(timeout)
            try:
                if self.channel.poll(wait):
                    fine, answer = self.channel.recv()
                    if fine:
                        return answer
                    raise PeerFailed(answer)
                span = f"in {timeout:g} s" if wait == timeout else "within the time limit"
                self.gone = f"no answer {span}"
            except (EOFError, OSError):
                self.gone = self._end()
            self.close()
        raise PeerFailed(self.gone)

    def ask(self, *question: object, timeout: float = RUN) -> Any:
        """Sends a question and returns the answer."""
        self.send(*question)
        return self.receive(timeout)

    def _end(self):
        """Returns how a process that closed its pipe has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + " (out of memory?)" * (code == -9)
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return f"ended with exit code {code}" + (f": {lines[-1][:200]}" if lines else "")

    def close(self) -> None:
        """Ends the process at once."""
        self.gone = self.gone or "closed"
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
