"""Compares variants of the LSTM on a text, as "LSTM: A Search Space Odyssey" does.

    python examples/odyssey.py mine.txt -o odyssey.png

Greff et al. 2017 (IEEE TNNLS 28(10), section III-B) change one part of the LSTM at a time. Their
LSTM has peepholes: the gates also read the cell state. charlm's LSTM has none (their variant NP).
So PEEP here is their LSTM, and each other variant changes one part of the LSTM without peepholes.

Each variant is trained for the same number of updates, and for the same number of seconds, in which
a simpler cell makes more updates. These are small networks in their first few hundred updates. The
paper trains until the held-out loss no longer falls, and chooses the best of 200 settings for each
variant; here --learning-rates can be tried for each.
"""

import functools
import itertools
import logging
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import tyro

from charlm import cli, plots
from charlm.cli import outputs
from charlm.cli.options import Debug
from charlm.config import DataConfig
from charlm.errors import require
from charlm.text.windows import TrainingWindows
from charlm.training.training_windows import held_out_windows, training_windows

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel("ERROR")  # it warns that there are several networks
with cli.quiet_stderr():  # TensorFlow prints messages about missing GPUs
    import keras
    from keras import ops
    from keras.ops import sigmoid, tanh

    from charlm.layers import LSTMCell, Recurrent
    from charlm.layers.options import without
    from charlm.training.dataset import batches
    from charlm.training.streams import Streams

HELD_OUT = 50_000  # characters to measure on
LACKING = "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG"  # variants that lack a part
CRITICAL = {"NFG", "NOAF"}  # those that lack the parts that matter most, according to the paper
FINDING = "the finding of Greff et al. 2017"
EDGE = 5.0  # bits per character at the edge of the picture; a network that diverges has any number


class Variant(LSTMCell):
    """The LSTM without peepholes; a subclass replaces `equations`.

    A cell that overrides `step` has neither the machine code nor the hand-derived gradients of
    charlm's LSTM. So all variants train by the backend's autodiff, and their times are comparable.
    """

    def step(self, a_x, states, weights, masks=None):
        (h, *others), (U,) = states, weights
        a = a_x + self.recurrent_matmul(h, U, masks)  # (B, G*H)
        return self.equations(*others, *ops.split(a, len(self.GATES), axis=-1)), ()

    def equations(self, c, a_i, a_f, a_g, a_o):
        """Computes (h, c) from c before the step and a = x W + h U + b of each gate, all (B, H)."""
        i = sigmoid(a_i)
        f = sigmoid(a_f)
        g = tanh(a_g)
        o = sigmoid(a_o)
        c = f * c + i * g
        return o * tanh(c), c


class PEEP(Variant):  # peepholes: each gate also reads its own element of c
    def build(self, input_shape):
        super().build(input_shape)
        self.p = self.add_weight(name="peepholes", shape=(3, self.units), initializer="zeros")

    def equations(self, c, a_i, a_f, a_g, a_o):
        p_i, p_f, p_o = ops.unstack(self.p)  # each (H,)
        i, f, g = sigmoid(a_i + p_i * c), sigmoid(a_f + p_f * c), tanh(a_g)
        c = f * c + i * g
        o = sigmoid(a_o + p_o * c)
        return o * tanh(c), c


class NIG(Variant):  # no input gate: i = 1
    GATES = "fgo"  # the columns of W, U and b

    def equations(self, c, a_f, a_g, a_o):
        f, g, o = sigmoid(a_f), tanh(a_g), sigmoid(a_o)
        c = f * c + g
        return o * tanh(c), c


class NFG(Variant):  # no forget gate: f = 1, as in the first LSTM (Hochreiter, Schmidhuber 1997)
    GATES = "igo"
    OPTIONS = without(Variant.OPTIONS, "unit_forget_bias")

    def equations(self, c, a_i, a_g, a_o):
        i, g, o = sigmoid(a_i), tanh(a_g), sigmoid(a_o)
        c = c + i * g
        return o * tanh(c), c


class NOG(Variant):  # no output gate: o = 1
    GATES = "ifg"

    def equations(self, c, a_i, a_f, a_g):
        i, f, g = sigmoid(a_i), sigmoid(a_f), tanh(a_g)
        c = f * c + i * g
        return tanh(c), c


class NIAF(Variant):  # no input activation function: g without tanh
    def equations(self, c, a_i, a_f, g, a_o):
        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        c = f * c + i * g
        return o * tanh(c), c


class NOAF(Variant):  # no output activation function: h without tanh
    def equations(self, c, a_i, a_f, a_g, a_o):
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        return o * c, c


class CIFG(Variant):  # coupled input and forget gates: i = 1 - f, as `charlm.layers.CoupledLSTM`
    GATES = "fgo"

    def equations(self, c, a_f, a_g, a_o):
        f, g, o = sigmoid(a_f), tanh(a_g), sigmoid(a_o)
        c = f * c + (1 - f) * g
        return o * tanh(c), c


