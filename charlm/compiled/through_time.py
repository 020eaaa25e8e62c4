"""A cell over time for one part of a batch, forward and backward.

What products read is copied into arrays padded to whole tiles, so that they never meet an edge.
Those arrays are given, all but a product's small panel: to ask the system for memory can take
longer than all the arithmetic.
"""

from charlm.compiled.matmul import COLUMNS, ROWS, multiply, multiply_transposed, padded, rounded
from charlm.compiled.memory import empty

# modules put here by `compiler.made_for`: the cell whose equations these loops run, and how the
# factors of its products lie (`single` or `half`)
cell = factors = None
GATHER = 256  # rows of several time steps that one product for dU takes, or it would be all edges


def forward_space(factors, n, H, GH):
    """The arrays that `forward` works in, for n sequences."""
    R = padded(n)
    return factors.rows(R, H), empty(R, rounded(GH, COLUMNS))


def forward(rows, index, U, d, h0, c0, hs, cs, cache, begin, end, h, u):
    """Fills h and c of every step and what `backward` needs, for sequences begin..end of a batch.

    Args:
        rows: (N, G*H), the inputs' share of the pre-activations. index: (B, T), the row of each.
        U: `panels` of (H, G*H). d: (G*H,), a bias of h' U.
        h0, c0: (B, H), before the first step. hs, cs: (B, T, H). Without c, they are those of h.
        cache: (B, T, C), or (B, 1, C) where it is not needed.
        h, u: `forward_space`.
    """
    T, n, GH = index.shape[1], end - begin, len(d)
    for b in range(n):
        factors.put(h, b, h0[begin + b])
    for t in range(T):
        for b in range(n):
            for j in range(GH):
                u[b, j] = d[j]
        multiply(h, 0, len(h), U, u)
        for b in range(n):
            s = begin + b
            h_prev, c_prev = (hs[s, t - 1], cs[s, t - 1]) if t else (h0[s], c0[s])
            gates = cache[s, t % cache.shape[1]]
            cell.step(rows[index[s, t]], u[b], h_prev, c_prev, hs[s, t], cs[s, t], gates)
            factors.put(h, b, hs[s, t])


def backward_space(factors, n, H, GH):
    """The arrays that `backward` works in, for n sequences."""
    R = rounded(n, ROWS)
    rows = max(1, GATHER // R) * R
    return *factors.gradients(rows, R, H, GH), empty(R, rounded(H, COLUMNS)), empty(GH)


def backward(
    index, U_t, h0, c0, hs, cs, cache, dhs, dh, dc, d_rows, dU, dd,
    begin, end, du, first, below, h_below, dh_up, dx,
):  # fmt: skip
    """Adds the gradients of sequences begin..end to d_rows, dU and dd, and leaves dh and dc.

    Args:
        U_t: `panels` of U^T, (G*H, H).
        dhs: (B, T, H), dLoss/dh of every step from above.
        dh, dc: (B, H), dLoss/d(states after the last step), then before the first.
        d_rows: (N, G*H). dU: (H up to ROWS, G*H up to COLUMNS). dd: (G*H,), or empty without d.
        du ... dx: `backward_space`.
    """
    T, H, n, GH = index.shape[1], hs.shape[2], end - begin, d_rows.shape[1]
    R = len(dh_up)
    below[:] = 0  # the rows beyond n are summed up too
    h_below[:] = 0
    for b in range(n):
        dh_up[b, :H] = dh[begin + b]
    gathered = 0
    for t in range(T - 1, -1, -1):
        here = gathered % len(du)  # its rows are those of all that is gathered, or of a step
        for b in range(n):
            s = begin + b
            h_prev, c_prev = (hs[s, t - 1], cs[s, t - 1]) if t else (h0[s], c0[s])
            d_h, d_above, d_u = dh_up[b, :H], dhs[s, t], du[here + b]
            for j in range(H):
                d_h[j] += d_above[j]
            factors.put_below(h_below, gathered + b, h_prev)
            d_x = dx if cell.SPLIT else d_u
            cell.step_backward(
                d_h, dc[s], cache[s, t], h_prev, c_prev, hs[s, t], cs[s, t], d_x, d_u
            )
            factors.put_gradient(first, b, below, gathered + b, d_u)
            d_row = d_rows[index[s, t]]
            for j in range(GH):
                d_row[j] += d_x[j]
            for j in range(len(dd)):
                dd[j] += d_u[j]
        multiply(first, here, R, U_t, dh_up)
        gathered += R
        if gathered == len(h_below) * factors.IN_WORD or t == 0:
            multiply_transposed(h_below, below, gathered // factors.IN_WORD, dU)
            gathered = 0
    for b in range(n):
        dh[begin + b] = dh_up[b, :H]
