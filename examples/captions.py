"""Describes pictures of two digits in words, with attention, and shows where the model looks.

    pip install -e '.[examples]'        # scikit-learn, which brings the digits
    python examples/captions.py -o captions.png

A scene is a field with two handwritten digits in it, such as "three above seven". A small
convolutional network turns it into a grid of vectors, one for each cell. The decoder, an LSTM over
words, starts from START and ends at END. Before each word, attention compares the decoder's state
with every cell. The mean of the cells, weighted by how well they fit, is all that the model sees of
the picture. Only captions train it. From them it learns where to look. For comparison, a second
model without attention gets the mean of the cells once, as the first state of its LSTM.

Sources: Xu et al. 2015, "Show, Attend and Tell" (soft attention to a grid; there the context also
goes back into the LSTM, here only to the output, see attention.py); Vinyals et al. 2015, "Show and
Tell", and Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image
Descriptions" (features of the whole picture, given once).
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from charlm import cli, plots
from charlm.cli import outputs
from charlm.cli.options import Debug
from charlm.errors import InputError, require

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with cli.quiet_stderr():  # TensorFlow prints messages about missing GPUs
    import keras
    from attention import AdditiveAttention
    from keras import ops

    from charlm.layers import LSTM

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RELATIONS = "above", "left of"  # by axis: rows, columns
WORDS = ["START", *" ".join(RELATIONS).split(), *NAMES, "END"]
START = 0  # it is never written, so as a target it means padding
V, T = len(WORDS), 5  # words in the vocabulary, and in the longest caption with END
F, D = 24, 8  # pixels along an edge of the field, and of a digit
G = F // 4  # cells along an edge of the grid
S, C = G * G, 64  # cells, and features of a cell
HELD_OUT = 297  # of the 1797 pictures of digits
TRAINING, TEST, BATCH = 12_000, 1000, 32  # scenes
RATE = 0.004  # peak learning rate
SHOWN = 4  # scenes in the picture
AXIS = (np.arange(G, dtype="float32") + 0.5) / G * 2 - 1
CENTRES = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), -1).reshape(S, 2)  # row, column
# each cell's row and column as two one-hot vectors, (S, P)
PLACES = np.hstack([np.repeat(np.eye(G), G, axis=0), np.tile(np.eye(G), (G, 1))]).astype("float32")
P = 2 * G


def digits(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns images (N, D, D) from 0 to 1 and their numbers (N,): for training, held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        line = "scikit-learn, which brings the digits, is missing: pip install 'charlm[examples]'"
        raise InputError(line) from None
    found = load_digits()
    parts = np.split(rng.permutation(len(found.target)), [-HELD_OUT])
    return [(found.images[k].astype("float32") / 16, found.target[k]) for k in parts]


def caption(numbers: np.ndarray, corners: np.ndarray) -> tuple[str, int]:
    """Returns the one right caption of a scene, and the axis of its relation.

    It names the upper or left digit first, in whatever order the numbers (2,) and their corners
    (2, 2), row and column, are given.
    """
    apart = corners[1] - corners[0]
    axis = int(np.abs(apart).argmax())
    first, second = numbers if apart[axis] > 0 else numbers[::-1]
    return f"{NAMES[first]} {RELATIONS[axis]} {NAMES[second]}", axis


class Scenes:
    """N scenes of two digits drawn at random.

    Attributes: pictures (N, F, F, 1); N captions; axes (N,), 0 if the first digit is in the upper
    half, 1 if it is in the left half; which images are used (N, 2), and where, corners (N, 2, 2);
    ids (N, T + 1): START, the words of the caption, END, then padding.
    """

    def __init__(self, images: np.ndarray, numbers: np.ndarray, N: int, rng: np.random.Generator):
        self.pictures, self.captions = np.zeros((N, F, F, 1), "float32"), []
        self.used = rng.integers(len(images), size=(N, 2))
        self.corners, self.axes = np.zeros((N, 2, 2), int), np.zeros(N, int)
        self.ids = np.full((N, T + 1), START)
        for n, corners in enumerate(self.corners):
            axis = rng.integers(2)
            # along the axis one digit in each half; across it at most 4 pixels apart
            corners[:, axis] = rng.integers(0, 5), rng.integers(F // 2, F // 2 + 5)
            corners[:, 1 - axis] = rng.integers(2, F - D - 1) + rng.integers(-2, 3, size=2)
            for k, (row, column) in zip(self.used[n], corners, strict=True):
                self.pictures[n, row : row + D, column : column + D, 0] = images[k]
            text, self.axes[n] = caption(numbers[self.used[n]], corners)
            self.captions.append(text)
            words = [*text.split(), "END"]
            self.ids[n, 1 : len(words) + 1] = [WORDS.index(word) for word in words]


def encoder() -> keras.Model:
    """Builds pictures (B, F, F, 1) -> cells (B, S, C + P).

    Both convolutions have a stride of 2, so a cell is 4 pixels wide. It sees 10 x 10 pixels, about
    one digit: attention has to go to a digit to read it. Without biases, cells that see nothing are
    zero, and add nothing to a mean. The last P numbers of a cell say where it is.
    """
    pictures = x = keras.Input((F, F, 1))
    options = {"strides": 2, "padding": "same", "activation": "relu", "use_bias": False}
    for filters in (16, C):
        x = keras.layers.Conv2D(filters, kernel_size=4, **options)(x)
    x = ops.reshape(x, (-1, S, C))
    places = ops.zeros_like(x[..., :P]) + PLACES
    return keras.Model(pictures, ops.concatenate([x, places], axis=-1))


def decoder(H: int, attends: bool) -> keras.Model:
    """Builds cells (B, S, C + P), ids (B, T), h and c (B, H) -> logits, weights, h, c after them.

    The logits (B, T, V) are those of the word after each id; the weights (B, T, S) say where the
    model looks for it. Without attention, they are 0.
    """
    cells, ids = keras.Input((S, C + P)), keras.Input((None,), dtype="int32")
    states = [keras.Input((H,)), keras.Input((H,))]
    lstm = LSTM(H, vocab_size=V, return_sequences=True, return_state=True)
    h, *after = lstm(ids, initial_state=states)
    weights = ops.zeros_like(h[..., :1]) * ops.zeros((1, 1, S))
    if attends:
        context, weights = AdditiveAttention(H // 2)(h, cells)
        # At first the weights are all 1 / S, and a digit covers about 4 cells. This makes a digit
        # in the context as large as it is in its cells; without it, training takes far longer.
        h = ops.concatenate([h, context * (S / 4)], axis=-1)
    h = keras.layers.Dense(H, activation="tanh")(h)
    return keras.Model([cells, ids, *states], [keras.layers.Dense(V)(h), weights, *after])


def first_states(H: int, attends: bool) -> keras.Model:
    """Builds cells (B, S, C + P) -> the decoder's first h and c (B, H).

    With attention they are 0: the decoder knows nothing of the picture but what it looks at.
    Otherwise they are made from the mean of the features over the cells, and of the features times
    the cells' positions: the mean of the features alone would lose where things are.
    """
    cells = keras.Input((S, C + P))
    if attends:
        zeros = ops.zeros_like(cells[:, 0, :1]) * ops.zeros((1, H))
        return keras.Model(cells, [zeros, zeros])
    seen, row, column = cells[..., :C], CENTRES[:, :1], CENTRES[:, 1:]
    parts = [ops.mean(x, axis=1) for x in (seen, seen * row, seen * column)]
    mean = ops.concatenate(parts, axis=-1) * (S / 4)  # as in `decoder`
    return keras.Model(cells, [keras.layers.Dense(H, activation="tanh")(mean) for _ in range(2)])


class Captioner:
    """An encoder, a decoder and the model that trains both: pictures, ids (B, T) -> logits."""

    def __init__(self, H: int, attends: bool):
        self.encoder, self.decoder = encoder(), decoder(H, attends)
        self.first_states = first_states(H, attends)
        pictures, ids = keras.Input((F, F, 1)), keras.Input((T,), dtype="int32")
        cells = self.encoder(pictures)
        logits = self.decoder([cells, ids, *self.first_states(cells)])[0]
        self.model = keras.Model([pictures, ids], logits)

    def train(self, scenes: Scenes, epochs: int, name: str) -> None:
        """Trains on right captions: the decoder reads each word and predicts the next one."""
        steps = epochs * -(-len(scenes.ids) // BATCH)
        self.model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=START),
            jit_compile=False,  # XLA cannot run NumPy: attention.py, charlm's compiled LSTM
        )
        told = [time.monotonic()]

        def tell(batch, logs):
            if time.monotonic() > told[0] + 1.5:
                told[0], done = time.monotonic(), int(self.model.optimizer.iterations)
                print(f"{name}: {done / steps:4.0%}, loss {logs['loss']:.3f} nats per word")

        options = {"batch_size": BATCH, "epochs": epochs, "verbose": 0}
        options["callbacks"] = [keras.callbacks.LambdaCallback(on_train_batch_end=tell)]
        read, right = scenes.ids[:, :-1], scenes.ids[:, 1:]  # T words each, shifted by one
        self.model.fit([scenes.pictures, read], right, **options)

    def write(self, pictures: np.ndarray) -> tuple[list[list[str]], np.ndarray]:
        """Writes captions of pictures (N, F, F, 1), the most probable word at each step.

        Returns the words of each, without END, and the weights (N, T, S) before each word.
        """
        cells = self.encoder(ops.convert_to_tensor(pictures))
        states, ids = self.first_states(cells), np.full((len(pictures), 1), START)
        written, looked = [], []
        for _ in range(T):
            given = [cells, ops.convert_to_tensor(ids, "int32"), *states]
            logits, weights, *states = self.decoder(given)
            ids = ops.convert_to_numpy(logits).argmax(axis=-1)
            written.append(ids[:, 0])
            looked.append(ops.convert_to_numpy(weights)[:, 0])
        rows = [[WORDS[k] for k in row] for row in np.stack(written, axis=1)]
        ends = [row.index("END") if "END" in row else T for row in rows]
        return [row[:end] for row, end in zip(rows, ends, strict=True)], np.stack(looked, axis=1)


def on_half(captions: list[list[str]], weights: np.ndarray, axes: np.ndarray) -> float:
    """Measures how much of the attention is on the half of the field with the named digit.

    It is the sum of the weights of the cells in the first digit's half (upper or left) before the
    first name of a digit, and in the other half before the second; the mean over all names.
    Captions and weights are those of `Captioner.write`, axes (N,) those of `Scenes`.
    """
    shares = []
    for words, looked, axis in zip(captions, weights, axes, strict=True):
        steps = [t for t, word in enumerate(words) if word in NAMES]
        for t, inside in zip(steps, (CENTRES[:, axis] < 0, CENTRES[:, axis] > 0), strict=False):
            shares.append(looked[t, inside].sum())
    return float(np.mean(shares)) if shares else 0.0


def draw(scenes: Scenes, captions: list[list[str]], weights: np.ndarray) -> bytes:
    """Draws the first scenes, and the attention before each word of their captions, as a PNG."""
    from matplotlib.figure import Figure  # a second to load; no display is opened this way

    figure = Figure(figsize=(1.5 * T, 1.7 * SHOWN), layout="constrained")
    for n, row in enumerate(figure.subplots(SHOWN, T)):
        for axes, word, looked in zip(row, ["", *captions[n]], [None, *weights[n]], strict=False):
            axes.imshow(scenes.pictures[n, :, :, 0], cmap="gray_r")
            axes.set_title(word or "scene", fontweight="bold" if word in NAMES else "normal")
            if looked is not None:
                shown = np.kron(looked.reshape(G, G), np.ones((F // G, F // G)))
                axes.imshow(shown, cmap="Reds", alpha=0.6, vmin=0, vmax=looked.max())
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.set_visible(bool(axes.images))
    return plots.png(figure)


@dataclass
class Captions:
    """Trains two models that describe pictures of two digits, compares and draws them."""

    epochs: int = 6
    """Passes over the training scenes."""
    units: int = 64
    """Hidden units of the LSTM."""
    seed: int = 1
    """Decides the scenes and the initial weights."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="PATH.png")] = "captions.png"
    """Picture to write."""
    debug: Debug = False

    def __post_init__(self):
        require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        require(self.units >= 2, "units", "2 or more", self.units)
        require(0 <= self.seed < 2**32, "seed", "from 0 to 2^32 - 1", self.seed)
        require(self.output.endswith(".png"), "output", "the name of a .png file", self.output)
        outputs.check_file("output", Path(self.output))


