"""Processes that train one run together, each on its own devices, joined by JAX.

A launcher (Slurm, Open MPI, torchrun) starts the same command several times and tells each process
its number in environment variables, as does a user with Keras's own. Each process reads the text
and the settings by itself. All of them train; process 0 alone writes and prints.
"""

import contextlib
import hashlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from charlm.errors import CharlmError, InputError

# seconds: until a process that starts is joined by all; that a process may be silent, before the
# others take it for dead; that the end of a process waits for the ends of the others
START, SILENCE, END = 300, 10, 5
LAST_PORT = 65535
PATIENCE = 10  # seconds, after which a process says for whom it waits
VISIBLE = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Args:
        count: number of processes.
        index: the number of this one.
        address: host and port of process 0; None if JAX finds it out from the launcher's variables.
        local_device: the only device of its machine that this process uses; None for all, or for
            those that JAX chooses.
        launcher: what started them, for messages.
    """

    count: int = 1
    index: int = 0
    address: str | None = None
    local_device: int | None = None
    launcher: str = ""

    @property
    def writes(self) -> bool:
        """Whether this process writes and prints."""
        return self.index == 0

    def own(self, count: int) -> slice:
        """Returns which of `count` streams this process reads."""
        each = count // self.count
        return slice(self.index * each, (self.index + 1) * each)

    def join(self, say: Callable[[str], object] = print) -> None:
        """Waits for the others; JAX's devices are those of all processes from here on.

        If one does not come in time, JAX ends the process by SIGABRT, with a message.

        Args:
            say: prints a line.

        Raises:
            CharlmError: the address is taken or wrong.
        """
        if self.count == 1:
            return
        import jax

        where = self.address or "the address that the launcher gives"
        say(
            f"waiting for {self.count} processes ({self.launcher}) at {where}, for up to "
            f"{START // 60} minutes"
        )
        self._require_free_port()
        # JAX waits in C++, where Python's handler is not called
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        patience = threading.Timer(PATIENCE, self._say_that_it_waits, [where])
        patience.daemon = True
        patience.start()
        try:
            jax.distributed.initialize(
                self.address,
                self.count,
                self.index,
                self.local_device,
                initialization_timeout=START,
                heartbeat_timeout_seconds=SILENCE,
                shutdown_timeout_seconds=END,
            )
        except (RuntimeError, ValueError) as error:
            raise CharlmError(
                f"process {self.index} of {self.count} ({self.launcher}) could not join the others "
                f"at {where}: {error}"
            ) from error
        finally:
            patience.cancel()
            signal.signal(signal.SIGINT, before)

    def _say_that_it_waits(self, where):
        if not self.writes:  # process 0 has said it at once
            print(
                f"process {self.index} of {self.count} is still waiting for process 0 at {where}",
                file=sys.stderr,
                flush=True,
            )

    def _require_free_port(self):
        """Raises CharlmError if a program listens there, with which JAX would crash."""
        if self.address is None or not self.writes:
            return
        host, _, port = self.address.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            raise CharlmError(
                f"expected a free port at {self.address}, found a program that listens there; give "
                "all processes another port"
            )

    def require_same(self, found: Callable[[], Mapping[str, bytes]]) -> None:
        """Compares what each process has found by itself.

        Args:
            found: () -> {name: value}.

        Raises:
            InputError: in all processes, if they differ; the message names what differs.
        """
        if self.count == 1:
            return
        values = found()
        digests = [list(hashlib.sha256(x).digest()) for x in values.values()]
        every = self.gathered(np.array([digests], np.uint8))
        differ = (every != every[0]).any(axis=(0, 2))
        names = [name for name, differs in zip(values, differ, strict=True) if differs]
        if names:
            raise InputError(
                f"expected the same {' and '.join(names)} in all {self.count} processes, found "
                "differences; give each process the same files and flags"
            )

    def gathered(self, array: np.ndarray) -> np.ndarray:
        """Concatenates an array (n, ...) of each process on the first axis; all must call it.

        An array of JAX that is divided among them is returned whole.

        Raises:
            CharlmError: a process has ended.
        """
        if self.count == 1:
            return np.asarray(array)
        from jax.experimental import multihost_utils

        try:
            return np.asarray(multihost_utils.process_allgather(array, tiled=True))
        except (RuntimeError, ValueError) as error:
            raise CharlmError(f"another process has ended ({error})") from error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Fails in all processes if the block fails in one; all must enter it.

        Raises:
            CharlmError: the block failed in another process.
        """
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        failed = self.gathered(np.array([failure is not None]))
        if failure:
            raise failure
        if failed.any():
            raise CharlmError(
                f"process {int(np.argmax(failed))} of {self.count} failed; its message says why"
            )

    def is_to_stop(self, call: int) -> bool:
        """Returns whether one of them got SIGTERM; in all processes after the same call.

        Args:
            call: how often this was called before.
        """
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(call)


ALONE = Processes()


def launched(environment: Mapping[str, str] = os.environ) -> Processes:
    """Returns the processes that a launcher started with this one, from its variables.

    Raises:
        InputError: the variables contradict each other.
    """
    e = environment
    found: Processes | None = None
    if any(name.startswith("KERAS_DISTRIBUTION_") for name in e):
        address = e.get("KERAS_DISTRIBUTION_JOB_ADDRESSES", "").partition(",")[0]
        found = _numbered(
            e, "Keras", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"
        )
        found = _at(found, address, "KERAS_DISTRIBUTION_JOB_ADDRESSES=HOST:PORT of process 0")
    elif {"WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(e):
        port = _whole(e, "torchrun", "MASTER_PORT") + 1  # it listens at its own port itself
        several = e.get("LOCAL_WORLD_SIZE", "1") != "1"
        device = _whole(e, "torchrun", "LOCAL_RANK") if several else None
        found = _numbered(e, "torchrun", "WORLD_SIZE", "RANK")
        found = _at(found, f"{e['MASTER_ADDR']}:{port}", "MASTER_ADDR", device)
    elif "OMPI_COMM_WORLD_SIZE" in e:  # before Slurm, whose variables it passes on
        found = _numbered(e, "Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
    elif e.get("SLURM_STEP_NUM_TASKS", "1") != "1":  # not SLURM_NTASKS, which a shell has, too
        found = _numbered(e, "Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if not found or found.count == 1:
        return ALONE
    # JAX counts the GPUs that a process sees, and would choose by its number on the machine
    return replace(found, local_device=0) if _sees_one_gpu(e) else found


def _sees_one_gpu(e):
    """Whether a launcher has given the process a GPU of its own."""
    seen = (e.get(name, "") for name in VISIBLE)
    return any(x.strip(", ") not in ("", "-1") and "," not in x.strip(", ") for x in seen)


def _numbered(e, launcher, count, index):
    n, k = _whole(e, launcher, count), _whole(e, launcher, index)
    if n < 1:
        raise InputError(f"expected {count} to be 1 or more, found {n}")
    if not 0 <= k < n:
        raise InputError(f"expected {index} from 0 to {n - 1}, found {k}")
    return Processes(n, k, launcher=launcher)


def _at(found, address, wanted, device=None):
    host, _, port = address.rpartition(":")
    if found.count > 1 and not (host and port.isdecimal() and int(port) <= LAST_PORT):
        raise InputError(f"expected {wanted}, found {address!r}")
    return Processes(found.count, found.index, address, device, found.launcher)


def _whole(e, launcher, name):
    try:
        return int(e[name])
    except (KeyError, ValueError):
        raise InputError(
            f"expected the variable {name} of {launcher} to be a whole number, found "
            f"{repr(e[name]) if name in e else 'none'}"
        ) from None
