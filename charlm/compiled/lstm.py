"""LSTM (equations: `charlm/layers/lstm.py`), a row of a batch at a time."""

from charlm.compiled.activations import sigmoid, tanh
from charlm.compiled.compiler import compiled, f4

CACHE, SPLIT = 4, False
ONE = f4(1)


@compiled
def step(x, u, _h_prev, c_prev, h, c, gates):
    """x = W x + b and u = h' U (4H,) -> h, c (H,) and the gates (4H,)."""
    H = len(h)
    for j in range(H):
        i = sigmoid(x[j] + u[j])
        f = sigmoid(x[H + j] + u[H + j])
        g = tanh(x[2 * H + j] + u[2 * H + j])
        o = sigmoid(x[3 * H + j] + u[3 * H + j])
        new = f * c_prev[j] + i * g
        h[j] = o * tanh(new)
        c[j] = new
        gates[j] = i
        gates[H + j] = f
        gates[2 * H + j] = g
        gates[3 * H + j] = o


@compiled
def step_backward(dh, dc, gates, _h_prev, c_prev, _h, c, _dx, du):
    """dh, dc (H,) after the step -> du (4H,), which is dx, and dc before the step, in place."""
    H = len(c)
    for j in range(H):
        i, f = gates[j], gates[H + j]
        g, o = gates[2 * H + j], gates[3 * H + j]
        tanh_c = tanh(c[j])
        d = dc[j] + dh[j] * o * (ONE - tanh_c * tanh_c)
        du[j] = d * g * i * (ONE - i)
        du[H + j] = d * c_prev[j] * f * (ONE - f)
        du[2 * H + j] = d * i * (ONE - g * g)
        du[3 * H + j] = dh[j] * tanh_c * o * (ONE - o)
        dc[j] = d * f
        dh[j] = 0  # all of dh' goes by du
