"""Measures what clamping a cell costs: what the network loses without it."""

from collections.abc import Sequence

import numpy as np

from charlm.inside import recording
from charlm.inside.recording import Clamp
from charlm.reference.network import Network
from charlm.text.vocab import Vocab

OFTEN = 8  # times that a character occurs, so that its cost is given
COSTS = 5  # characters whose costs are given


def costs(
    network: Network, vocab: Vocab, documents: Sequence[np.ndarray], clamps: Sequence[Clamp]
) -> dict[Clamp, tuple[float, dict[str, float]]]:
    """Measures what each clamp costs on texts.

    Args:
        network: the model.
        vocab: its vocabulary.
        documents: the texts as ids; the first character of each is not measured.
        clamps: cells and values.

    Returns:
        For each clamp, bits per character more, and those of the characters on which they differ
        most.
    """
    unique: list[Clamp] = list(dict.fromkeys(clamps))
    if not unique:
        return {}
    readings = [None, *unique]
    ids = np.concatenate(documents)
    losses = np.empty(len(readings) * len(ids), np.float32)
    several = [clamp for clamp in readings for _ in documents]
    for r in recording.record(network, [*documents] * len(readings), "", clamps=several):
        losses[r.positions] = r.losses
    plain, *clamped = losses.reshape(len(readings), -1) / np.log(2)
    measured = ~np.isnan(plain)
    found: dict[Clamp, tuple[float, dict[str, float]]] = {}
    V = len(vocab)
    count = np.bincount(ids[measured], minlength=V)
    for clamp, read in zip(unique, clamped, strict=True):
        more = (read - plain)[measured]
        mean = np.bincount(ids[measured], more, minlength=V) / np.maximum(count, 1)
        often = [k for k in np.argsort(-np.abs(mean)) if count[k] >= OFTEN][:COSTS]
        costs = {vocab.characters[k]: float(mean[k]) for k in often}
        found[clamp] = float(more.mean()), costs
    return found
