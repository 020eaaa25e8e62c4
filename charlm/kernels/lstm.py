"""Specification: charlm/reference/lstm.py

The same equations in machine code, one row of a batch at a time.

`jit.cell` replaces the activations imported here by others.
"""

from charlm.kernels.activations import sigmoid as gate
from charlm.kernels.activations import sigmoid_slope as gate_slope
from charlm.kernels.activations import tanh as activation
from charlm.kernels.activations import tanh_slope as activation_slope

CACHE, SPLIT = 4, False


def step(x, u, _h_prev, c_prev, h, c, gates):
    """Computes h, c (H,) and the gates (4H,) from x = W x + b and u = h' U, each (4H,)."""
    H = len(h)
    for j in range(H):
        i = gate(x[j] + u[j])
        f = gate(x[H + j] + u[H + j])
        g = activation(x[2 * H + j] + u[2 * H + j])
        o = gate(x[3 * H + j] + u[3 * H + j])
        new = f * c_prev[j] + i * g
        h[j] = o * activation(new)
        c[j] = new
        gates[j] = i
        gates[H + j] = f
        gates[2 * H + j] = g
        gates[3 * H + j] = o


def step_backward(dh, dc, gates, _h_prev, c_prev, _h, c, _dx, du):
    """Computes du = dx (4H,) from dh, dc (H,) after the step; replaces dc by dc before it."""
    H = len(c)
    for j in range(H):
        i, f = gates[j], gates[H + j]
        g, o = gates[2 * H + j], gates[3 * H + j]
        shown = activation(c[j])
        d = dc[j] + dh[j] * o * activation_slope(shown)
        du[j] = d * g * gate_slope(i)
        du[H + j] = d * c_prev[j] * gate_slope(f)
        du[2 * H + j] = d * i * activation_slope(g)
        du[3 * H + j] = dh[j] * shown * gate_slope(o)
        dc[j] = d * f
        dh[j] = 0  # all of dh' comes from du
