"""A function of NumPy arrays as an operation of JAX that supports every transformation.

`jax.custom_vjp` supports reverse mode only, hence three primitives. `call` is the function itself.
Its tangent is `push`, which is linear: evaluated, it is the tangent of a JAX function with the same
values (the fallback); transposed, it is `pull`, the backward function of NumPy arrays. So `grad` of
`jit` runs machine code in both directions; for everything else (`jvp`, `vmap`, `hessian` and their
compositions) JAX differentiates the fallback.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec


@dataclass(frozen=True, eq=False)
class Functions:
    """The functions of one operation.

    Args:
        forward: k arrays -> list of m arrays: n results, and what only `backward` needs.
        backward: k + m arrays, and n of dLoss/d(results) -> list of dLoss/d(inputs).
        fallback: k JAX arrays -> the n results.
        inputs: j, the number of arrays with a gradient, the last of the k.
        kinds: shapes and dtypes of the m arrays.
        results: n.
    """

    forward: Callable
    backward: Callable
    fallback: Callable
    inputs: int
    kinds: list[jax.ShapeDtypeStruct]
    results: int

    def call(self, *arrays: jax.Array) -> list[jax.Array]:
        """Runs `forward` on the host: k arrays -> m arrays."""
        return _on_host(self.forward, self.kinds, arrays)

    def pull(self, *arrays: jax.Array) -> list[jax.Array]:
        """Runs `backward` on the host: k + m + n arrays -> j of dLoss/d(inputs)."""
        return _on_host(self.backward, self.given(arrays), arrays)

    def given(self, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Picks the j inputs from the arguments of `pull`."""
        k = len(arrays) - len(self.kinds) - self.results
        return arrays[k - self.inputs : k]

    def jax_call(self, *arrays: jax.Array) -> list[jax.Array]:
        """Does what `call` does in JAX; zeros stand for what only `backward` needs."""
        zeros = [jax.numpy.zeros(x.shape, x.dtype) for x in self.kinds[self.results :]]
        return [*self.fallback(*arrays), *zeros]

    def jax_push(self, *arrays: jax.Array) -> Sequence[jax.Array]:
        """Differentiates forward in JAX: k + m arrays and j tangents -> n tangents."""
        inputs, results = self._of_inputs(arrays, self.inputs)
        return jax.jvp(results, inputs, arrays[-self.inputs :])[1]

    def jax_pull(self, *arrays: jax.Array) -> Sequence[jax.Array]:
        """Does what `pull` does in JAX."""
        inputs, results = self._of_inputs(arrays, self.results)
        return list(jax.vjp(results, *inputs)[1](tuple(arrays[-self.results :])))

    def _of_inputs(self, arrays, last):
        """Returns the j inputs, and the results as a function of them."""
        arrays = arrays[: len(arrays) - last - len(self.kinds)]
        fixed = arrays[: -self.inputs]
        return arrays[-self.inputs :], lambda *inputs: tuple(self.fallback(*fixed, *inputs))


def _on_host(function, kinds, arrays):
    kinds = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in kinds]
    return jax.pure_callback(lambda *xs: function(*map(np.asarray, xs)), kinds, *arrays)


def _primitive(name, run, in_jax, kinds):
    """Makes a primitive that computes `run` and is differentiated and batched as `in_jax`.

    Args:
        name: its name.
        run: (functions, *arrays) -> results, on the host.
        in_jax: the same in JAX.
        kinds: (functions, arrays) -> objects with the shapes and dtypes of the results.
    """
    primitive = Primitive(f"charlm_{name}")
    primitive.multiple_results = True

    def abstract(*arrays, functions):
        return [jax.core.ShapedArray(x.shape, x.dtype) for x in kinds(functions, arrays)]

    def implement(*arrays, functions):
        return list(run(functions, *arrays))

    def derive(primals, tangents, functions):
        tangents = tuple(ad.instantiate_zeros(t) for t in tangents)
        return jax.jvp(lambda *a: list(in_jax(functions, *a)), primals, tangents)

    def batch(arrays, axes, functions):
        found = jax.vmap(lambda *a: list(in_jax(functions, *a)), axes)(*arrays)
        return found, [0] * len(found)

    primitive.def_impl(implement)
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(implement, multiple_results=True))
    ad.primitive_jvps[primitive] = derive
    batching.primitive_batchers[primitive] = batch
    return primitive


_call = _primitive("call", Functions.call, Functions.jax_call, lambda f, _: f.kinds)
_push = _primitive(
    "push", Functions.jax_push, Functions.jax_push, lambda f, _: f.kinds[: f.results]
)
_pull = _primitive("pull", Functions.pull, Functions.jax_pull, lambda f, arrays: f.given(arrays))


def _derive_call(primals, tangents, functions):
    found = _call.bind(*primals, functions=functions)
    tangents = [ad.instantiate_zeros(t) for t in tangents[-functions.inputs :]]
    pushed = _push.bind(*primals, *found, *tangents, functions=functions)
    rest = [ad.Zero(jax.typeof(x)) for x in found[functions.results :]]
    return found, [*pushed, *rest]


def _transpose_push(d_results, *arrays, functions):
    known = arrays[: -functions.inputs]
    d_results = [ad.instantiate_zeros(d) for d in d_results]
    pulled = _pull.bind(*known, *d_results, functions=functions)
    return [*[None] * len(known), *pulled]


ad.primitive_jvps[_call] = _derive_call
ad.primitive_transposes[_push] = _transpose_push


def operation(functions: Functions, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Runs the operation; returns its n results."""
    return tuple(_call.bind(*arrays, functions=functions)[: functions.results])


def divided(
    functions: Functions,
    mesh: jax.sharding.Mesh,
    name: str,
    batch_axes: Sequence[int | None],
    *arrays: jax.Array,
) -> tuple[jax.Array, ...]:
    """Runs the operation on each device of a mesh, for its own part of the batch.

    Args:
        functions: the operation, for the whole batch.
        mesh: of devices, on an axis `name`.
        batch_axes: for each array the axis of its sequences, or None. The gradient of an array
            without one is the sum over all devices.
    """

    def place(axis):
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, name)

    n = mesh.shape[name]
    kinds = [
        jax.ShapeDtypeStruct((x.shape[0] // n, *x.shape[1:]), x.dtype) for x in functions.kinds
    ]
    each = partial(operation, replace(functions, kinds=kinds))
    # it cannot know which results of our primitives are equal on all devices, and need not
    return jax.shard_map(
        each,
        mesh=mesh,
        in_specs=tuple(map(place, batch_axes)),
        out_specs=(place(0),) * functions.results,
        check_vma=False,
    )(*arrays)
