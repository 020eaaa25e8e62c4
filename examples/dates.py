"""Translates dates as people write them to ISO dates, with an encoder, a decoder and attention.

    python examples/dates.py -o dates.png --read "3 March 1998" "TUE 7 JUN 2011"

The encoder reads the characters of a date with two LSTMs, one from each end. The decoder, another
LSTM, starts from their last states and writes "1998-03-03", one character at a time. In training it
reads the right answer, shifted by one character (teacher forcing). Later it reads its own answer,
and beam search looks for the most probable one.

Before each character, attention compares the decoder's state with a key for each character of the
source. The decoder reads the mean of the keys, weighted by how well they fit (the context). So the
weights show where it looks: at the year while it writes the year. For comparison, the same network
without attention has only the encoder's last states to read from.
"""

import math
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from charlm import cli, plots
from charlm.cli import outputs
from charlm.cli.options import Debug
from charlm.errors import require
from charlm.generation.beam_search import beam_search
from charlm.generation.sampler import Step, generate, select_rows
from charlm.reference import lstm

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with cli.quiet_stderr():  # TensorFlow prints messages about missing GPUs
    import attention
    import keras
    from keras import ops

    from charlm.layers import LSTM

NAMES = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
)
WEEKDAYS, MONTHS = (x.split() for x in NAMES)
# With years of several centuries, no digit follows from those before it, so each must be looked up.
FIRST, DAYS = date(1600, 1, 1), 292_194  # 800 years
TRAINING, HELD_OUT = 32_000, 1000  # days, all different
# Directives of strftime; also %e and %n, day and month without a zero, and %o, the "rd" of "3rd".
# The separator tells the order: 3/4/1998 is in March, 3.4.1998 in April.
FORMATS = [
    *("%A, %e %B %Y", "%a, %e %b %Y", "%e %B %Y", "%d %b %Y", "%a %e %b %Y", "%e%o %B %Y"),
    *("%e%o of %B %Y", "%B %e, %Y", "%b %e, %Y", "%A, %B %e, %Y", "%B %e%o, %Y", "%a %b %d %Y"),
    *("%n/%e/%Y", "%m/%d/%Y", "%e.%n.%Y", "%d.%m.%Y", "%d-%b-%Y", "%e-%b-%Y", "%Y, %B %e"),
    *("%Y %b %d", "%Y/%m/%d"),
]
CASES = str, str.upper, str.lower
YEAR, MONTH, DAY = 1, 2, 3  # fields of a date; all other characters are in field 0
FIELDS = np.array([YEAR] * 4 + [0] + [MONTH] * 2 + [0] + [DAY] * 2)  # of an ISO date's characters
S, T = 30, len(FIELDS)  # characters of a source, at most, and of a target
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SOURCE = f"_ ,-./0123456789{LETTERS}{LETTERS.upper()}"  # a character's id is its index; 0: padding
TARGET = "^-0123456789"  # 0: start symbol
BATCH, RATE, DROPOUT = 64, 0.01, 0.5


def written(day: date, form: str, case: Any = str) -> tuple[str, list[int]]:
    """Writes a day in a format; returns the text and the field of each character."""
    d, m, y = day.day, day.month, day.year
    weekday, month = WEEKDAYS[day.weekday()], MONTHS[m - 1]
    suffix = "th" if d in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th")
    values = {"%A": (weekday, 0), "%a": (weekday[:3], 0), "%o": (suffix, 0)}
    values |= {"%B": (month, MONTH), "%b": (month[:3], MONTH)}
    values |= {"%m": (f"{m:02}", MONTH), "%n": (f"{m}", MONTH)}
    values |= {"%d": (f"{d:02}", DAY), "%e": (f"{d}", DAY)}
    values |= {"%Y": (f"{y}", YEAR)}
    parts = [values.get(x, (x, 0)) for x in re.split("(%.)", form)]
    return case("".join(x for x, _ in parts)), [field for x, field in parts for _ in x]


def encoded(texts: list[str]) -> np.ndarray:
    """Returns the ids (N, S) of sources, padded with 0 on the right."""
    return np.array([[SOURCE.index(x) for x in text.ljust(S, "_")] for text in texts], np.int32)


class Examples:
    """Days (N,), counted from FIRST, each written in a format that `rng` chooses."""

    def __init__(self, days: np.ndarray, rng: np.random.Generator):
        self.dates = [FIRST + timedelta(int(k)) for k in days]
        forms, cases = (rng.integers(len(x), size=len(days)) for x in (FORMATS, CASES))
        chosen = zip(self.dates, forms, cases, strict=True)
        pairs = [written(day, FORMATS[f], CASES[c]) for day, f, c in chosen]
        self.texts = [text for text, _ in pairs]
        self.source = encoded(self.texts)  # (N, S)
        self.fields = np.array([x + [0] * (S - len(x)) for _, x in pairs])  # of `source`
        answers = [[TARGET.index(x) for x in day.isoformat()] for day in self.dates]
        self.target = np.array(answers, np.int32)  # (N, T)


