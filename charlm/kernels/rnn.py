"""Specification: charlm/reference/rnn.py

The same equations in machine code, one row of a batch at a time.

`jit.cell` replaces the activations imported here by others.
"""

from charlm.kernels.activations import tanh as activation
from charlm.kernels.activations import tanh_slope as activation_slope

CACHE, SPLIT = 0, False


def step(x, u, _h_prev, _c_prev, h, _c, _cache):
    """Computes h (H,) from x = W x + b and u = h' U, each (H,)."""
    for j in range(len(h)):
        h[j] = activation(x[j] + u[j])


def step_backward(dh, _dc, _cache, _h_prev, _c_prev, h, _c, _dx, du):
    """Computes du = dx (H,) from dh (H,) after the step."""
    for j in range(len(h)):
        du[j] = dh[j] * activation_slope(h[j])
        dh[j] = 0  # all of dh' comes from du
