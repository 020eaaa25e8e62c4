"""An LSTM in NumPy, one step and the loop over time. Equations: `charlm.layers.lstm`."""

import numpy as np


def sigmoid(a):
    """1 / (1 + exp(-a)), by tanh, which does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def step(a_x, states, recurrent_kernel):
    """One time step.

    Args:
        a_x: (B, 4H), x W + b.
        states: (h, c) before the step, each (B, H).
        recurrent_kernel: U (H, 4H), blocks i, f, g, o.

    Returns:
        (h, c) after the step.
    """
    h, c = states
    H = h.shape[-1]
    a = a_x + h @ recurrent_kernel  # (B, 4H)
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    g = np.tanh(a[:, 2 * H : 3 * H])
    o = sigmoid(a[:, 3 * H :])
    c = f * c + i * g
    return o * np.tanh(c), c


def forward(x, states, kernel, recurrent_kernel, bias):
    """All time steps: x (B, T, D), states before -> h (B, T, H), states after."""
    B, T, _ = x.shape
    hs = np.empty((B, T, recurrent_kernel.shape[0]), x.dtype)
    for t in range(T):
        states = step(x[:, t] @ kernel + bias, states, recurrent_kernel)
        hs[:, t] = states[0]
    return hs, states
