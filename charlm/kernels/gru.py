"""Specification: charlm/reference/gru.py

The same equations in machine code, one row of a batch at a time. For `reset_after`.

`jit.cell` replaces the activations imported here by others.
"""

from charlm.kernels.activations import sigmoid as gate
from charlm.kernels.activations import sigmoid_slope as gate_slope
from charlm.kernels.activations import tanh as activation
from charlm.kernels.activations import tanh_slope as activation_slope
from charlm.kernels.jit import f4

CACHE, SPLIT = 4, True
ONE = f4(1)


def step(x, u, h_prev, _c_prev, h, _c, cache):
    """Computes h (H,) and z, r, g, u_g (4H,) from x = W x + b and u = h' U + d, each (3H,)."""
    H = len(h)
    for j in range(H):
        z = gate(x[j] + u[j])
        r = gate(x[H + j] + u[H + j])
        u_g = u[2 * H + j]
        g = activation(x[2 * H + j] + r * u_g)
        h[j] = z * h_prev[j] + (ONE - z) * g
        cache[j] = z
        cache[H + j] = r
        cache[2 * H + j] = g
        cache[3 * H + j] = u_g


def step_backward(dh, _dc, cache, h_prev, _c_prev, _h, _c, dx, du):
    """Computes dx, du (3H,) from dh (H,) after the step; dh keeps the part of dh' outside du."""
    H = len(h_prev)
    for j in range(H):
        z, r = cache[j], cache[H + j]
        g, u_g = cache[2 * H + j], cache[3 * H + j]
        d = dh[j]
        d_z = d * (h_prev[j] - g) * gate_slope(z)
        d_g = d * (ONE - z) * activation_slope(g)
        d_r = d_g * u_g * gate_slope(r)
        dx[j] = d_z
        dx[H + j] = d_r
        dx[2 * H + j] = d_g
        du[j] = d_z
        du[H + j] = d_r
        du[2 * H + j] = d_g * r
        dh[j] = d * z
