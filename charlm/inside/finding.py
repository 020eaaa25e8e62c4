"""Finds cells that follow a property of a text, and shows that they really do.

A cell is chosen on the first half of a text and scored on the second. Its report also has
the scores of simpler explanations: chance, the last characters alone, being close to a border.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from charlm.inside import clamping, properties, scoring
from charlm.inside.recording import Clamp
from charlm.inside.states import States
from charlm.reference.network import Network
from charlm.text.ids import Ids
from charlm.text.vocab import Vocab

CANDIDATES = 5  # cells of each property that are compared by AUC
SHIFTS = 20  # of the labels, for the null
MARGIN = 3.0  # standard deviations of the null, above its highest
LEAST = 0.6  # AUC of what is listed
ROOM = 1000  # characters, the least shift
RUNS = 10  # stretches with a property in each half, or it is too rare
FAR, FAR_ENOUGH = 10, 100  # characters from a border; so many with the property and without
ALIKE = 0.1  # correlation of shifted labels with those in place, at most
CLAMPED = 12_000  # characters on which clamping a cell is measured


@dataclass(frozen=True)
class Finding:
    """A cell that follows a property. All scores are of the second half of the text."""

    property: str
    layer: int
    """Layers and cells are counted from 0."""
    cell: int
    sign: int
    """1 if the state is higher with the property, -1 if lower."""
    share: float
    """Share of characters with the property."""
    auc: float
    """See `scoring.auc`."""
    f1: float
    """F1 score; the threshold is chosen in the first half. Always saying yes has 2 p / (1 + p) for
    a share p."""
    null: float
    """AUC that chance can reach: the highest of 20 of shifted labels, and 3 standard deviations."""
    characters: float
    """Highest AUC that the last 1, 2, 4 or 6 characters alone reach."""
    context: int
    """The length that reaches it."""
    away: float | None
    """AUC of the cell 10 or more characters from a border; None where these are too few."""
    mean: float
    """Mean of the cell's state in the whole text, at which it is clamped."""
    cost: float
    """Bits per character more with the cell clamped; negative if the model gets better."""
    costs: dict[str, float]
    """The same for the characters on which the losses differ most, by more or less."""


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
    untested: list[str]
    """Properties that are too rare, nearly always there, or too regular for a comparison with
    chance."""
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
    """See `Finding.null`."""


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
    states, rng = States(network, documents), np.random.default_rng(seed)
    choices = [
        choice
        for name, labels in by_name.items()
        if (choice := _choice(name, labels, states.levels, half, rng)) is not None
    ]
    chosen = [c for c in choices if _score(c, states.levels, half) > max(c.null, LEAST)]
    clamps = [_clamp(c.cell, states) for c in chosen]
    costs = clamping.costs(network, vocab, _from(documents, half, CLAMPED), clamps)
    contexts = scoring.CharacterContexts(ids, len(vocab), half)
    findings = [
        _finding(c, states.levels, half, contexts, clamp, costs[clamp])
        for c, clamp in zip(chosen, clamps, strict=True)
    ]
    listed, looked_at = {f.property for f in findings}, {c.property for c in choices}
    return Report(
        states.letter,
        len(ids),
        sorted(findings, key=lambda f: f.characters - f.auc),
        [name for name in by_name if name in looked_at - listed],
        [name for name in by_name if name not in looked_at],
        states.half_lives(),
        states.saturation(),
    )


def _from(documents, first, count):
    """Returns `count` characters of texts laid end to end, from a position on."""
    found = []
    for d in map(np.asarray, documents):
        found.append(d[max(0, first) : max(0, first + count)])
        first -= len(d)
    return [d for d in found if len(d)]


def _is_common(labels, half):
    """Returns whether a property and its absence occur often enough in both halves."""
    for part in (labels[:half], labels[half:]):
        runs = np.count_nonzero(part[1:] & ~part[:-1])
        if runs < RUNS or part.mean() > 0.99:
            return False
    return True


def _choice(name, labels, levels, half, rng):
    """Chooses a cell for a property; None if the property is too rare or too regular.

    The null comes from the cells that best fit the labels shifted along the text: these have the
    same shape, but at the wrong places. In a regular text a shift may put them in place again.
    """
    shifted = list(_shifted(labels, rng)) if _is_common(labels, half) else []
    if len(shifted) < SHIFTS:
        return None
    rows = [labels, *shifted]
    differences = scoring.differences(levels[:half], [row[:half] for row in rows])
    best = []
    for row, d in zip(rows, differences, strict=True):
        cell, sign = _best_cell(levels[:half], row[:half], d)
        best.append(_Choice(name, row, cell, sign, 0.5))
    scores = [0.5, *(_score(c, levels, half) for c in best[1:])]
    null = float(np.nanmax(scores) + MARGIN * np.nanstd(scores))
    return replace(best[0], null=min(null, 1.0))


def _shifted(labels, rng):
    """Yields the labels shifted by random distances, without those that agree with the labels."""
    n = len(labels)
    room = min(ROOM, n // 4)
    count, share = 0, labels.mean()
    for by in rng.integers(room, n - room, 3 * SHIFTS):
        moved = np.roll(labels, by)
        agreement = (np.mean(moved & labels) - share**2) / (share - share**2)
        if count < SHIFTS and abs(agreement) < ALIKE:
            count += 1
            yield moved


def _best_cell(levels, labels, differences):
    """Returns the cell with the best AUC, and 1 if it is higher with the property, else -1."""
    candidates = np.argsort(-np.abs(differences))[:CANDIDATES]
    aucs = [scoring.rough_auc(levels[:, c], labels) - 0.5 for c in candidates]
    k = int(np.abs(aucs).argmax())
    return int(candidates[k]), 1 if aucs[k] >= 0 else -1


def _score(choice, levels, half, among=slice(None)):
    """Returns a cell's AUC in the second half, or `among` some characters of it."""
    x, labels = levels[half:, choice.cell][among], choice.labels[half:][among]
    found = scoring.auc(scoring.counts(x, labels))
    return found if choice.sign > 0 else 1 - found


def _clamp(cell, states):
    layer, k = divmod(cell, states.shape[1])
    return Clamp(layer, k, states.mean(cell))


def _finding(choice, levels, half, contexts, clamp, costs):
    x, labels = levels[:, choice.cell], choice.labels
    x = x if choice.sign > 0 else scoring.LEVELS - 1 - x
    first, second = (scoring.counts(x[k], labels[k]) for k in (slice(half), slice(half, None)))
    far = properties.distance_to_border(labels)[half:] >= FAR
    enough = min(np.bincount(labels[half:][far], minlength=2)) >= FAR_ENOUGH
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
        _score(choice, levels, half, far) if enough else None,
        clamp.value,
        *costs,
    )
