"""A cell over time for one part of a batch, forward and backward.

Arrays are padded to whole tiles, so that a product never meets an edge.
"""

import numpy as np

from charlm.compiled.compiler import f4
from charlm.compiled.matmul import COLUMNS, ROWS, multiply, multiply_transposed, up

cell = None  # the module whose equations these loops run, put here by `compiler.for_cell`
GATHER = 256  # rows of several time steps that one product for dU takes, or it would be all edges


def forward(rows, index, U, d, hs, cs, cache, begin, end):
    """Fills h and c of every step and what `backward` needs, for sequences begin..end of a batch.

    Args:
        rows: (N, G*H), the inputs' share of the pre-activations. index: (T, B), the row of each.
        U: `panels` of (H, G*H). d: (G*H,), a bias of h' U.
        hs, cs: (T + 1 or more, B, H), row 0 the states before the first step; cs is hs where there is no c.
        cache: (T, B, C).
    """
    T, H, n = index.shape[0], hs.shape[2], end - begin
    GH = len(d)
    h = np.zeros((up(n, ROWS), H), f4)
    u = np.zeros((up(n, ROWS), U.shape[0] * COLUMNS), f4)
    for t in range(T):
        for b in range(n):
            h[b] = hs[t, begin + b]
            u[b, :GH] = d
        multiply(h, 0, len(h), H, U, u)
        for b in range(n):
            s = begin + b
            cell.step(
                rows[index[t, s]], u[b], hs[t, s], cs[t, s], hs[t + 1, s], cs[t + 1, s], cache[t, s]
            )


def backward(index, U_t, hs, cs, cache, dhs, dh, dc, d_rows, dU, dd, begin, end):
    """Adds the gradients of sequences begin..end to d_rows, dU and dd, and leaves dh and dc.

    Args:
        U_t: `panels` of U^T, (G*H, H).
        dhs: (T + 1 or more, B, H), dLoss/dh from above, of row 0 too.
        dh, dc: (B, H), dLoss/d(states after the last step), then before the first.
        d_rows: (N, G*H). dU: (H up to ROWS, G*H up to COLUMNS). dd: (G*H,), or empty where there is no d.
    """
    T, H, n, GH = index.shape[0], hs.shape[2], end - begin, d_rows.shape[1]
    R = up(n, ROWS)
    steps = max(1, GATHER // R)
    # not a power of two, or a column's numbers would all compete for one place in the cache
    du = np.zeros((steps * R, dU.shape[1] + 16), f4)
    h_prev = np.zeros((steps * R, dU.shape[0] + 16), f4)
    dh_up = np.zeros((R, U_t.shape[0] * COLUMNS), f4)
    dx = np.zeros(GH, f4)
    for b in range(n):
        dh_up[b, :H] = dh[begin + b]
    kept = 0
    for t in range(T - 1, -1, -1):
        for b in range(n):
            s = begin + b
            d, dh_row, dhs_row = du[kept * R + b], dh_up[b], dhs[t + 1, s]
            for j in range(H):
                dh_row[j] += dhs_row[j]
            dx_row = dx if cell.SPLIT else d
            cell.step_backward(
                dh_row[:H],
                dc[s],
                cache[t, s],
                hs[t, s],
                cs[t, s],
                hs[t + 1, s],
                cs[t + 1, s],
                dx_row,
                d,
            )
            d_row = d_rows[index[t, s]]
            for j in range(GH):
                d_row[j] += dx_row[j]
            for j in range(len(dd)):
                dd[j] += d[j]
            h_prev[kept * R + b, :H] = hs[t, s]
        multiply(du, kept * R, R, GH, U_t, dh_up)
        kept += 1
        if kept == steps or t == 0:
            multiply_transposed(h_prev, du, kept * R, dU)
            kept = 0
    for b in range(n):
        for j in range(H):
            dh[begin + b, j] = dh_up[b, j] + dhs[0, begin + b, j]
