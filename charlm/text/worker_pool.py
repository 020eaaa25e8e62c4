"""Processes that do jobs, and end when the process that started them ends, however it ends.

Those of `concurrent.futures` go on when their parent is killed, and leave semaphores.
"""

import contextlib
import itertools
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

from charlm.errors import CharlmError

Tell = Callable[[int], Any]
READ, RESULT, ERROR = "read", "result", "error"  # what a process tells


class WorkerPool:
    """Processes, within a `with` block.

    Args:
        workers: number of processes.
        tell: called with the number of units that a process has done.
    """

    def __init__(self, workers: int, tell: Tell):
        self.workers, self.tell = workers, tell
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        context = multiprocessing.get_context("spawn")  # a fork would have this process's threads
        with contextlib.ExitStack() as stack:
            self._pipes = [_start(context, stack) for _ in range(self.workers)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def map(self, function: Callable[..., Any], jobs: Sequence[tuple]) -> list[Any]:
        """Returns the results of function(tell, *job) for all jobs, in their order.

        Raises:
            CharlmError: a process has ended.
            Exception: the first error that a job raises.
        """
        left, results = enumerate(jobs), {}
        busy: dict[Any, int] = {}  # the number of the job, by pipe

        def begin(pipe):
            for k, job in itertools.islice(left, 1):
                _checked(pipe.send, (function, job))
                busy[pipe] = k

        for pipe in self._pipes:
            begin(pipe)
        while busy:
            ready: Any = connection.wait([*busy])
            for pipe in ready:
                kind, value = _checked(pipe.recv)
                if kind == READ:
                    self.tell(value)
                elif kind == ERROR:
                    raise value
                else:
                    results[busy.pop(pipe)] = value
                    begin(pipe)
        return [results[k] for k in range(len(jobs))]


def _checked(call, *arguments):
    """Calls a method of a pipe."""
    try:
        return call(*arguments)
    except (EOFError, OSError) as error:
        raise CharlmError(
            "a process that encodes has ended, perhaps for lack of memory; files that are "
            "complete stay; start again, perhaps with fewer --workers"
        ) from error


def _start(context, stack):
    """Starts a process, and returns the pipe to it."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process hears it and ends them
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    stack.callback(process.join)
    stack.callback(ours.close)
    return ours


def _work(pipe):
    """Does the jobs that come through a pipe until it is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, job = pipe.recv()
            try:
                answer = RESULT, function(lambda n: pipe.send((READ, n)), *job)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = ERROR, error
            pipe.send(answer)