class FGR(Variant):  # full gate recurrence: each gate also reads all gates of the step before
    STATES = "hcifo"  # so the gates are states, too

    def build(self, input_shape):
        super().build(input_shape)
        shape = 3 * self.units, 3 * self.units  # nine matrices (H, H)
        self.R = self.add_weight(name="R", shape=shape, initializer=self.recurrent_initializer)

    def equations(self, c, i, f, o, a_i, a_f, a_g, a_o):
        r = self.matmul(ops.concatenate([i, f, o], axis=-1), self.R)  # (B, 3H)
        r_i, r_f, r_o = ops.split(r, 3, axis=-1)
        i, f, g, o = sigmoid(a_i + r_i), sigmoid(a_f + r_f), tanh(a_g), sigmoid(a_o + r_o)
        c = f * c + i * g
        return o * tanh(c), c, i, f, o


CELLS = {"LSTM": Variant} | {
    cell.__name__: cell for cell in (PEEP, NIG, NFG, NOG, NIAF, NOAF, CIFG, FGR)
}


@dataclass(frozen=True)
class Odyssey:
    """Trains variants of the LSTM on a text, compares them, and draws a picture."""

    text: tyro.conf.Positional[str | None] = None
    """Text to train on, named as for charlm train."""
    updates: int = 400
    """Updates of each run of the first comparison."""
    seconds: float | None = None
    """Seconds of training in each run of the second one. Default: as the first variant took in the
    first one."""
    units: int = 64
    """Hidden units."""
    learning_rates: tuple[float, ...] = (0.04,)
    """Peak learning rates of Adam. Of several, each variant is trained with the one that is best
    for it on the held-out text with the first seed."""
    seeds: int = 3
    """Runs of each variant; a seed decides the initial weights and the order of the text."""
    variants: tuple[Literal[tuple(CELLS)], ...] = tuple(CELLS)
    """Variants to compare. PEEP: peepholes; NIG, NFG, NOG: no input, forget or output gate; NIAF,
    NOAF: no input or output activation function; CIFG: coupled input and forget gates; FGR: full
    gate recurrence."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="PATH.png")] = "odyssey.png"
    """Picture to write."""
    debug: Debug = False

    def __post_init__(self):
        for name in ("updates", "units", "seeds"):
            require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        ok = self.seconds is None or 0 < self.seconds < math.inf
        require(ok, "seconds", "a finite number above 0", self.seconds)
        require(self.variants, "variants", "one or more", "none")
        rates = self.learning_rates
        ok = rates and all(0 < x < math.inf for x in rates)
        require(ok, "learning_rates", "finite numbers above 0", rates or "none")
        require(self.output.endswith(".png"), "output", "the name of a .png file", self.output)
        outputs.check_file("output", Path(self.output))


def network(cell: type[Variant], V: int, H: int) -> keras.Model:
    """Builds ids (B, T), states S of (B, H) -> logits (B, T, V), states."""
    layer = type(cell.__name__, (Recurrent,), {"CELL": cell})
    ids, before = keras.Input((None,)), [keras.Input((H,)) for _ in cell.STATES]
    recurrent = layer(H, vocab_size=V, return_sequences=True, return_state=True)
    h, *after = recurrent(ids, initial_state=before)
    return keras.Model([ids, *before], [keras.layers.Dense(V)(h), *after])


def train(model: Streams, windows: TrainingWindows, updates: int, rate: float, what: str) -> float:
    """Makes an update with each window (B, T); returns the median seconds of an update."""
    seconds = []
    with cli.progress(what, updates) as tell:
        for k in range(updates):
            began = time.perf_counter()
            epoch, step = divmod(k, windows.steps)
            if step == 0:
                windows.set_epoch(epoch)
            up, down = (k + 1) / updates / 0.1, (1 - k / updates) / 0.9
            model.optimizer.learning_rate = rate * min(up, down)
            model.train_on_batch(*windows[step])
            seconds.append(time.perf_counter() - began)
            tell()
    return median(seconds)


def finding(after: str, losses: dict[str, list[float]]) -> str:
    """Compares bits per character, {variant: one for each seed}, with the paper's finding."""
    found = {name: values for name, values in losses.items() if name in LACKING}
    if not found.keys() > CRITICAL:
        return f"{after}: {FINDING} needs NFG, NOAF and another variant that lacks a part."
    worst = sorted(found, key=lambda name: median(found[name]), reverse=True)[:2]
    right = [name for name in worst if name in CRITICAL]
    next_worst = max(max(values) for name, values in found.items() if name not in worst)
    clear = all(min(found[name]) > next_worst for name in right)
    return (
        f"{after}: {FINDING} that the forget gate (NFG) and the output activation (NOAF) "
        f"matter most holds for {' and '.join(right) or 'neither'}"
        f"{'' if clear else ' in the median, but not with every seed'}; the worst of "
        f"{len(found)} that lack a part are {worst[0]} and {worst[1]}."
    )


