"""LSTM with coupled gates (equations: `charlm/layers/coupled.py`), a row of a batch at a time."""

from charlm.compiled.activations import sigmoid, tanh
from charlm.compiled.compiler import compiled, f4

CACHE, SPLIT = 3, False
ONE = f4(1)


@compiled
def step(x, u, _h_prev, c_prev, h, c, gates):
    """x = W x + b and u = h' U (3H,) -> h, c (H,) and the gates (3H,)."""
    H = len(h)
    for j in range(H):
        f = sigmoid(x[j] + u[j])
        g = tanh(x[H + j] + u[H + j])
        o = sigmoid(x[2 * H + j] + u[2 * H + j])
        new = f * c_prev[j] + (ONE - f) * g
        h[j] = o * tanh(new)
        c[j] = new
        gates[j] = f
        gates[H + j] = g
        gates[2 * H + j] = o


@compiled
def step_backward(dh, dc, gates, _h_prev, c_prev, _h, c, _dx, du):
    """dh, dc (H,) after the step -> du (3H,), which is dx, and dc before the step, in place."""
    H = len(c)
    for j in range(H):
        f, g, o = gates[j], gates[H + j], gates[2 * H + j]
        tanh_c = tanh(c[j])
        d = dc[j] + dh[j] * o * (ONE - tanh_c * tanh_c)
        du[j] = d * (c_prev[j] - g) * f * (ONE - f)
        du[H + j] = d * (ONE - f) * (ONE - g * g)
        du[2 * H + j] = dh[j] * tanh_c * o * (ONE - o)
        dc[j] = d * f
        dh[j] = 0  # all of dh' goes by du
