"""Finds cells that follow a property of a text, and shows that they really do.

A cell is chosen on the first half of a text and scored on the second. Its report also has
the scores of simpler explanations: chance, the last characters alone, being close to a border.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from charlm.inside import properties, recording, scoring
from charlm.inside.recording import Clamp
from charlm.inside.states import States
from charlm.reference.network import Network
from charlm.text.mapped_ids import Ids
from charlm.text.vocab import Vocab

CANDIDATES = 5  # cells of each property that are compared by AUC
SHIFTS = 20  # of the labels, for the null
MARGIN = 3.0  # standard deviations of the null, above its highest
LEAST = 0.6  # AUC of what is listed
ROOM = 1000  # characters, the least shift
RUNS = 10  # stretches with a property in each half, or it is too rare
FAR = 10  # characters from a border
CLAMPED = 12_000  # characters on which clamping a cell is measured
OFTEN = 8  # times that a character occurs there, so that its cost is given
COSTS = 5  # characters whose costs are given


@dataclass(frozen=True)
class Finding:
    """A cell that follows a property. All scores are of the second half of the text."""

    property: str
    layer: int
    cell: int
    sign: int
    """1 if the state is higher with the property, -1 if lower."""
    share: float
    """Share of characters with the property."""
    auc: float
    """See `scoring.auc`."""
    f1: float
    """F1 score; the threshold is chosen in the first half."""
    null: float
    """AUC that chance can reach, from shifted labels."""
    characters: float
    """Highest AUC that the last 1, 2, 4 or 6 characters alone reach."""
    context: int
    """The length that reaches it."""
    away: float | None
    """AUC of the cell 10 or more characters from a border; None where these are too few."""
    mean: float
    """Mean of the cell's state, at which it is clamped."""
    cost: float
    """Bits per character more with the cell clamped; negative if the model gets better."""
    costs: dict[str, float]
    """The same for the characters on which it is largest."""


@dataclass(frozen=True)
class Report:
    """Results of a search in a network."""

    letter: str
    """The state that was looked at, c or h."""
    characters: int
    """Length of the text."""
    findings: list[Finding]
    """Sorted by how much they surpass the last characters."""
    none: list[str]
    """Properties that no cell follows."""
    rare: list[str]
    """Properties that are too rare, or nearly always there."""
    half_lives: np.ndarray
    """See `States.half_lives`."""
    saturation: dict[str, tuple[float, float]]
    """See `States.saturation`."""

    def to_dict(self) -> dict:
        """Returns the report for JSON."""
        return asdict(self) | {"half_lives": np.round(self.half_lives, 3).tolist()}


@dataclass(frozen=True)
class _Choice:
    """The cell that fits a property best in the first half."""

    property: str
    labels: np.ndarray
    cell: int
    sign: int
    null: float


def find(
    network: Network,
    vocab: Vocab,
    documents: Sequence[Ids],
    patterns: Sequence[str] = (),
    seed: int = 1,
) -> Report:
    """Looks for cells that follow properties of texts.

    Args:
        network: the model.
        vocab: its vocabulary.
        documents: the texts as ids, n characters in all that the model was not trained on.
        patterns: regular expressions of further properties.
        seed: of the shifts.

    Raises:
        InputError: an expression is invalid or takes too long.
    """
    ids = np.concatenate([np.asarray(d) for d in documents])
    by_name = properties.of_texts([vocab.decode(np.asarray(d)) for d in documents], patterns)
    half = len(ids) // 2
    kept = {name: x for name, x in by_name.items() if _is_common(x, half)}
    states = States(network, documents)
    choices = _choices(states.levels, kept, half, np.random.default_rng(seed))
    scores = [_score(states.levels, c.labels, half, c) for c in choices]
    chosen = [c for c, x in zip(choices, scores, strict=True) if x > max(c.null, LEAST)]
    clamps = [_clamp(c.cell, states) for c in chosen]
    costs = clamping_costs(network, vocab, ids[half : half + CLAMPED], clamps)
    contexts = scoring.CharacterContexts(ids, len(vocab), half)
    findings = [
        _finding(c, states.levels, half, contexts, clamp, costs[clamp])
        for c, clamp in zip(chosen, clamps, strict=True)
    ]
    listed = {f.property for f in findings}
    return Report(
        states.letter,
        len(ids),
        sorted(findings, key=lambda f: f.characters - f.auc),
        [name for name in kept if name not in listed],
        [name for name in by_name if name not in kept],
        states.half_lives(),
        states.saturation(),
    )


