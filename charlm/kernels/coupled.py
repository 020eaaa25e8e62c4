"""Specification: charlm/reference/coupled.py

The same equations in machine code, one row of a batch at a time.

`jit.cell` replaces the activations imported here by others.
"""

from charlm.kernels.activations import sigmoid as gate
from charlm.kernels.activations import sigmoid_slope as gate_slope
from charlm.kernels.activations import tanh as activation
from charlm.kernels.activations import tanh_slope as activation_slope
from charlm.kernels.jit import f4

CACHE, SPLIT = 3, False
ONE = f4(1)


def step(x, u, _h_prev, c_prev, h, c, gates):
    """Computes h, c (H,) and the gates (3H,) from x = W x + b and u = h' U, each (3H,)."""
    H = len(h)
    for j in range(H):
        f = gate(x[j] + u[j])
        g = activation(x[H + j] + u[H + j])
        o = gate(x[2 * H + j] + u[2 * H + j])
        new = f * c_prev[j] + (ONE - f) * g
        h[j] = o * activation(new)
        c[j] = new
        gates[j] = f
        gates[H + j] = g
        gates[2 * H + j] = o


def step_backward(dh, dc, gates, _h_prev, c_prev, _h, c, _dx, du):
    """Computes du = dx (3H,) from dh, dc (H,) after the step; replaces dc by dc before it."""
    H = len(c)
    for j in range(H):
        f, g, o = gates[j], gates[H + j], gates[2 * H + j]
        shown = activation(c[j])
        d = dc[j] + dh[j] * o * activation_slope(shown)
        du[j] = d * (c_prev[j] - g) * gate_slope(f)
        du[H + j] = d * (ONE - f) * activation_slope(g)
        du[2 * H + j] = dh[j] * shown * gate_slope(o)
        dc[j] = d * f
        dh[j] = 0  # all of dh' comes from du
