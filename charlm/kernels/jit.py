"""Numba's settings, and the folders of its machine code."""

import functools
import importlib
import threading
import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from charlm import systems
from charlm.cells import CELLS
from charlm.kernels import buffer_pool, disk, object_code  # noqa: F401 - first: see the locks

f4 = np.float32
_lock = threading.Lock()
# A child process must not start with a lock that a thread of its parent holds: nobody would release
# it. `fork` takes these locks before that of `buffer_pool`, which was registered earlier. A thread
# that frees arrays while it compiles takes them in the same order, so neither waits for the other.
for lock in (_lock, global_compiler_lock):
    systems.at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
OPTIONS: dict[str, Any] = {
    "nogil": True,  # releases Python's lock, so that threads run in parallel
    "fastmath": {"contract"},  # only the fused multiply-add: NaN must stay NaN
    "error_model": "numpy",  # no test for zero before a division, which would prevent vector code
}


def jit(function: Callable) -> Any:
    """Compiles a function that other compiled functions call."""
    return numba.njit(function, **OPTIONS)


@functools.cache
def cell(name: str, activation: str = "tanh", recurrent_activation: str = "sigmoid") -> ModuleType:
    """Returns a cell's module with its steps compiled for these activations, for `specialized`.

    Raises:
        KeyError: an activation that is not in `activations.ACTIVATIONS`.
        ImportError: a cell without machine code.
    """
    from charlm.kernels.activations import ACTIVATIONS

    if CELLS[name].kernel is None:
        raise ImportError(f"the cell {name} has no machine code")
    source = importlib.import_module(CELLS[name].kernel)
    made: Any = types.ModuleType(f"{name}_{activation}_{recurrent_activation}")
    made.GATES, made.STATES = len(CELLS[name].gates), len(CELLS[name].states)
    made.CACHE, made.SPLIT = source.CACHE, source.SPLIT
    names = dict(vars(source))
    names["activation"], names["activation_slope"] = ACTIVATIONS[activation]
    names["gate"], names["gate_slope"] = ACTIVATIONS[recurrent_activation]
    for step in (source.step, source.step_backward):
        setattr(made, step.__name__, jit(_named(step, names, made.__name__)))
    return made


@functools.cache
def specialized(function: Callable, **modules: ModuleType) -> Any:
    """Compiles `function` with modules in place of its global names, as `cached_jit` does."""
    return cached_jit(renamed(function, **modules), _folder(modules))


def renamed(function: Callable, **modules: ModuleType) -> Callable:
    """Copies `function` with modules in place of its global names, under a name of its own."""
    return _named(function, function.__globals__ | modules, _folder(modules))


def _folder(modules):
    return "-".join(module.__name__.split(".")[-1] for module in modules.values())


def _named(function, names, what):
    """Copies a function with other global names, under a name of its own.

    Only names distinguish the machine code of two processes: with the same name, a function loaded
    from disk would call another one's `step`.
    """
    made = types.FunctionType(function.__code__, names, function.__name__)
    made.__name__ = made.__qualname__ = f"{function.__name__}_{what}".replace("-", "_")
    return made


@functools.cache
def cached_jit(function: Callable, name: str = "shared") -> Any:
    """Compiles a function and keeps its machine code on disk.

    Numba compiles again when the function's file changes, but does not notice changes in files that
    it calls. So the folder's name is a hash of all of them.

    Args:
        function: a Python function.
        name: name of the folder, to distinguish functions made from the same lines.
    """
    made = numba.njit(function, **OPTIONS)
    with _lock:
        disk.keep(made, object_code.version(), name)
    return made