def draw(compared: dict[str, dict[str, list[float]]]) -> bytes:
    """Draws {comparison: {variant: bits per character, one for each seed}} as a PNG."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, len(compared), sharex=True, sharey=True)
    for axes, (after, losses) in zip(panels, compared.items(), strict=True):
        for k, (name, values) in enumerate(losses.items()):
            colour = "tab:red" if name in CRITICAL else "tab:blue"
            axes.plot([min(x, EDGE) for x in sorted(values)], [k] * len(values), "|-", c=colour)
            axes.plot(min(median(values), EDGE), k, "o", c=colour)
        axes.set_yticks(range(len(losses)), losses)
        axes.set(
            title=after, xlabel=f"held-out bits per character (median, range; at most {EDGE:g})"
        )
        axes.grid(alpha=0.3)
    panels[0].invert_yaxis()
    return plots.png(figure)


def main(argv: list[str]) -> None:
    """Trains each variant twice with each seed, and prints and draws what they reach."""
    args = cli.parse(Odyssey, "odyssey.py", argv)
    text, seeds = cli.text(cli.corpus(DataConfig(corpus=args.text))), range(1, args.seeds + 1)
    windows = {seed: training_windows(text, DataConfig(seed=seed)) for seed in seeds}
    held_out = held_out_windows(text, DataConfig(max_held_out=HELD_OUT))
    B, V = DataConfig().batch_size, len(text.vocab)

    def untrained(name):
        made = network(CELLS[name], V, args.units)
        made.layers[-1].bias.assign(text.log_shares(text.vocab))  # as charlm train begins
        return Streams(made, B, len(held_out.ids))

    models = {name: untrained(name) for name in args.variants}
    for name, model in models.items():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.Adam(global_clipnorm=1.0)
        model.compile(optimizer, loss, jit_compile=keras.backend.backend() != "torch")
        train(model, windows[1], 2, 0.01, f"compiling {name}")  # so that no run's time includes it

    @functools.cache  # so that a run is made once
    def trained(name, seed, updates, rate):
        """Trains a variant from the start; returns bits per character and seconds per update."""
        model = models[name]
        keras.utils.set_random_seed(seed)
        model.set_weights(untrained(name).get_weights())
        for variable in model.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        what = f"{name}, learning rate {rate:g}, seed {seed} of {args.seeds}"
        seconds = train(model, windows[seed], updates, rate, what)
        loss = model.evaluate(batches(held_out), verbose=0) / math.log(2)
        loss = loss if math.isfinite(loss) else math.inf  # it may diverge
        cli.note(f"{what}: {loss:.3f} bits/char after {updates:,} updates")
        return loss, seconds

    def compare(updates):
        """Trains each variant with each seed; returns bits per character and seconds, by seed."""
        for seed, name in itertools.product(seeds, models):  # other programs slow down all alike
            trained(name, seed, updates[name], rates[name])
        results = {
            name: [trained(name, seed, updates[name], rates[name]) for seed in seeds]
            for name in models
        }
        return ({name: [x[k] for x in of] for name, of in results.items()} for k in range(2))

    for rate, name in itertools.product(args.learning_rates, models):
        trained(name, 1, args.updates, rate)
    rates = {
        name: min(args.learning_rates, key=lambda x: trained(name, 1, args.updates, x)[0])
        for name in models
    }
    by_updates, times = compare(dict.fromkeys(models, args.updates))
    speed = {name: min(values) for name, values in times.items()}  # with the least other work
    seconds = args.seconds or args.updates * speed[args.variants[0]]
    counts = {name: max(1, round(seconds / speed[name])) for name in models}
    by_seconds, _ = compare(counts)
    first, second = f"after {args.updates:,} updates", f"after {seconds:.1f} seconds"
    compared = {first: by_updates, second: by_seconds}
    print(f"Held-out bits per character, {args.units} units, median of {args.seeds} seeds (range)")
    print(f"{'':4} {'weights':>8} {'rate':>5} {'ms/update':>9}  {first:22}  {second:22}  updates")
    for name, model in models.items():
        losses = [values[name] for values in compared.values()]
        cells = (f"{median(x):.3f} ({min(x):.3f}-{max(x):.3f})" for x in losses)
        size, ms = model.network.count_params(), 1000 * speed[name]
        columns = "".join(f"  {x:22}" for x in cells)
        print(f"{name:4} {size:8,} {rates[name]:5g} {ms:9.1f}{columns} {counts[name]:8,}")
    print(*(finding(after, losses) for after, losses in compared.items()), sep="\n")
    Path(args.output).write_bytes(draw(compared))
    print(args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main, None))
