"""Object code on disk, which is loaded without Numba.

Importing Numba and loading code from its own cache takes 0.6 s; LLVM's loader alone takes 0.05 s.
So what `charlm sample` runs is kept as an object file, with a checksum, because damaged code would
crash the process.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from charlm import paths
from charlm.cells import CELLS

HERE = Path(__file__).parent
INTEGERS, POINTER = ctypes.c_ssize_t, ctypes.c_void_p


class Code(NamedTuple):
    """A compiled function."""

    symbol: str
    """Its name in the object file."""
    data: bytes
    """The object file."""


def folder(*inner: str) -> Path | None:
    """Returns a folder of the cache for compiled code, or None, with a message, if there is none.

    Args:
        inner: see `charlm.paths.cache`.
    """
    try:
        return paths.usable_cache(*inner)
    except OSError as error:
        paths.say_once(
            f"NOTE: compiled code is not kept, which costs seconds in every run: no cache folder "
            f"({error.strerror}); {paths.VARIABLE} names another"
        )
        return None


@functools.cache
def version() -> str:
    """Returns the name of a folder, which changes with the sources of compiled code."""
    files = {*HERE.glob("*.py")}
    for cell in CELLS.values():
        spec = importlib.util.find_spec(cell.kernel) if cell.kernel else None
        if spec is not None and spec.origin is not None:
            files.add(Path(spec.origin))
    sources = b"".join(path.read_bytes() for path in sorted(files)) + repr(CELLS).encode()
    return f"compiled-{hashlib.sha256(sources).hexdigest()[:12]}"


@functools.cache
def _machine() -> str:
    """Returns a hash of what else object code is made for and by: processor and compiler."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        raise ImportError("no Numba")
    features = llvm.get_host_cpu_features().flatten()
    made_by = llvmlite.__version__.encode(), Path(spec.origin).with_name("_version.py").read_bytes()
    made_for = llvm.get_process_triple(), llvm.get_host_cpu_name(), features
    made_for += tuple(os.environ.get(f"NUMBA_{x}") for x in ("CPU_NAME", "CPU_FEATURES", "OPT"))
    return hashlib.sha256(repr((made_by, made_for)).encode()).hexdigest()[:12]


def read_or_compile(name: str, compile_: Callable[[], Code]) -> Code:
    """Reads a function's code from the cache, or compiles it and keeps it there.

    Args:
        name: of the file, different for each function.
        compile_: compiles it.
    """
    place = folder(version())
    path = place / f"{name}-{_machine()}.o" if place else None
    if path is None:
        return compile_()
    if found := _read(path):
        return found
    with paths.in_turn(path.with_suffix(".lock"), "compiles the sampler"):
        if found := _read(path):  # compiled while this process waited
            return found
        code = compile_()
        _write(path, code.symbol.encode() + b"\n" + code.data)
    return code


def _read(path):
    """Reads what `_write` wrote.

    Returns:
        The code; None if there is none or it is damaged; None, with a message, if another user may
        have written it.
    """
    try:
        with open(path, "rb", opener=paths.opener) as file:
            digest, data = file.read().split(b"\n", 1)
    except paths.NotOursError as error:
        paths.say_once(f"NOTE: {path} is not used ({error.strerror}); this code is compiled again")
        return None
    except (OSError, ValueError):  # missing, unreadable or too short
        return None
    if hashlib.sha256(data).hexdigest().encode() != digest:
        return None
    symbol, code = data.split(b"\n", 1)
    return Code(symbol.decode(), code)


def _write(path, data):
    """Writes a file, which other processes see as a whole or not at all; may fail silently."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    with contextlib.suppress(OSError):  # a full disk ends no run
        try:
            with open(temporary, "xb", opener=paths.opener) as file:
                file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


class Function:
    """A compiled function, which runs without Python's lock.

    It has Numba's calling convention: it returns a status, and its arguments are the addresses of a
    result and of an error, which are not used here, and the fields of each argument.

    Args:
        code: the function.
    """

    def __init__(self, code: Code):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code.data))
        self._engine.finalize_object()
        address = self._engine.get_function_address(code.symbol)
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32)(address)

    def prepare(self, *arguments: np.ndarray | int) -> Callable[[], None]:
        """Returns a function that calls this one with the same arrays and integers each time."""
        fields = [field for x in arguments for field in _fields(x)]
        unused: list[Any] = [ctypes.byref(POINTER()), ctypes.byref(POINTER())]
        call = functools.partial(self._call, *unused, *fields)

        def run(_arguments=arguments):  # which must live as long
            if call():
                raise RuntimeError("compiled code failed")

        return run


def _fields(x):
    """Lists the fields of an argument, as Numba passes them."""
    if not isinstance(x, np.ndarray):
        return [INTEGERS(x)]
    if not x.flags.c_contiguous:
        raise ValueError("expected contiguous arrays")
    none = POINTER(None)  # of the object that owns the memory, and of its Python object
    sizes = [INTEGERS(n) for n in (x.size, x.itemsize)]
    return [none, none, *sizes, POINTER(x.ctypes.data), *map(INTEGERS, (*x.shape, *x.strides))]
