"""The simple RNN (equations: `charlm/layers/rnn.py`), a row of a batch at a time.

`jit.cell` puts other activations in the place of the names imported here.
"""

from charlm.kernels.activations import tanh as activation
from charlm.kernels.activations import tanh_slope as activation_slope

CACHE, SPLIT = 0, False


def step(x, u, _h_prev, _c_prev, h, _c, _cache):
    """x = W x + b and u = h' U (H,) -> h (H,)."""
    for j in range(len(h)):
        h[j] = activation(x[j] + u[j])


def step_backward(dh, _dc, _cache, _h_prev, _c_prev, h, _c, _dx, du):
    """dh (H,) after the step -> du (H,), which is dx."""
    for j in range(len(h)):
        du[j] = dh[j] * activation_slope(h[j])
        dh[j] = 0  # all of dh' goes by du
