"""`python -m charlm.experiments.output_layer`: what the output layer and the loss cost by V.

Times the compiled kernels of one training step next to the same products in NumPy's BLAS, and the
recurrent layer's products in BLAS; and how many ids of one text an LSTM with random weights draws
in a second. Run it on an idle machine; each number is the lower third of 20.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import tyro

from charlm.config import ModelConfig
from charlm.generation import generate, sampler
from charlm.generation.constraints import SamplingConstraints
from charlm.kernels import dense, loss
from charlm.reference.network import Network, initial_weights

REPEATS, DRAWN = 20, 500


@dataclass(frozen=True)
class OutputLayer:
    """Sizes to time."""

    vocab: tuple[int, ...] = (87, 500, 1000, 2000, 4000, 8000)
    """V, sizes of the vocabulary."""
    units: tuple[int, ...] = (96, 192, 512)
    """H."""
    positions: int = 768
    """B * T."""


def milliseconds(call: Callable[[], object]) -> float:
    """Returns the time of a call; the first two calls are not timed."""
    found = []
    for k in range(REPEATS + 2):
        began = time.perf_counter()
        call()
        if k >= 2:
            found.append(time.perf_counter() - began)
    return 1e3 * sorted(found)[REPEATS // 3]


def main() -> None:
    """Prints a table."""
    args, rng = tyro.cli(OutputLayer), np.random.default_rng(1)
    N = args.positions
    print(
        "| H | V | forward, ms | backward | loss | same products in BLAS | recurrent products "
        "| ids drawn a second |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for H in args.units:
        x, U = (rng.normal(size=s).astype(np.float32) for s in ((N, H), (H, 4 * H)))
        d = rng.normal(size=(N, 4 * H)).astype(np.float32)
        recurrent = milliseconds(partial(_products, x, U, d))
        for V in args.vocab:
            K = 0.1 * rng.normal(size=(H, V)).astype(np.float32)
            bias, targets = np.zeros(V, np.float32), rng.integers(V, size=N)
            logits = dense.forward(x, K, bias)
            _, slopes = loss.forward(targets, logits)
            ones = np.ones(N, np.float32)
            times = [
                milliseconds(partial(dense.forward, x, K, bias)),
                milliseconds(partial(dense.backward, x, K, slopes)),
                milliseconds(partial(loss.forward, targets, logits))
                + milliseconds(partial(loss.backward, slopes, ones)),
                milliseconds(partial(_products, x, K, slopes)),
                recurrent,
            ]
            drawn = DRAWN / milliseconds(_drawing(H, V, rng)) * 1000
            cells = " | ".join(f"{t:.1f}" for t in times)
            print(f"| {H} | {V:,} | {cells} | {drawn:,.0f} |", flush=True)


def _drawing(H, V, rng):
    """Returns a function that draws `DRAWN` ids."""
    config = ModelConfig(units=H)
    network = Network(initial_weights(config, V, rng), V, config)
    step, block = generate.stepper(network)
    rest = np.zeros(1, np.int64), DRAWN, [1.0], 1, SamplingConstraints(), block
    return lambda: sum(map(len, sampler.generate(step, network.initial_states(1), *rest)))


def _products(x, K, d):
    """A product and its gradients."""
    return x @ K, d @ K.T, x.T @ d


if __name__ == "__main__":
    main()