def examples(seed: int) -> tuple[Examples, Examples]:
    """Returns examples for training and held-out examples; no two are of the same day."""
    rng = np.random.default_rng(seed)
    days = rng.choice(DAYS, TRAINING + HELD_OUT, replace=False)
    return Examples(days[HELD_OUT:], rng), Examples(days[:HELD_OUT], rng)


def shifted(target: np.ndarray) -> np.ndarray:
    """Returns the character that the decoder reads before it writes each one: (N, T)."""
    return np.pad(target[:, :-1], ((0, 0), (1, 0)))


def network(units: int, attends: bool) -> tuple[keras.Model, keras.Model]:
    """Builds the network that is trained, and the encoder, which is a part of it.

    Returns:
        (source (B, S), shifted target (B, T)) -> logits (B, T, V); source -> keys (B, S, K) and
        the decoder's first states, h and c (B, 2H).
    """
    source, read = keras.Input((S,), dtype="int32"), keras.Input((T,), dtype="int32")
    mask = ops.not_equal(source, 0)
    options = {"vocab_size": len(SOURCE), "return_sequences": True, "return_state": True}
    ahead, *last = LSTM(units, **options)(source, mask=mask)
    back, *first = LSTM(units, go_backwards=True, **options)(source, mask=mask)
    around = ops.concatenate([ahead, ops.flip(back, axis=1)], axis=-1)  # (B, S, 2H)
    states = [ops.concatenate(pair, axis=-1) for pair in zip(last, first, strict=True)]
    if attends:
        # States know their neighbours, so the decoder could look next to a digit, or not at all.
        # Dropout makes them unreliable; the one-hot character, the other part of a key, is not.
        around, *states = (keras.layers.Dropout(DROPOUT)(x) for x in (around, *states))
    keys = ops.concatenate([ops.one_hot(source, len(SOURCE)), around], axis=-1)
    decoder = LSTM(2 * units, vocab_size=len(TARGET), return_sequences=True, name="decoder")
    h = decoder(read, initial_state=states)
    if attends:
        context, _ = attention.AdditiveAttention(units // 2, name="attention")(h, keys, mask)
        h = ops.concatenate([h, context], axis=-1)
    logits = keras.layers.Dense(len(TARGET), name="output")(h)
    return keras.Model([source, read], logits), keras.Model(source, [keys, *states])


def train(model: keras.Model, data: Examples, epochs: int, name: str) -> float:
    """Trains with teacher forcing, printing progress; returns the seconds it took."""
    began, told, done = time.perf_counter(), 0.0, 0
    updates = epochs * math.ceil(len(data.source) / BATCH)

    def tell(batch, logs):
        nonlocal told, done
        done += 1
        if time.perf_counter() > told + 1.5 or done == updates:
            told = time.perf_counter()
            cli.say(f"{name}: {done}/{updates} updates, loss {logs['loss']:.3f}")

    cli.say(f"{name}: compiling")
    rate = keras.optimizers.schedules.CosineDecay(RATE, updates)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss, jit_compile=False)
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=tell)]
    read = [data.source, shifted(data.target)]
    model.fit(read, data.target, BATCH, epochs, verbose=0, callbacks=callbacks)
    return time.perf_counter() - began


def decoder_step(model: keras.Model) -> Step:
    """Returns one step of the decoder in NumPy, in the form that charlm's samplers call.

    The states are h and c (N, 2H), keys (N, S, K), mask (N, S) and the weights of attention (N, S).
    """
    W, U, b = model.get_layer("decoder").get_weights()
    W_o, b_o = model.get_layer("output").get_weights()
    compared = [w for x in model.layers if x.name == "attention" for w in x.get_weights()]

    def step(ids, states):
        h, c, keys, mask, a = states
        (h, c), _ = lstm.step(W[ids] + b, (h, c), (U,))  # a row of W: the one-hot id times W
        read = h
        if compared:
            context, a, _ = attention.forward(mask, h[:, None], keys, *compared)
            read, a = np.concatenate([h, context[:, 0]], axis=-1), a[:, 0]
        return read @ W_o + b_o, (h, c, keys, mask, a)

    return step


def first_states(encoder: keras.Model, source: np.ndarray) -> tuple[np.ndarray, ...]:
    """Encodes sources (N, S); returns the states before the first step, N rows each."""
    keys, h, c = encoder.predict(source, batch_size=250, verbose=0)
    return h, c, keys, np.float32(source > 0), np.zeros(source.shape, np.float32)


def greedy(step: Step, states: tuple) -> np.ndarray:
    """Writes the most probable character each time, for N sources at once: ids (N, T)."""
    start = np.zeros((len(states[0]), 1), np.int64)
    return np.concatenate(list(generate(step, states, start, T, temperature=0))).T


