"""A cell over time for one part of a batch, forward and backward.

What products read is copied into arrays padded to whole tiles, so that they never meet an edge.
Those arrays are given: to ask the system for memory can take longer than all the arithmetic.
"""

from charlm.compiled.matmul import COLUMNS, ROWS, multiply, multiply_transposed, padded, rounded

cell = None  # the module whose equations these loops run, put here by `compiler.for_cell`
GATHER = 256  # rows of several time steps that one product for dU takes, or it would be all edges


def forward_space(n, H, GH):
    """Shapes of the arrays that `forward` works in, for n sequences."""
    R = padded(n)
    return (R, H), (R, rounded(GH, COLUMNS))


def forward(rows, index, U, d, h0, c0, hs, cs, cache, begin, end, h, u):
    """Fills h and c of every step and what `backward` needs, for sequences begin..end of a batch.

    Args:
        rows: (N, G*H), the inputs' share of the pre-activations. index: (B, T), the row of each.
        U: `panels` of (H, G*H). d: (G*H,), a bias of h' U.
        h0, c0: (B, H), before the first step. hs, cs: (B, T, H). Without c, they are those of h.
        cache: (B, T, C), or (B, 1, C) where it is not needed.
        h, u: `forward_space`.
    """
    T, H, n, GH = index.shape[1], hs.shape[2], end - begin, len(d)
    for b in range(n):
        h[b] = h0[begin + b]
    for t in range(T):
        for b in range(n):
            for j in range(GH):
                u[b, j] = d[j]
        multiply(h, 0, len(h), H, U, u)
        for b in range(n):
            s = begin + b
            c_prev = cs[s, t - 1] if t else c0[s]
            gates = cache[s, t % cache.shape[1]]
            cell.step(rows[index[s, t]], u[b], h[b], c_prev, hs[s, t], cs[s, t], gates)
            for j in range(H):
                h[b, j] = hs[s, t, j]


def backward_space(n, H, GH):
    """Shapes of the arrays that `backward` works in, for n sequences."""
    R = rounded(n, ROWS)
    steps = max(1, GATHER // R)
    # not a power of two, or a column's numbers would all compete for one place in the cache
    du, h_before = (steps * R, rounded(GH, COLUMNS) + 16), (steps * R, rounded(H, ROWS) + 16)
    return du, h_before, (R, rounded(H, COLUMNS)), (GH,)


def backward(
    index, U_t, h0, c0, hs, cs, cache, dhs, dh, dc, d_rows, dU, dd,
    begin, end, du, h_before, dh_up, dx,
):  # fmt: skip
    """Adds the gradients of sequences begin..end to d_rows, dU and dd, and leaves dh and dc.

    Args:
        U_t: `panels` of U^T, (G*H, H).
        dhs: (B, T, H), dLoss/dh of every step from above.
        dh, dc: (B, H), dLoss/d(states after the last step), then before the first.
        d_rows: (N, G*H). dU: (H up to ROWS, G*H up to COLUMNS). dd: (G*H,), or empty without d.
        du, h_before, dh_up, dx: `backward_space`.
    """
    T, H, n, GH = index.shape[1], hs.shape[2], end - begin, d_rows.shape[1]
    R = len(dh_up)
    steps = len(du) // R
    du[:] = 0  # the rows beyond n are summed up too
    h_before[:] = 0
    for b in range(n):
        dh_up[b, :H] = dh[begin + b]
    kept = 0
    for t in range(T - 1, -1, -1):
        for b in range(n):
            s, at = begin + b, kept * R + b
            h_prev, c_prev = (hs[s, t - 1], cs[s, t - 1]) if t else (h0[s], c0[s])
            d_h, d_above, d_u = dh_up[b, :H], dhs[s, t], du[at]
            for j in range(H):
                h_before[at, j] = h_prev[j]
                d_h[j] += d_above[j]
            d_x = dx if cell.SPLIT else d_u
            cell.step_backward(
                d_h, dc[s], cache[s, t], h_prev, c_prev, hs[s, t], cs[s, t], d_x, d_u
            )
            d_row = d_rows[index[s, t]]
            for j in range(GH):
                d_row[j] += d_x[j]
            for j in range(len(dd)):
                dd[j] += d_u[j]
        multiply(du, kept * R, R, GH, U_t, dh_up)
        kept += 1
        if kept == steps or t == 0:
            multiply_transposed(h_before, du, kept * R, dU)
            kept = 0
    for b in range(n):
        dh[begin + b] = dh_up[b, :H]
