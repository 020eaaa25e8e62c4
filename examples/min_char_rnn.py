"""A character-level recurrent language model in one file of NumPy: an LSTM or a plain RNN.

Run `python examples/min_char_rnn.py mine.txt`, with `--cell rnn` for a plain RNN, or `--check`.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for such small matrices more are slower
import numpy as np

B, T, GATES = 16, 32, {"rnn": 1, "lstm": 4}  # streams of text, characters in a window


def initial_weights(cell, V, H, rng):
    shapes = {"W": (V, GATES[cell] * H), "U": (H, GATES[cell] * H), "W_y": (H, V)}
    w = {name: rng.normal(0, shape[0] ** -0.5, shape) for name, shape in shapes.items()}
    return w | {"b": np.repeat([0.0, 1, 0, 0][: GATES[cell]], H), "b_y": np.zeros(V)}  # 1: forget


def step(w, cell, x, h, c):
    """Reads characters x (B,): returns the states h, c (B, H) after it, and what `back` needs."""
    a = w["W"][x] + h @ w["U"] + w["b"]
    if cell == "rnn":
        return (new := np.tanh(a)), c, (x, h, new)
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, o = ((1 + np.tanh(y / 2)) / 2 for y in (a_i, a_f, a_o))  # gates: sigmoid(y)
    g = np.tanh(a_g)  # candidate
    new_c = f * c + i * g  # cell state: keeps a part of the old one, adds a part of the candidate
    s = np.tanh(new_c)
    return o * s, new_c, (x, h, c, i, f, g, o, s)


def back(w, cell, dh, dc, cache, d):
    """Adds a step's gradients to d; returns dLoss/d(h, c) before the step from those after it."""
    x, h, *rest = cache
    if cell == "rnn":
        da = dh * (1 - rest[0] ** 2)  # h = tanh(a)
    else:
        c, i, f, g, o, s = rest
        dc = dc + dh * o * (1 - s**2)  # h = o * s, s = tanh(c)
        da_i, da_f, da_g = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
        da, dc = np.concatenate([da_i, da_f, da_g, dh * s * o * (1 - o)], axis=1), dc * f
    np.add.at(d["W"], x, da)
    d["U"] += h.T @ da
    d["b"] += da.sum(axis=0)
    return da @ w["U"].T, dc


def loss_and_gradients(w, cell, ids, h, c):
    """Predicts characters 1 to T of ids (B, T + 1): (mean loss in nats, gradients, h, c)."""
    d, steps = {name: np.zeros_like(value) for name, value in w.items()}, []
    for x in ids[:, :-1].T:
        h, c, cache = step(w, cell, x, h, c)
        steps.append((h, cache))
    hs = np.stack([h for h, _ in steps], axis=1)
    z = hs @ w["W_y"] + w["b_y"]
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)  # softmax, (B, T, V)
    targets = np.eye(p.shape[-1])[ids[:, 1:]]  # one-hot
    loss, dz = -np.log(p[targets == 1]).mean(), (p - targets) / ids[:, 1:].size
    d["W_y"], d["b_y"] = np.einsum("bth,btv->hv", hs, dz), dz.sum(axis=(0, 1))
    dhs, dh, dc = dz @ w["W_y"].T, np.zeros_like(h), np.zeros_like(h)
    for t in reversed(range(len(steps))):  # back-propagation through time
        dh, dc = back(w, cell, dhs[:, t] + dh, dc, steps[t][1], d)
    return loss, d, h, c


def sample(w, cell, k, n, rng, temperature=0.7):
    """Draws the ids of n characters that follow the character k."""
    h, c, found = np.zeros((1, len(w["U"]))), np.zeros((1, len(w["U"]))), [k]
    for _ in range(n):
        h, c, _ = step(w, cell, found[-1:], h, c)
        p = np.exp((h @ w["W_y"] + w["b_y"])[0] / temperature)
        found.append(rng.choice(len(p), p=p / p.sum()))
    return found[1:]


def check(cell, rng, e=1e-5):
    """Yields each weight's name and the relative difference from finite differences."""
    w, ids, h = initial_weights(cell, 5, 4, rng), rng.integers(5, size=(2, 7)), np.zeros((2, 4))
    for name, by_hand in loss_and_gradients(w, cell, ids, h, h)[1].items():
        found = np.zeros_like(by_hand)
        for at in np.ndindex(found.shape):
            for change, sign in ((e, 1), (-2 * e, -1), (e, 0)):  # the last restores the weight
                w[name][at] += change
                found[at] += sign * loss_and_gradients(w, cell, ids, h, h)[0] / (2 * e)
        yield name, np.linalg.norm(found - by_hand) / np.linalg.norm(by_hand)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", nargs="?", help="a file of UTF-8 text")
    parser.add_argument("--cell", choices=GATES, default="lstm")
    parser.add_argument("--check", action="store_true", help="check the gradients")
    args, rng, n = parser.parse_args(), np.random.default_rng(1), 2000
    if args.check:
        print(*(f"{name}: {error:.1e}" for name, error in check(args.cell, rng)), sep="\n")
        parser.exit()
    try:
        text = Path(args.text or parser.error("expected a file of UTF-8 text")).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        parser.exit(2, f"error: expected a file of UTF-8 text, found {args.text!r}: {error}\n")
    characters, ids = np.unique([*text], return_inverse=True)
    ids = ids[: len(ids) // B * B].reshape(B, -1)  # the streams
    if not (places := range(0, ids.shape[1] - T, T)):
        parser.exit(2, f"error: expected {B * (T + 1)} characters or more, found {len(text)}\n")
    w, squares, told = initial_weights(args.cell, len(characters), 128, rng), {}, 0.0
    for k in range(n):
        if (at := places[k % len(places)]) == 0:
            h = c = np.zeros((B, len(w["U"])))  # else those of the window before
        loss, d, h, c = loss_and_gradients(w, args.cell, ids[:, at : at + T + 1], h, c)
        for name in w:  # RMSprop; the learning rate falls to 0
            squares[name] = 0.95 * squares.get(name, 0) + 0.05 * d[name] ** 2
            w[name] -= 4e-3 * (1 - k / n) * d[name] / (np.sqrt(squares[name]) + 1e-6)
        if time.time() > told + 2 or k + 1 == n:
            told, drawn = time.time(), sample(w, args.cell, ids[0, 0], 60, rng)
            print(f"{k + 1}/{n}: loss {loss:.3f} nats {''.join(characters[drawn])!r}", flush=True)
