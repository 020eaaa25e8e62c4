"""A function of NumPy arrays as an operation of JAX that every transformation understands.

Three primitives, since `jax.custom_vjp` knows reverse mode alone. `call` is the function itself;
its tangent is `push`, which is linear: carried out, it is the tangent of a JAX function that
computes the same (the fallback); transposed, it is `pull`, the backward function of NumPy arrays.
So `grad` of `jit` runs machine code both ways, and whatever else is asked for (`jvp`, `vmap`,
`hessian` and their compositions) is JAX's own derivative of the fallback.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


@dataclass(frozen=True, eq=False)
class Functions:
    """What an operation computes.

    Args:
        forward: k arrays -> list of m arrays: n results, and what only `backward` needs.
        backward: k + m arrays, and n of dLoss/d(results) -> list of dLoss/d(inputs).
        fallback: k JAX arrays -> the n results.
        inputs: j of the k are differentiated, the last ones.
        kinds: of all m. results: n.
    """

    forward: Callable
    backward: Callable
    fallback: Callable
    inputs: int
    kinds: list[jax.ShapeDtypeStruct]
    results: int

    def call(self, *arrays):
        """k -> m, on the host."""
        return _on_host(self.forward, self.kinds, arrays)

    def pull(self, *arrays):
        """k + m, and n of dLoss/d(results) -> j of dLoss/d(inputs), on the host."""
        return _on_host(self.backward, self.given(arrays), arrays)

    def given(self, arrays):
        """Of what `pull` is given, the j inputs."""
        k = len(arrays) - len(self.kinds) - self.results
        return arrays[k - self.inputs : k]

    def jax_call(self, *arrays):
        """`call` in JAX; what only `backward` needs is zeros, for nothing in JAX reads it."""
        zeros = [jax.numpy.zeros(x.shape, x.dtype) for x in self.kinds[self.results :]]
        return [*self.fallback(*arrays), *zeros]

    def jax_push(self, *arrays):
        """k + m, and j tangents -> n tangents, in JAX."""
        inputs, results = self._of_inputs(arrays, self.inputs)
        return jax.jvp(results, inputs, arrays[-self.inputs :])[1]

    def jax_pull(self, *arrays):
        """`pull` in JAX."""
        inputs, results = self._of_inputs(arrays, self.results)
        return list(jax.vjp(results, *inputs)[1](tuple(arrays[-self.results :])))

    def _of_inputs(self, arrays, last):
        """The j inputs, and the results as a function of them."""
        arrays = arrays[: len(arrays) - last - len(self.kinds)]
        fixed = arrays[: -self.inputs]
        return arrays[-self.inputs :], lambda *inputs: tuple(self.fallback(*fixed, *inputs))


def _on_host(function, kinds, arrays):
    kinds = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in kinds]
    return jax.pure_callback(lambda *xs: function(*map(np.asarray, xs)), kinds, *arrays)


def _primitive(name, run, in_jax, kinds):
    """A primitive that computes `run` and is differentiated and batched as `in_jax`.

    Args:
        kinds: (functions, arrays) -> what is computed, arrays or their like.
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


def operation(functions: Functions, *arrays):
    """The n results."""
    return tuple(_call.bind(*arrays, functions=functions)[: functions.results])
