"""A function of NumPy arrays as an operation of torch: see `charlm.layers.numpy_op`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch


class Operation(torch.autograd.Function):
    """Runs (forward, backward, fallback, given) of `numpy_op`; returns its results."""

    @staticmethod
    def forward(
        context: Any,
        functions: tuple[Callable, Callable, Callable, Sequence[torch.Tensor]],
        results: int,
        *inputs: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        run, _, _, given = context.functions = functions
        found = _on_host(run, [*given, *inputs])
        context.save_for_backward(*inputs, *found)
        return tuple(found[:results])

    @staticmethod
    def backward(context: Any, *d_results: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (_, run, fallback, given), saved = context.functions, context.saved_tensors
        inputs = saved[: len(context.needs_input_grad) - 2]
        if not torch.is_grad_enabled():
            return None, None, *_on_host(run, [*given, *saved, *d_results])
        # The gradient is to be differentiated too. Views give partial derivatives even if one
        # input is computed from another or is given twice.
        inputs = [x.view_as(x) for x in inputs]
        found = fallback(*given, *inputs)
        wanted = [x for x in inputs if x.requires_grad]
        made = iter(torch.autograd.grad(found, wanted, d_results, create_graph=True))
        return None, None, *(next(made) if x.requires_grad else None for x in inputs)


def _on_host(function, tensors):
    arrays = [x.detach().contiguous().numpy() for x in tensors]
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in function(*arrays)]
