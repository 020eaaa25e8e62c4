"""Trains small networks to remember over a gap, and measures how far they and gradients reach.

All networks are those of `charlm.reference`, with one layer, trained alike. A network is trained on
texts of one gap. Only the loss of the answers counts.
"""

import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.cells import CELLS
from charlm.evaluation.memory_texts import VOCABULARY, Texts, made
from charlm.notes import note
from charlm.reference import leaky, rnn, through_time, time_skips
from charlm.reference.activations import RELU
from charlm.reference.gradient_flow import clip_by_norm
from charlm.reference.loss import log_softmax, softmax_cross_entropy
from charlm.reference.trainer import RMSprop

BATCH, TESTED = 32, 256  # texts
CLIP = 1.0  # of the norm of the gradients


@dataclass(frozen=True)
class Remedies:
    """Sizes of the remedies for vanishing gradients."""

    forget_bias: float = 3.0
    """Initial bias of the forget gate in lstm-open; that of lstm is 1."""
    slowest: float = 64.0
    """Steps over which the slowest unit of leaky forgets."""
    skip: int = 8
    """Steps that skips goes back."""
    window: int = 8
    """Characters in the windows of lstm-windows; the state is carried from one to the next."""


@dataclass
class Learner:
    """A network that is trained on texts."""

    cell: ModuleType
    weights: dict[str, np.ndarray]
    """W (V, G*H), U, b (G*H,), W_y (H, V), b_y (V,), float32."""
    states: int
    """S, the number of states of (B, H)."""
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = None
    """Length of the windows at whose beginning gradients stop; None for none."""

    def forward(self, ids: np.ndarray, answers: int) -> tuple[np.ndarray, list]:
        """Reads texts.

        Args:
            ids: (B, n).
            answers: number of characters at the end to predict.

        Returns:
            The logits of the answers, (B, answers, V), and the windows for `backward`.
        """
        w, x = self.weights, ids[:, :-1]
        states = (np.zeros((len(x), len(w["W_y"])), np.float32),) * self.states
        hs, windows, size = [], [], self.window or x.shape[1]
        first = x.shape[1] % size  # so that the last window is whole
        for begin in range(first - size if first else 0, x.shape[1], size):
            part = x[:, max(0, begin) : begin + size]
            h, states, cache = through_time.forward(
                self.cell, part, states, (w["W"], w["U"], w["b"]), **self.options
            )
            hs.append(h)
            windows.append(cache)
        h = np.concatenate(hs, axis=1)
        return h[:, -answers:] @ w["W_y"] + w["b_y"], [h, windows]

    def backward(
        self, d_logits: np.ndarray, cache: list
    ) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Computes the gradients.

        Args:
            d_logits: dLoss/d(logits), (B, answers, V).
            cache: from `forward`.

        Returns:
            The gradients by the weights; and for each step that a gradient reaches, the last one
            first, the norm of dLoss/d(states), a mean over the texts.
        """
        w, (h, windows), answers = self.weights, cache, d_logits.shape[1]
        dh = np.zeros_like(h)
        dh[:, -answers:] = d_logits @ w["W_y"].T
        found = {"W": 0, "U": 0, "b": 0, "b_y": d_logits.sum(axis=(0, 1))}
        found["W_y"] = np.einsum("bth,btv->hv", h[:, -answers:], d_logits)
        norms, end = [], h.shape[1]
        for part in reversed(windows):
            begin = end - len(part[1])
            if end > h.shape[1] - answers:  # or no gradient comes into the window
                none = tuple(np.zeros_like(h[:, 0]) for _ in range(self.states))
                _, _, gradients, flow = through_time.backward(
                    self.cell, dh[:, begin:end], none, part, (w["W"], w["U"], w["b"]),
                    **self.options,
                )  # fmt: skip
                for name, gradient in zip("WUb", gradients, strict=True):
                    found[name] = found[name] + gradient
                sizes = [
                    np.sqrt(sum((d.astype(float) ** 2).sum(axis=-1) for d in ds)) for ds in flow
                ]
                norms += [size.mean() for size in reversed(sizes)]
            end = begin
        return found, norms


def made_learner(name: str, units: int, rng: np.random.Generator, remedies: Remedies) -> Learner:
    """Returns an untrained network.

    Args:
        name: a name in `LADDER`.
        units: H.
        rng: source of the initial weights.
        remedies: sizes.
    """
    saved = {"gru": "gru", "lstm": "lstm", "lstm-open": "lstm", "lstm-windows": "lstm"}.get(name)
    V, H, G = len(VOCABULARY), units, len(CELLS[saved].gates) if saved else 1
    orthogonal, _ = np.linalg.qr(rng.normal(size=(H, H)))
    w = {
        "W": rng.normal(size=(V, G * H)) * (2 / (V + H)) ** 0.5,
        "U": np.hstack([np.linalg.qr(rng.normal(size=(H, H)))[0] for _ in range(G)]),
        "b": np.zeros(G * H),
        "W_y": rng.normal(size=(H, V)) * (2 / (V + H)) ** 0.5,
        "b_y": np.zeros(V),
    }
    cell: ModuleType = rnn
    states = 1
    options: dict[str, Any] = {}
    if saved:
        cell, states = CELLS[saved].reference, len(CELLS[saved].states)
    if name == "gru":
        options = {"reset_after": False}
    if saved == "lstm":
        w["b"][H : 2 * H] = remedies.forget_bias if name == "lstm-open" else 1
    if name == "identity":
        w["U"], options = np.eye(H), {"activation": RELU}
    if name == "leaky":
        cell, options = leaky, {"rates": leaky.rates(H, remedies.slowest)}
    if name == "skips":
        cell, states = time_skips, remedies.skip
        w["U"] = np.vstack([w["U"], orthogonal]) / 2**0.5
    w = {key: value.astype(np.float32) for key, value in w.items()}
    return Learner(cell, w, states, options, remedies.window if name == "lstm-windows" else None)


LADDER = {
    "rnn": "plain RNN",
    "identity": "RNN, ReLU, identity matrix (IRNN)",
    "leaky": "RNN, leaky units",
    "skips": "RNN, skips through time",
    "gru": "GRU",
    "lstm": "LSTM, forget bias 1",
    "lstm-open": "LSTM, larger forget bias",
    "lstm-windows": "LSTM, forget bias 1, short windows",
}
"""Cells and remedies by name, from the plain network to gates."""


def train(
    learner: Learner,
    task: str,
    gap: int,
    rng: np.random.Generator,
    rate: float,
    seconds: float,
    updates: int | None = None,
) -> int:
    """Trains a network for a time; returns the number of its updates.

    Args:
        learner: changed in place.
        task: see `memory_texts`.
        gap: of all texts.
        rng: source of the texts.
        rate: learning rate of RMSprop; falls to zero.
        seconds: time of training, if `updates` is None.
        updates: number of updates.
    """
    optimizer, begin, done, share = RMSprop(rate, 0.95, 1e-6), time.perf_counter(), 0, 0.0
    while share < 1:
        texts = made(task, gap, BATCH, rng)
        logits, cache = learner.forward(texts.ids, texts.answers)
        _, d_logits = softmax_cross_entropy(logits, texts.ids[:, -texts.answers :])
        gradients, _ = learner.backward(d_logits.astype(np.float32), cache)
        optimizer.rate = rate * (1 - share)
        optimizer.update(learner.weights, clip_by_norm(gradients, CLIP))
        done += 1
        spent = (time.perf_counter() - begin) / seconds
        share = spent if updates is None else done / updates
    return done


def accuracy(learner: Learner, texts: Texts) -> float:
    """Returns the share of the answers that are right, 0 to 1."""
    logits, _ = learner.forward(texts.ids, texts.answers)
    return float((logits.argmax(axis=-1) == texts.ids[:, -texts.answers :]).mean())


def reach(learner: Learner, texts: Texts) -> np.ndarray:
    """Returns the norm of the last answer's gradient k steps back, relative to that at k = 0.

    Returns:
        (n - 1,); zeros where no gradient comes.
    """
    logits, cache = learner.forward(texts.ids, texts.answers)
    d_logits = np.exp(log_softmax(logits[:, -1]))
    d_logits[np.arange(len(d_logits)), texts.ids[:, -1]] -= 1
    last = np.zeros_like(logits)
    last[:, -1] = d_logits
    _, norms = learner.backward(last, cache)
    found = np.zeros(texts.ids.shape[1] - 1)
    found[: len(norms)] = norms
    return found / found[0] if found[0] else found


@dataclass(frozen=True)
class Trial:
    """A network that was trained for one gap."""

    cell: str
    gap: int
    seed: int
    updates: int
    accuracy: float
    """Share of right answers in new texts, 0 to 1."""
    before: float
    """Norm of the last answer's gradient at the character that decides it, relative to that at the
    last character, before training."""
    after: float
    """The same after training; not finite if the network diverged."""


def trial(
    task: str,
    cell: str,
    gap: int,
    seed: int,
    units: int,
    rate: float,
    seconds: float,
    updates: int | None,
    remedies: Remedies,
) -> Trial:
    """Trains a network and measures it.

    Args:
        task, gap: see `memory_texts.made`.
        cell: a name in `LADDER`.
        seed: random seed.
        units: H.
        rate, seconds, updates: see `train`.
        remedies: sizes.
    """
    streams = np.random.default_rng(seed).spawn(3)
    learner = made_learner(cell, units, streams[0], remedies)
    texts = made(task, gap, TESTED, streams[1])
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        before = reach(learner, texts)[texts.distance]
        done = train(learner, task, gap, streams[2], rate, seconds, updates)
        after = reach(learner, texts)[texts.distance]
        right = accuracy(learner, texts)
    if not np.isfinite(after):
        note(f"NOTE: {cell} diverged at a gap of {gap} (seed {seed}); its answers count as wrong")
        right = 0.0
    return Trial(cell, gap, seed, done, right, float(before), float(after))
