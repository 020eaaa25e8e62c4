"""Measures how well texts drawn between two others lead to what follows.

    python -m charlm.experiments.infilling [--run RUN]

Passages of the run's held-out text are cut into a left text, a middle and a right text. Printed are
the mean bits per character of the right text after the true middle, after one that was drawn
without regard to it, of the true length, and after one that `charlm sample --between` chooses.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from charlm import cli
from charlm.generation import generate, infill
from charlm.notes import progress
from charlm.runs import lookup


@dataclass(frozen=True)
class Infilling:
    """Measures how well texts drawn between two others lead to what follows."""

    run: str = "state-union"
    passages: int = 100
    left: int = 100
    middle: int = 20
    right: int = 40
    draws: int = 256
    temperature: float = 0.8
    seed: int = 1


def main() -> None:
    """Prints the means and the fall."""
    args = tyro.cli(Infilling)
    _, saved = lookup.read_best(Path("saved_models"), args.run)
    network, vocab = saved.to_network(), saved.vocab
    own = cli.own_text(cli.corpus(saved.config.data, saved, ""), saved)
    machine, rng = generate.stepper(network), np.random.default_rng(args.seed)
    text = vocab.decode(np.concatenate([np.asarray(d) for d in own.to_measure()]))
    bits = []
    with progress("filling", args.passages) as tell:
        for seed in range(args.passages):
            at = int(rng.integers(len(text) - args.left - args.middle - args.right))
            cuts = np.cumsum([at, args.left, args.middle, args.right])
            left, middle, right = (text[a:b] for a, b in itertools.pairwise(cuts))
            pieces = generate.texts(
                network, vocab, left, args.middle, [args.temperature], seed, machine=machine
            )
            single = "".join(piece for (piece,) in pieces)
            found = infill.fill(
                network, vocab, left, right, 2 * args.middle, 1, args.temperature, seed, args.draws,
                machine=machine,
            )  # fmt: skip
            read = [_bits(network, vocab, left + m, right) for m in (middle, single)]
            bits.append([*read, found.chosen[0].bits])
            tell(1)
    true, single, chosen = np.mean(bits, axis=0)
    print(
        f"{args.passages} passages, bits per character of what follows: true middle {true:.3f}, "
        f"single draw {single:.3f}, chosen of {args.draws} {chosen:.3f} "
        f"({1 - chosen / single:.0%} less than a single draw)"
    )


def _bits(network, vocab, before, right):
    from charlm.inside import recording

    (r,) = recording.record(network, [vocab.encode(before + right)], "", whole=True)
    return r.losses[-len(right) :].mean() / np.log(2)


if __name__ == "__main__":
    main()
