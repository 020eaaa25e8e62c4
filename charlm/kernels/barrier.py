"""A barrier in machine code, which synchronizes the cores that share a time step.

A core spins for a moment, because the others arrive within microseconds if each has a processor of
its own. If it waits longer, it sleeps: the thread that it waits for may need this very processor.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from charlm import systems
from charlm.kernels.jit import jit

ARRIVED, BROKEN = 0, 16  # their places, in different cache lines
SPINS = 2000  # looks at the counter before a core sleeps: 40 to 100 microseconds on x86
# a function of the system that sleeps, and its argument: 20 microseconds, to which Linux adds 50
SLEEP, TIME = ("Sleep", 1) if systems.IS_WINDOWS else ("usleep", 20)
X86 = llvmlite.binding.get_process_triple().startswith("x86_64")
WORD = ir.IntType(64)
_written: Any = intrinsic  # else it would seem to be called with the first argument, too


def made() -> np.ndarray:
    """Allocates a barrier."""
    return np.zeros(2 * BROKEN, np.int64)


def break_up(barrier: np.ndarray) -> None:
    """Lets all cores pass from now on, because one of them has failed and will not arrive."""
    barrier[BROKEN] = 1


@jit
def wait(barrier, members):
    """Returns when so many cores have called it as often as this one."""
    if members == 1:
        return
    whole = (_add_one(barrier, ARRIVED) // members + 1) * members
    spins = 0
    while _read(barrier, ARRIVED) < whole and _read(barrier, BROKEN) == 0:
        spins += 1
        _pause(spins > SPINS)


def _place(context, builder, signature, arguments):
    barrier, at = arguments[:2]
    array = context.make_array(signature.args[0])(context, builder, value=barrier)
    return builder.gep(array.data, [at])


@_written
def _add_one(_, barrier, at):
    """Adds one to an element, and returns what it was; this core's earlier writes are visible."""

    def write(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        return builder.atomic_rmw("add", place, WORD(1), "acq_rel")

    return types.int64(barrier, types.intp), write


@_written
def _read(_, barrier, at):
    """Reads an element from memory, before all later reads."""

    def write(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(barrier, types.intp), write


@_written
def _pause(_, long):
    """Waits for some cycles, or sleeps if `long`."""

    def write(context, builder, signature, arguments):
        (long,) = arguments
        with builder.if_else(long) as (sleeps, spins):
            with sleeps:
                kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
                sleep = get_or_insert_function(builder.module, kind, SLEEP)
                builder.call(sleep, [ir.IntType(32)(TIME)])
            with spins:
                if X86:
                    kind = ir.FunctionType(ir.VoidType(), [])
                    name = "llvm.x86.sse2.pause"
                    builder.call(get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(types.boolean), write
