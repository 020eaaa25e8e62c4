"""The table of `charlm score`: bits per character and perplexities of each document."""

from collections.abc import Sequence

import numpy as np

from charlm.cli.terminal import visible
from charlm.evaluation.losses import perplexity
from charlm.text.ids import Ids
from charlm.text.vocab import Vocab


def figures(losses: np.ndarray, ids: Ids, vocab: Vocab) -> np.ndarray:
    """Returns a document's loss in bits, and its characters, words and tokens that are measured."""
    bits = losses.sum(dtype=np.float64) / np.log(2)
    words = len(vocab.decode(ids).split())
    return np.array([bits, vocab.lengths[ids[1:]].sum(), words, len(losses)])


def table(rows: Sequence[tuple[str, np.ndarray]], units: Sequence[str]) -> None:
    """Prints a row for each document, and one for all.

    Args:
        rows: names, and the figures of `figures`.
        units: "word" and, of a run of tokens, "token".
    """
    rows = list(rows)
    if len(rows) > 1:
        rows.append(("all", np.sum([x for _, x in rows], axis=0)))
    titles = "".join(f"  {f'per {unit}':>10}" for unit in units)
    print(f"{'characters':>11}  bits/char  perplexity{titles}")
    for name, x in rows:
        _print(name, x, len(units))


def _print(name, found, units):
    total, characters, *counts = found.tolist()
    bits = total / characters
    more = "".join(f"  {perplexity(bits, characters, n):>10}" for n in counts[:units])
    first = perplexity(bits, 1, 1)
    print(f"{int(characters):11,}  {bits:9.4f}  {first:>10}{more}  {visible(name)}")
