"""`python -m charlm.experiments.core_shares`: computes how fast a layer may be on more cores.

Times the largest share of N cores by itself, forward and backward, on a machine that need not
have N cores. It waits for nobody and has memory and the shared cache to itself. Sums of gradients
over cores are left out. So the factors are what N cores reach at most. The last column is that of
cores which divide the sequences only. Run it on an idle machine; each number is the lower third of
10. `charlm bench --only step --cores 1 2 4 8 16` measures whole training steps where there are such
cores.
"""

import itertools
import time
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import tyro

from charlm.kernels import barrier, batch_loop, float32, jit, parallel, shares
from charlm.kernels.batch_loop import Batch

REPEATS = 10


@dataclass(frozen=True)
class CoreShares:
    """Sizes to time."""

    cores: tuple[int, ...] = (1, 2, 4, 8, 16)
    """N."""
    batch_sizes: tuple[int, ...] = (32, 64)
    """B."""
    units: tuple[int, ...] = (512,)
    """H."""
    window: int = 100
    """T."""


def milliseconds(batch: Batch, d_h: np.ndarray, cores: int, divide_units: bool = True) -> float:
    """Returns the time of the largest share, forward and backward.

    Args:
        batch: the arguments of the loops.
        d_h: dLoss/dh.
        cores: their number.
        divide_units: as in `shares.divided`.
    """
    cell = jit.cell("lstm")
    seconds: list[float] = []

    def largest_share(job, sequences, units, prepare, together=lambda n: None):
        began = time.perf_counter()
        (begin, end), (left, right) = _largest(sequences), _largest(units)
        arrays, shared = prepare(left, right), together(end - begin)
        passed = barrier.made()
        barrier.break_up(passed)  # so that it waits for nobody
        members = len(units) - 1
        job(shares.Share(begin, end, left, right, passed, members), arrays, shared)
        seconds[-1] += time.perf_counter() - began

    with (
        patch.object(parallel, "threads", lambda: cores),
        patch.object(batch_loop, "divided", _divided(divide_units)),
        patch.object(shares, "_rest", 0),
        patch.object(batch_loop, "run", largest_share),
        patch.object(batch_loop, "joined", lambda *_: [batch.rows] * 6),
    ):
        for _ in range(REPEATS + 2):
            seconds.append(0.0)
            states, last, kept = batch_loop.forward(cell, float32, batch)
            batch_loop.backward(cell, float32, batch, states, kept, d_h, last)
    return 1e3 * sorted(seconds[2:])[REPEATS // 3]


def _divided(divide_units):
    return lambda B, T, H, GH, divide, sums: shares.divided(B, T, H, GH, divide_units, sums)


def _largest(edges):
    return max(itertools.pairwise(edges), key=lambda pair: pair[1] - pair[0])


def main() -> None:
    """Prints a table."""
    args, rng = tyro.cli(CoreShares), np.random.default_rng(1)
    print("| B | H | cores | sequences, units of a core | ms | times as fast | sequences only |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for H in args.units:
        for B in args.batch_sizes:
            T, V = args.window, 87
            shapes = (H, 4 * H), (B, H), (B, H), (V, 4 * H), (B, T, H)
            U, h, c, rows, d_h = (0.05 * rng.normal(size=s).astype(np.float32) for s in shapes)
            batch = Batch(U, h, c, rows=rows, ids=rng.integers(V, size=(B, T)))
            for n in args.cores:
                with patch.object(parallel, "threads", lambda n=n: n):
                    sequences, units = shares.divided(B, T, H, 4 * H)
                size = ", ".join(str(y - x) for x, y in map(_largest, (sequences, units)))
                alone = milliseconds(batch, d_h, 1)  # again in each row: machines change their pace
                ms, other = (milliseconds(batch, d_h, n, divide) for divide in (True, False))
                factors = f"{alone / ms:.1f} | {alone / other:.1f}"
                print(f"| {B} | {H} | {n} | {size} | {ms:.1f} | {factors} |", flush=True)


if __name__ == "__main__":
    main()