def search(step: Step, states: tuple, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds answers by beam search, one source after the other: ids (N, T), probabilities (N,)."""
    found = []
    for n in range(len(states[0])):
        own = select_rows(states, np.full(width, n))  # all beams read the same keys
        found.append(beam_search(step, own, np.array([0]), T, width)[0])
    ids, losses = zip(*found, strict=True)
    return np.array(ids), np.exp(-T * np.array(losses))


def looked_at(step: Step, states: tuple, answers: np.ndarray) -> np.ndarray:
    """Returns the weights of attention for each character of answers (N, T): (N, T, S)."""
    weights = []
    for ids in shifted(answers).T:
        _, states = step(ids, states)
        weights.append(states[-1])
    return np.stack(weights, axis=1)


def aligned(weights: np.ndarray, fields: np.ndarray) -> float:
    """Returns the share of digits whose largest weight is on their own field in the source.

    `weights` are (N, T, S), `fields` of the source (N, S).
    """
    top = np.take_along_axis(fields, weights.argmax(axis=-1), axis=1)  # (N, T)
    return float((top == FIELDS)[:, FIELDS > 0].mean())


def draw(texts: list[str], answers: list[str], weights: np.ndarray) -> bytes:
    """Draws the weights (N, T, S) of N dates, a row for each character written, as a PNG."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(12, 1.6 * len(texts)), layout="constrained")
    panels = figure.subplots(len(texts) // 2, 2).ravel()
    for axes, source, answer, a in zip(panels, texts, answers, weights, strict=True):
        axes.imshow(a[:, : len(source)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(source)), source.replace(" ", "␣"), family="monospace")
        axes.set_yticks(range(len(answer)), answer, family="monospace")
    figure.supxlabel("character read (attention: the darker, the larger its weight)")
    figure.supylabel("character written")
    return plots.png(figure)


@dataclass(frozen=True)
class Dates:
    """Trains an encoder-decoder that turns dates into ISO dates, with and without attention."""

    epochs: int = 3
    """Passes over the training examples."""
    units: int = 32
    """Hidden units of each LSTM of the encoder; the decoder has twice as many."""
    seed: int = 1
    """Random seed of examples, initial weights and dropout."""
    beam: int = 4
    """Number of beams of beam search."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="PATH.png")] = "dates.png"
    """Picture to write: where attention looks."""
    read: tuple[str, ...] = ()
    """Dates to translate after training."""
    debug: Debug = False

    def __post_init__(self):
        for name, low, high in ("epochs", 1, 1000), ("units", 2, 1024), ("beam", 1, 100):
            value = getattr(self, name)
            require(low <= value <= high, name, f"from {low} to {high}", value)
        require(0 <= self.seed < 2**32, "seed", f"from 0 to {2**32 - 1}", self.seed)
        for x in self.read:
            ok = 0 < len(x) <= S and {*x} <= {*SOURCE[1:]}
            require(
                ok, "read", f"dates of 1 to {S} characters A-Z, a-z, 0-9, space and ,-./", repr(x)
            )
        require(self.output.endswith(".png"), "output", "the name of a .png file", self.output)
        outputs.check_file("output", Path(self.output))


def _main(argv):
    args = cli.parse(Dates, "dates.py", argv)
    training, held_out = examples(args.seed)
    rows, lines = [], []
    for name, attends in ("with attention", True), ("without attention", False):
        keras.utils.set_random_seed(args.seed)
        model, encoder = network(args.units, attends)
        seconds = train(model, training, args.epochs, name)
        step, states = decoder_step(model), first_states(encoder, held_out.source)
        cli.say(f"{name}: beam search")
        first, (best, _) = greedy(step, states), search(step, states, args.beam)
        right = (best == held_out.target).all(axis=-1)
        shares = [(first == held_out.target).all(axis=-1).mean(), right.mean()]
        if attends:
            weights = looked_at(step, states, first)
            shares.append(aligned(weights, held_out.fields))
            answers = ["".join(TARGET[k] for k in ids) for ids in first[:6]]
            picture = draw(held_out.texts[:6], answers, weights[:6])
        cells = "".join(f"{x:9.1%}" for x in shares).ljust(27)
        rows.append(f"{name:17}{cells}{model.count_params():9,}{seconds:9.0f}")
        chosen = [*range(3), *np.flatnonzero(~right)[:3]]
        translated = [(held_out.texts[n], best[n], "" if right[n] else "wrong") for n in chosen]
        if args.read:
            given = first_states(encoder, encoded([*args.read]))
            found = zip(args.read, *search(step, given, args.beam), strict=True)
            translated += [(x, ids, f"probability {p:.3f}") for x, ids, p in found]
        for x, ids, comment in translated:
            lines.append(f"{name:17}  {x:{S}}  {''.join(TARGET[k] for k in ids)}  {comment}")
    print(f"\nWhole dates right, of {HELD_OUT} held-out ones, and digits aligned")
    heads = "greedy", f"beam {args.beam}", "aligned", "weights", "seconds"
    print(" " * 17, *(f"{x:>8}" for x in heads))
    print(*rows, "", *lines, "", args.output, sep="\n")
    Path(args.output).write_bytes(picture)


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    return cli.run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
