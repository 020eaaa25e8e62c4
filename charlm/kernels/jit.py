"""Numba's settings, and the folders of its machine code."""

import functools
import hashlib
import importlib
import importlib.util
import threading
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from charlm import systems
from charlm.cells import CELLS
from charlm.kernels import buffer_pool, disk  # noqa: F401 - first: see the locks

HERE = Path(__file__).parent
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
    names = function.__globals__ | modules
    folder = "-".join(module.__name__.split(".")[-1] for module in modules.values())
    return cached_jit(_named(function, names, folder), folder)


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
        disk.keep(made, _version(), name)
    return made


@functools.cache
def _version():
    """Returns the name of a folder, which changes with all that compiled code is made of."""
    files = {*HERE.glob("*.py")}
    for cell in CELLS.values():
        spec = importlib.util.find_spec(cell.kernel) if cell.kernel else None
        if spec is not None and spec.origin is not None:
            files.add(Path(spec.origin))
    sources = b"".join(path.read_bytes() for path in sorted(files)) + repr(CELLS).encode()
    return f"compiled-{hashlib.sha256(sources).hexdigest()[:12]}"
