"""Flushing of denormal numbers to zero, as TensorFlow and XLA do.

A gradient that vanishes over time becomes denormal (below 1.2e-38), and a processor is many times
slower on such numbers: the backward pass of a plain RNN of 128 units over 200 steps took 235 ms
with them and takes 18 ms without.
"""

import contextlib
import platform
from collections.abc import Iterator

from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, get_or_insert_function
from numba.extending import intrinsic

from charlm.kernels.jit import cached_jit

FLUSH = 0x8040  # bits of x86's control register: flush results, and read operands as zero
HAS_REGISTER = platform.machine().lower() in ("x86_64", "amd64", "i686")


def _access(builder, name, slot):
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(slot, byte)])


@intrinsic
def _read(_):
    def write(_context, builder, _signature, _arguments):
        slot = alloca_once(builder, ir.IntType(32))
        _access(builder, "stmxcsr", slot)
        return builder.load(slot)

    return types.uint32(), write


@intrinsic
def _write(_, value):
    def write(context, builder, _signature, arguments):
        slot = alloca_once(builder, ir.IntType(32))
        builder.store(arguments[0], slot)
        _access(builder, "ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.uint32), write


def read_control():
    """Reads this thread's control register."""
    return _read()  # type: ignore[call-arg]  # its first parameter is the compiler's


def write_control(value):
    """Sets this thread's control register, a uint32."""
    _write(types.uint32(value))  # type: ignore[call-arg]  # likewise


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Treats denormal numbers as zero in this thread, if the processor can."""
    if not HAS_REGISTER:
        yield
        return
    before = cached_jit(read_control)()
    cached_jit(write_control)(before | FLUSH)
    try:
        yield
    finally:
        cached_jit(write_control)(before)
