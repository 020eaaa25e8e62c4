"""GRU, reset after the product (equations: `charlm/layers/gru.py`), a row of a batch at a time."""

from charlm.compiled.activations import sigmoid, tanh
from charlm.compiled.compiler import compiled, f4

CACHE, SPLIT = 4, True
ONE = f4(1)


@compiled
def step(x, u, h_prev, _c_prev, h, _c, cache):
    """x = W x + b and u = h' U + d (3H,) -> h (H,) and z, r, g, u_g (4H,)."""
    H = len(h)
    for j in range(H):
        z = sigmoid(x[j] + u[j])
        r = sigmoid(x[H + j] + u[H + j])
        u_g = u[2 * H + j]
        g = tanh(x[2 * H + j] + r * u_g)
        h[j] = z * h_prev[j] + (ONE - z) * g
        cache[j] = z
        cache[H + j] = r
        cache[2 * H + j] = g
        cache[3 * H + j] = u_g


@compiled
def step_backward(dh, _dc, cache, h_prev, _c_prev, _h, _c, dx, du):
    """dh (H,) after the step -> dx, du (3H,); dh, in place, is what of dh' does not go by du."""
    H = len(h_prev)
    for j in range(H):
        z, r = cache[j], cache[H + j]
        g, u_g = cache[2 * H + j], cache[3 * H + j]
        d = dh[j]
        d_z = d * (h_prev[j] - g) * z * (ONE - z)
        d_g = d * (ONE - z) * (ONE - g * g)
        d_r = d_g * u_g * r * (ONE - r)
        dx[j] = d_z
        dx[H + j] = d_r
        dx[2 * H + j] = d_g
        du[j] = d_z
        du[H + j] = d_r
        du[2 * H + j] = d_g * r
        dh[j] = d * z