def main(argv: list[str]) -> None:
    """Trains both models, and prints and draws what they write about held-out digits."""
    args = cli.parse(Captions, "captions.py", argv)
    rng = np.random.default_rng(args.seed)
    training, held_out = digits(rng)
    scenes, test = Scenes(*training, TRAINING, rng), Scenes(*held_out, TEST, rng)
    table, some, found = [], [], {}
    for name in ("attention", "mean-pooled"):
        keras.utils.set_random_seed(args.seed)
        model, started = Captioner(args.units, attends=name == "attention"), time.monotonic()
        print(f"{name}: training on {TRAINING} scenes; the first step compiles code")
        model.train(scenes, args.epochs, name)
        seconds = time.monotonic() - started
        captions, weights = found[name] = model.write(test.pictures)
        pairs = [(" ".join(w), c) for w, c in zip(captions, test.captions, strict=True)]
        exact = np.mean([written == right for written, right in pairs])
        half = f"{on_half(captions, weights, test.axes):.1%}" if name == "attention" else "-"
        size = model.model.count_params()
        table.append(f"{name:11} {exact:14.1%} {half:>23} {size:10,} {seconds:7.0f}")
        wrong = [f"  {a} (right: {b})" for a, b in pairs if a != b]
        some += [f"{name}:", *(f"  {a}" for a, b in pairs[:3] if a == b), *wrong[:3]]
    print(f"\nCaptions of {TEST} scenes of held-out digits")
    print(f"{'':11} {'exact captions':>14} {'attention on digit half':>23} parameters seconds")
    print(*table, "", *some, sep="\n")
    captions, weights = found["attention"]
    Path(args.output).write_bytes(draw(test, captions, weights))
    print(f"\n{args.output}")


if __name__ == "__main__":
    sys.exit(cli.run(main, None))
