"""A cell over time for one core's share of a batch, forward and backward.

A core computes some of the units of some of the sequences. At each time step it needs all units of
its sequences, and waits for the cores that compute the others. So `hs`, `dh` and other arrays that
cores share have all H units; weights, their gradients and the arrays made for one core have only
its own m units. Without others, m is H.

A sequence is not computed at steps that its time mask leaves out: the sequences that take a step
fill consecutive rows of the products, and the others keep their states.

Operands of products are copied into arrays padded to whole tiles, so that there are no partial
tiles. The caller allocates these arrays, because asking the system for memory can take longer than
the arithmetic. Only `multiply_transposed` allocates, once for many time steps.

`forward` and `backward` are one long function each: the parts of a time step share so many arrays
and counters that a split would mostly pass these on.
"""

from typing import Any

from charlm.kernels.barrier import wait
from charlm.kernels.jit import jit
from charlm.kernels.matmul import multiply, multiply_transposed, padded

# modules set by `jit.specialized`: the cell whose equations these loops run, and the layout of the
# operands of its products (`float32` or `bfloat16`)
cell: Any = None
factors: Any = None


def forward(
    rows, index, added, contexts, x, W, b, U, d, live, start, drop, h0, c0, hs, cs, cache,
    show_first, begin, end, left, right, barrier, members, h, u, x_block, v, dropped, summed, own,
):  # fmt: skip
    """Fills h and c of every step and what `backward` needs: units left..right of sequences
    begin..end of a batch.

    The inputs' share of the pre-activations is rows[index], to which added[contexts] is added if
    there are any; or, if rows is empty, x W + b.

    Args:
        rows: (N, G*m).
        index: (B, T).
        added: (C, G*m), may be empty.
        contexts: (B, T).
        x: (B, T, D).
        W: `pack_panels` of (D, G*m).
        b: (G*m,).
        U: `pack_panels` of (H, a group's columns) for each group: with recurrent dropout each gate
            is a group, otherwise all gates together are one.
        d: (G*m,), the bias of h' U.
        live: (B, T), whether a sequence takes a step; empty if each takes all.
        start: (B,), the first step that a sequence takes.
        drop: (groups, B, H), the factor of h for each group; or empty.
        h0, c0: (B, H), before the first step; for a cell without c, both are h.
        hs, cs: (B, T, H), to fill; for a cell without c, both are h.
        cache: (B, T, C*H), or (B, 1, C*H) if it is not needed.
        show_first: fill hs before a sequence's first step with h0 instead of zeros.
        begin, end: the range of sequences.
        left, right: the range of units, m of them.
        barrier, members: of the cores that compute all units of these sequences.
        h ... own: from `work_space.for_forward`.
    """
    T, H, GH = hs.shape[1], hs.shape[2], len(d)
    computed, at = 0, 0  # time steps whose share of the inputs is in v; the next row
    for t in range(T):
        if len(v) and t == computed:
            computed, at, n = min(T, t + len(v) // len(u)), 0, 0
            for k in range(t, computed):
                for s in range(begin, end):
                    if takes(live, s, k):
                        factors.put(x_block, n, x[s, k])
                        for j in range(GH):
                            v[n, j] = b[j]
                        n += 1
            multiply(x_block, 0, padded(n), W, v)
        n = 0
        for s in range(begin, end):
            if takes(live, s, t):
                if len(drop) == 0:
                    factors.put(h, n, hs[s, t - 1] if t > start[s] else h0[s])
                for j in range(GH):
                    u[n, j] = d[j]
                n += 1
        if len(drop) == 0 and n:
            multiply(h, 0, padded(n), U[0], u)
        for g in range(len(drop) if n else 0):
            r = 0
            for s in range(begin, end):
                if takes(live, s, t):
                    h_prev = hs[s, t - 1] if t > start[s] else h0[s]
                    for j in range(H):
                        dropped[j] = h_prev[j] * drop[g, s, j]
                    factors.put(h, r, dropped)
                    r += 1
            multiply(h, 0, padded(n), U[g], u, 0, g * (GH // len(drop)))
        n = 0
        for s in range(begin, end):
            h_all, c_all = (hs[s, t - 1], cs[s, t - 1]) if t > start[s] else (h0[s], c0[s])
            h_prev, c_prev = h_all[left:right], c_all[left:right]
            h_new, c_new = hs[s, t, left:right], cs[s, t, left:right]
            if takes(live, s, t):
                a_x = v[at] if len(v) else rows[index[s, t]]
                if len(added):
                    more = added[contexts[s, t]]
                    for j in range(GH):
                        summed[j] = a_x[j] + more[j]
                    a_x = summed
                kept = cache[s, t % cache.shape[1]]
                gates = kept if members == 1 else own
                cell.step(a_x, u[n], h_prev, c_prev, h_new, c_new, gates)
                if members > 1:
                    for k in range(len(kept) // H):
                        for j in range(right - left):
                            kept[k * H + left + j] = own[k * (right - left) + j]
                n += 1
                at += 1
            elif t > start[s] or show_first:
                h_new[:], c_new[:] = h_prev, c_prev
            else:
                h_new[:], c_new[:] = 0, 0
        wait(barrier, members)


@jit
def takes(live, s, t):
    """Returns whether sequence s takes step t."""
    return live.shape[1] == 0 or live[s, t]


def backward(
    index, contexts, x, W_t, U_t, live, start, drop, h0, c0, hs, cs, cache, show_first, d_hs, dh,
    dc, d_rows, d_added, d_x, dW, db, dU, dd, begin, end, left, right, barrier, members, begin_x,
    end_x, du, du_first, du_below, dx, dx_first, dx_below, h_below, x_below, up, part, x_up,
    places, dropped, own,
):  # fmt: skip
    """Adds the gradients of units left..right of sequences begin..end to d_rows ... dd, and updates
    dh and dc.

    Args:
        index ... show_first: as in `forward`, but
        W_t: `pack_panels` of W^T, of its columns begin_x..end_x.
        U_t: `pack_panels` of each group of U^T, of its columns left..right.
        d_hs: (B, T, H), dLoss/dh of every step from the layer above.
        dh, dc: (B, H), dLoss/d(states after the last step); at the end, before the first.
        d_rows: (N, G*m), or (0, G*m) if x is given.
        d_added: (C, G*m), or (0, G*m) without contexts.
        d_x: (B, T, D), zeros.
        dW: `sums` of (D, G*m).
        db: (G*m,), or empty without this bias.
        dU: `sums` of (groups, H, columns of a group).
        dd: (G*m,), or empty without this bias.
        begin, end: the range of sequences.
        left, right: the range of units, m of them.
        barrier, members: of the cores that compute all units of these sequences.
        begin_x, end_x: the range of inputs whose gradient this core computes.
        du ... own: from `work_space.for_backward`; the cores share du_first and dx_first.
    """
    T, H, GH, groups = hs.shape[1], hs.shape[2], d_rows.shape[1], len(h_below)
    m = right - left
    vectors, split = d_x.shape[2] > 0, cell.SPLIT
    du_below[:] = 0  # the padding beyond G*H and H is multiplied too
    dx_below[:] = 0
    h_below[:] = 0
    x_below[:] = 0
    gathered = 0
    for t in range(T - 1, -1, -1):
        first, n = gathered, 0
        for s in range(begin, end):
            d_above, d_state = d_hs[s, t, left:right], dh[s, left:right]
            if not takes(live, s, t):
                if t > start[s] or show_first:
                    for j in range(m):
                        d_state[j] += d_above[j]
                continue
            h_prev, c_prev = (hs[s, t - 1], cs[s, t - 1]) if t > start[s] else (h0[s], c0[s])
            d_h, d_u = up[n, :m], du[gathered % len(du), :GH]
            d_a = dx[gathered % len(dx), :GH] if split else d_u
            for j in range(m):
                d_h[j] = d_state[j] + d_above[j]
            gates = cache[s, t] if members == 1 else own
            if members > 1:
                for k in range(cache.shape[2] // H):
                    for j in range(m):
                        own[k * m + j] = cache[s, t, k * H + left + j]
            cell.step_backward(
                d_h, dc[s, left:right], gates, h_prev[left:right], c_prev[left:right],
                hs[s, t, left:right], cs[s, t, left:right], d_a, d_u,
            )  # fmt: skip
            factors.put_gradient(du_first, du_below, gathered, d_u, H, left, right)
            for j in range(len(dd)):
                dd[j] += d_u[j]
            if len(drop) == 0:
                factors.put_summed(h_below[0], gathered, h_prev)
            for g in range(len(drop)):
                for j in range(H):
                    dropped[j] = h_prev[j] * drop[g, s, j]
                factors.put_summed(h_below[g], gathered, dropped)
            if vectors:
                if split:
                    factors.put_gradient(dx_first, dx_below, gathered, d_a, H, left, right)
                factors.put_summed(x_below, gathered, x[s, t])
                places[gathered, 0], places[gathered, 1] = s, t
                for j in range(len(db)):
                    db[j] += d_a[j]
            else:
                d_row = d_rows[index[s, t]]
                for j in range(GH):
                    d_row[j] += d_a[j]
                if len(d_added):
                    d_row = d_added[contexts[s, t]]
                    for j in range(GH):
                        d_row[j] += d_a[j]
            gathered += 1
            n += 1
        wait(barrier, members)
        if len(drop) == 0 and n:
            multiply(du_first, first, padded(n), U_t[0], up)
        for g in range(len(drop) if n else 0):
            part[:] = 0
            multiply(du_first, first, padded(n), U_t[g], part, g * H // factors.IN_WORD)
            r = 0
            for s in range(begin, end):
                if takes(live, s, t):
                    for j in range(m):
                        up[r, j] += part[r, j] * drop[g, s, left + j]
                    r += 1
        n = 0
        for s in range(begin, end):
            if takes(live, s, t):
                dh[s, left:right] = up[n, :m]
                n += 1
        if gathered and (gathered + (end - begin) > len(places) or t == 0):
            words = (gathered + factors.IN_WORD - 1) // factors.IN_WORD
            for g in range(groups):
                multiply_transposed(h_below[g], du_below, words, dU[g], g * (GH // groups))
            if vectors:
                multiply_transposed(x_below, dx_below, words, dW)
                x_up[:] = 0
                multiply(dx_first, 0, padded(gathered), W_t, x_up)
                for r in range(gathered):
                    d_x[places[r, 0], places[r, 1], begin_x:end_x] = x_up[r, : end_x - begin_x]
            gathered = 0
            wait(barrier, members)  # before the shared rows are written again
