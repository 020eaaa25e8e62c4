"""Numba's settings, and where its machine code is kept between runs."""

import functools
import hashlib
import importlib
import os
import threading
import types
from pathlib import Path

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from charlm.cells import CELLS
from charlm.kernels import buffer_pool, disk  # noqa: F401 - first: see the locks

HERE = Path(__file__).parent
f4 = np.float32
_lock = threading.Lock()
# A child process must not begin with a lock that a thread of its parent holds: nobody would release
# it. `fork` takes these locks before that of `memory`, which was registered earlier. So does a
# thread that frees arrays while it compiles, so that neither waits for the other.
for lock in (_lock, global_compiler_lock):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
OPTIONS = {
    "nogil": True,  # lets go of Python's lock, so that threads run side by side
    "fastmath": {"contract"},  # the fused multiply-add, and no more: a NaN must come out as one
    "error_model": "numpy",  # no test for zero before a division, which would end vector code
}


def jit(function):
    """`numba.njit` for a function that is called from other compiled ones."""
    return numba.njit(function, **OPTIONS)


@functools.cache
def cell(name, activation="tanh", recurrent_activation="sigmoid"):
    """A cell's module with its steps compiled for these activations, as `specialized` takes it.

    Raises:
        KeyError: an activation that `activations.ACTIVATIONS` does not have.
        ImportError: a cell without machine code.
    """
    from charlm.kernels.activations import ACTIVATIONS

    if CELLS[name].kernel is None:
        raise ImportError(f"the cell {name} has no machine code")
    source = importlib.import_module(CELLS[name].kernel)
    made = types.ModuleType(f"{name}_{activation}_{recurrent_activation}")
    made.GATES, made.STATES = len(CELLS[name].gates), len(CELLS[name].states)
    made.CACHE, made.SPLIT = source.CACHE, source.SPLIT
    names = dict(vars(source))
    names["activation"], names["activation_slope"] = ACTIVATIONS[activation]
    names["gate"], names["gate_slope"] = ACTIVATIONS[recurrent_activation]
    for step in (source.step, source.step_backward):
        setattr(made, step.__name__, jit(_named(step, names, made.__name__)))
    return made


@functools.cache
def specialized(function, **modules):
    """`cached_jit` of `function` with modules in the place of its global names."""
    names = function.__globals__ | modules
    folder = "-".join(module.__name__.split(".")[-1] for module in modules.values())
    return cached_jit(_named(function, names, folder), folder)


def _named(function, names, what):
    """The function with other global names, and a name of its own.

    Machine code of two processes is told apart by such names alone: when both is loaded from the
    disk, a function would otherwise call another's `step`.
    """
    made = types.FunctionType(function.__code__, names, function.__name__)
    made.__name__ = made.__qualname__ = f"{function.__name__}_{what}".replace("-", "_")
    return made


@functools.cache
def cached_jit(function, name="shared"):
    """The compiled function, kept on disk.

    Numba's own rule, to compile anew when the function's file changes, would not see a change in
    the files it calls. So the folder's name is made of all of them.

    Args:
        name: of the folder; it tells apart functions made from the same lines.
    """
    made = numba.njit(function, **OPTIONS)
    with _lock:
        disk.keep(made, _version(), name)
    return made


@functools.cache
def _version():
    """The name of a folder, which changes with every file that compiled code is made of."""
    sources = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    return f"compiled-{hashlib.sha256(sources).hexdigest()[:12]}"
