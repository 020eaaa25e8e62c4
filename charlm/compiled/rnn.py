"""The simple RNN (equations: `charlm/layers/rnn.py`), a row of a batch at a time."""

from charlm.compiled.activations import tanh
from charlm.compiled.compiler import compiled, f4

CACHE, SPLIT = 0, False
ONE = f4(1)


@compiled
def step(x, u, _h_prev, _c_prev, h, _c, _cache):
    """x = W x + b and u = h' U (H,) -> h (H,)."""
    for j in range(len(h)):
        h[j] = tanh(x[j] + u[j])


@compiled
def step_backward(dh, _dc, _cache, _h_prev, _c_prev, h, _c, _dx, du):
    """dh (H,) after the step -> du (H,), which is dx."""
    for j in range(len(h)):
        du[j] = dh[j] * (ONE - h[j] * h[j])
        dh[j] = 0  # all of dh' goes by du
