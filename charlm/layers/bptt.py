"""Back-propagation through time by hand: a cell's own backward step in the place of autodiff."""

import keras
from keras import ops

from charlm.layers import host
from charlm.layers.loops import scan


def run(cell, a_x, states, weights):
    """`scan` of `cell.step` whose gradient is a reversed `scan` of `cell.step_backward`.

    The forward loop keeps what the backward loop needs (gates and states), so nothing is computed
    twice. The backward loop computes only what the recurrence itself needs; the recurrent weights'
    gradients, sums over time of h_{t-1}^T da_t, are one product over all steps after it. Source:
    Graves 2012, "Supervised Sequence Labelling with Recurrent Neural Networks", chapter 4, network
    equations.

    Args:
        cell: a `RecurrentCell` with `step_backward`.
        a_x: (T, B, G*H), the inputs' share of the pre-activations.
        states: tuple of S states (B, H) before the first step, h first.
        weights: `cell.recurrent_weights()`.

    Returns:
        h at every step (T, B, H), and the tuple of states after the last.
    """
    T, S, W = ops.shape(a_x)[0], len(states), len(weights)

    # Keras's custom_gradient carries one output on every backend, so one tensor holds all:
    # h of every step, and under it the last step's other states, a row each.
    @ops.custom_gradient
    def loop(a_x, *weights_and_states):
        weights, states = cell.operands(weights_and_states[:W]), weights_and_states[W:]

        def forward(states, x):
            states, cache = cell.step(x[0], states, weights)
            return states, (*states, *cache)

        _, kept = scan(forward, states, (a_x,))
        after, cache = kept[:S], kept[S:]
        before = [ops.concatenate([s[None], a[:-1]]) for s, a in zip(states, after, strict=True)]

        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            d_above, d_rest = upstream[:T], [upstream[T + k] for k in range(S - 1)]
            # once: a transposing product in every step is slow
            transposed = [ops.transpose(w) if len(w.shape) == 2 else w for w in weights]

            def backward(d_states, x):
                d_h, *kept = x
                d_states = (d_states[0] + d_h, *d_states[1:])
                d_states, da = cell.step_backward(
                    d_states, kept[2 * S :], kept[:S], kept[S : 2 * S], transposed
                )
                return d_states, (da,)

            last = (ops.zeros_like(states[0]), *d_rest)
            d_states, (da,) = scan(backward, last, (d_above, *before, *after, *cache), reverse=True)
            rows = [[_rows(x) for x in xs] for xs in ([da], cache, before)]
            return da, *cell.recurrent_gradients(rows[0][0], *rows[1:]), *d_states

        return ops.concatenate([after[0], *(a[-1:] for a in after[1:])]), gradient

    packed = loop(a_x, *weights, *states)
    h = packed[:T]
    return h, (h[-1], *(packed[T + k] for k in range(S - 1)))


def run_compiled(cell, rows, ids, states, weights, keep=True):
    """`run` in machine code: both loops, and all sums over time, as one operation each.

    Second derivatives there are none.

    Args:
        cell: a `RecurrentCell` with `compiled()`.
        rows: (N, G*H). ids: (B, T), which of the rows is that step's share of the inputs in the
            pre-activations; None where N = B * T and they lie in order.
        states, weights: as of `run`.
        keep: what the way back needs, or it computes that again.

    Returns:
        h at every step (B, T, H), and the tuple of states after the last.
    """
    from charlm.compiled import threads

    module, factors = cell.compiled()
    given = [] if ids is None else [ids]
    S, W, ids_given = len(states), len(weights), len(given)
    B, H = states[0].shape
    T = None if ids is None else ids.shape[1]
    if ids is None and None not in (rows.shape[0], B):
        T = rows.shape[0] // B

    def arguments(arrays):
        """rows, ids, weights, states."""
        given, (rows, *rest) = arrays[:ids_given], arrays[ids_given:]
        return rows, *(given or [None]), rest[:W], rest[W:]

    def forward(*arrays):
        h, *rest = threads.forward(module, factors, *arguments(arrays), keep)
        return h, *(x[:, -1] for x in (h, *rest[:-1])), *rest

    def backward(*arrays):
        n = ids_given + 1 + W + S
        h, *rest = arrays[n:]
        *states, kept = h, *rest[S : 2 * S]
        d_h, *d_last = rest[2 * S :]
        if not keep:
            *states, kept = threads.forward(module, factors, *arguments(arrays[:n]))
        return threads.backward(module, factors, *arguments(arrays[:n]), states, kept, d_h, d_last)

    results = [(B, T, H), *[(B, H)] * S]
    rest = [*[(B, T, H)] * (S - 1), (B, T if keep else 1, module.CACHE * H)]
    h, *last = host.operation(forward, backward, (results, rest), given, [rows, *weights, *states])
    return h, tuple(last)


def _rows(x):
    """(T, B, N) -> (T * B, N)."""
    return ops.reshape(x, (-1, x.shape[-1]))


def gather_rows(kernel, ids):
    """Rows of `kernel` (D, N) by integer `ids` (...) -> (..., N): one_hot(ids) @ kernel.

    Its gradient is dense, a sum by id. Autodiff's is a list of rows, whose norm (for clipping)
    and whose Adam moments would be those of the list, not of the kernel.
    """
    D, N = kernel.shape

    @ops.custom_gradient
    def gather(kernel):
        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            # in float32 at least: a frequent id has thousands of rows, and half precision cannot
            # add a small number to a large one
            wide = keras.backend.result_type(upstream.dtype, "float32")
            rows = ops.cast(ops.reshape(upstream, (-1, N)), wide)
            total = ops.segment_sum(rows, ops.reshape(ids, (-1,)), num_segments=D)
            return ops.cast(total, upstream.dtype)

        return ops.take(kernel, ids, axis=0), gradient

    return gather(kernel)
