"""Networks whose gradients over time are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.reference import gradient_flow
from charlm.reference.gradient_flow import Flow
from charlm.reference.network import Network, initial_weights
from charlm.text.encoded_text import Text
from charlm.text.vocab import Vocab


@dataclass(frozen=True)
class Series:
    """One network to measure."""

    label: str
    group: str
    """Networks of a group have one colour."""
    dashed: bool
    """Whether it is the baseline of its group."""
    network: Network
    """In float64."""
    vocab: Vocab
    """The network's vocabulary."""
    text: Text
    """The text to measure on; its vocabulary may be another."""


def of_cells(
    text: Text, cells: Sequence[str], units: int, layers: int, remedies: Mapping, seed: int
) -> list[Series]:
    """Returns untrained networks of cells, each with the remedies that suit it and without.

    Args:
        text: whose vocabulary they have.
        cells: names of cells.
        units: H of every layer.
        layers: number of recurrent layers.
        remedies: {setting of `ModelConfig`: value}, and "gain", a factor on recurrent weights.
        seed: for the initial weights.

    Raises:
        InputError: a remedy suits none of the cells.
    """
    series, unused = [], set(remedies)
    for cell in cells:
        plain = ModelConfig(cell=cell, units=units, layers=layers, dropout=0.0)
        suited = {k: v for k, v in remedies.items() if _suits(plain, k, v)}
        unused -= set(suited)
        variants = [*_remedied(cell, plain, suited), (cell, plain, 1.0)]
        for label, config, gain in variants:
            network = _initial(config, text.vocab, seed, gain)
            dashed = label == cell and len(variants) > 1
            series.append(Series(label, cell, dashed, network, text.vocab, text))
    if unused:
        raise InputError(
            f"expected remedies that suit a cell of --cells {' '.join(cells)} with --layers "
            f"{layers}, found {', '.join(sorted(unused))}, which suits none of them"
        )
    return series


def _suits(config, name, value):
    """Whether a cell can have a setting."""
    if name == "gain":
        return True
    try:
        replace(config, **{name: value})
    except InputError:
        return False
    return True


def _remedied(cell, plain, suited):
    """(label, config, gain) of a cell with all remedies that suit it, if they change anything."""
    settings = {k: v for k, v in suited.items() if k != "gain"}
    remedied, gain = replace(plain, **settings), suited.get("gain", 1.0)
    if gain == 1 and remedied == plain:
        return []
    what = [f"{k} {v}" for k, v in settings.items()] + [f"gain {gain:g}"] * (gain != 1)
    return [(f"{cell}, {', '.join(what)}", remedied, gain)]


def of_run(
    label: str,
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    vocab: Vocab,
    text: Text,
    seed: int,
) -> list[Series]:
    """Returns a trained network and an untrained one with the same settings.

    Args:
        label: the run's name.
        config: the model's settings.
        weights: the trained ones.
        vocab: the run's vocabulary.
        text: the text to measure on.
        seed: for the initial weights of the untrained one.
    """
    trained = Network(weights, len(vocab), config, np.float64)
    untrained = _initial(config, vocab, seed, log_shares=text.log_shares(vocab))
    return [
        Series(f"{label}, trained", label, False, trained, vocab, text),
        Series(f"{label}, untrained", label, True, untrained, vocab, text),
    ]


def _initial(config, vocab, seed, gain=1.0, log_shares=None):
    rng = np.random.default_rng(seed)
    weights = initial_weights(config, len(vocab), rng, np.float64, log_shares)
    for path, value in weights.items():
        if path.endswith("cell/vars/1"):
            value *= gain
    return Network(weights, len(vocab), config, np.float64)


def check_length(series: Series, steps: int) -> int:
    """Returns how many characters `measure` reads at a place.

    Raises:
        InputError: the held-out text is shorter.
    """
    needed, found = 2 * steps + 1, len(series.text.held_out)
    if found < needed:
        raise InputError(
            f"expected at least {needed:,} held-out characters for --steps {steps}, found "
            f"{found:,}; give a smaller --steps or more text"
        )
    return needed


def measure(series: Series, steps: int, streams: int, seed: int) -> Flow:
    """Measures a network's gradients at random places of its held-out (validation) text.

    Args:
        series: the network.
        steps: T, how far back to look.
        streams: B, number of places.
        seed: for the places.

    Raises:
        InputError: the held-out text is shorter than 2T + 1.
    """
    ids, needed = series.text.held_out, check_length(series, steps)
    starts = np.random.default_rng(seed).integers(len(ids) - needed + 1, size=streams)
    places = ids[starts[:, None] + np.arange(needed)]
    text = series.text.vocab.decode(places)
    places = series.vocab.encode(text).reshape(places.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # the command reports what is not finite
        return gradient_flow.measure(series.network, places)