def _is_common(labels, half):
    """Returns whether a property and its absence occur often enough in both halves."""
    for part in (labels[:half], labels[half:]):
        runs = np.count_nonzero(part[1:] & ~part[:-1])
        if runs < RUNS or part.mean() > 0.99:
            return False
    return True


def _choices(levels, kept, half, rng):
    """Chooses a cell for each property.

    The null comes from the cells that best fit the property's labels shifted along the text: these
    have the same runs, but at the wrong places.
    """
    n = len(levels)
    room = min(ROOM, n // 4)
    rows = []
    for labels in kept.values():
        rows += [labels, *(np.roll(labels, s) for s in rng.integers(room, n - room, SHIFTS))]
    differences = scoring.differences(levels[:half], [row[:half] for row in rows])
    found, size = [], SHIFTS + 1
    for k, (name, labels) in enumerate(kept.items()):
        d, *shifted = differences[k * size : (k + 1) * size]
        scores = [0.5]
        for y, x in zip(rows[k * size + 1 : (k + 1) * size], shifted, strict=True):
            cell = int(np.abs(x).argmax())
            scores.append(_score(levels, y, half, _Choice(name, y, cell, _sign(x[cell]), 0.5)))
        null = float(np.nanmax(scores) + MARGIN * np.nanstd(scores))
        best = np.argsort(-np.abs(d))[:CANDIDATES]
        aucs = [scoring.auc(scoring.counts(levels[:half, c], labels[:half])) for c in best]
        at = int(np.abs(np.array(aucs) - 0.5).argmax())
        found.append(_Choice(name, labels, int(best[at]), _sign(aucs[at] - 0.5), null))
    return found


def _sign(x):
    return 1 if x >= 0 else -1


def _score(levels, labels, half, choice, among=None):
    """Returns a cell's AUC in the second half, or `among` some characters of it."""
    x, y = levels[half:, choice.cell], labels[half:]
    if among is not None:
        x, y = x[among], y[among]
    found = scoring.auc(scoring.counts(x, y))
    return found if choice.sign > 0 else 1 - found


def _clamp(cell, states):
    layer, k = divmod(cell, states.shape[1])
    return Clamp(layer, k, states.mean(cell))


def _finding(choice, levels, half, contexts, clamp, costs):
    x, labels = levels[:, choice.cell], choice.labels
    x = x if choice.sign > 0 else scoring.LEVELS - 1 - x
    first, second = (scoring.counts(x[k], labels[k]) for k in (slice(half), slice(half, None)))
    far = properties.distance_to_border(labels)[half:] >= FAR
    enough = min(np.bincount(labels[half:][far], minlength=2)) >= RUNS
    by_context = contexts.scores(labels)
    context = max(by_context, key=lambda k: by_context[k])
    return Finding(
        choice.property,
        clamp.layer,
        clamp.cell,
        choice.sign,
        float(labels[half:].mean()),
        scoring.auc(second),
        scoring.f1(second, scoring.best_threshold(first)),
        choice.null,
        by_context[context],
        context,
        _score(levels, labels, half, choice, far) if enough else None,
        clamp.value,
        *costs,
    )


def clamping_costs(
    network: Network, vocab: Vocab, ids: np.ndarray, clamps: Sequence[Clamp]
) -> dict[Clamp, tuple[float, dict[str, float]]]:
    """Measures what each clamp costs on a text.

    Args:
        network: the model.
        vocab: its vocabulary.
        ids: (n,), the text.
        clamps: cells and values.

    Returns:
        For each clamp, bits per character more, and those of the characters on which it is largest.
    """
    unique = list(dict.fromkeys(clamps))
    readings = [None, *unique]
    losses = np.empty(len(readings) * len(ids), np.float32)
    for r in recording.record(network, [ids] * len(readings), "", clamps=readings):
        losses[r.positions] = r.losses
    plain, *clamped = losses.reshape(len(readings), -1)[:, 1:] / np.log(2)
    found: dict[Clamp, tuple[float, dict[str, float]]] = {}
    V = len(vocab)
    count = np.bincount(ids[1:], minlength=V)
    for clamp, read in zip(unique, clamped, strict=True):
        mean = np.bincount(ids[1:], read - plain, minlength=V) / np.maximum(count, 1)
        often = [k for k in np.argsort(-np.abs(mean)) if count[k] >= OFTEN][:COSTS]
        costs = {vocab.characters[k]: float(mean[k]) for k in often}
        found[clamp] = float((read - plain).mean()), costs
    return found
