"""`charlm reference`: a network trained in plain NumPy, its gradients written by hand."""

import sys
import time
from dataclasses import dataclass, field, fields, replace
from math import log
from pathlib import Path

import numpy as np

from charlm import cli
from charlm.cells import CELLS
from charlm.cli import outputs
from charlm.config import DROPOUTS, Config, DataConfig, ModelConfig, check_temperature, require
from charlm.errors import InputError, command_line
from charlm.generation import generate
from charlm.reference import gradient_check, trainer
from charlm.reference.loss import softmax_cross_entropy
from charlm.reference.network import Network, initial_weights
from charlm.runs import atomic, checkpoint, run_folder
from charlm.runs.checkpoint import Checkpoint, Progress
from charlm.text.windows import HeldOutWindows, TrainingWindows

TOLERANCE = 1e-6  # of --check: relative, in float64
REPORTS = 10  # lines an epoch
WITH_CHECK = {"check", "init", "runs_dir", "debug"}  # the options of a run that it uses


@dataclass(frozen=True)
class ReferenceConfig:
    """The run."""

    epochs: int = 2
    """Passes over the training text."""
    learning_rate: float = 2e-3
    """RMSprop's."""
    decay: float = 0.95
    """Share of RMSprop's moving average of squares that stays at each update."""
    clip_value: float = 5.0
    """Each element of a gradient is cut to this size; 0 for no clipping."""
    sample_temperatures: tuple[float, ...] = (0.5, 1.0)
    """After each epoch, one text at each of these."""
    sample_length: int = 200
    """Characters of such a text; 0 for none."""
    text_file: Path | None = None
    """After training, write a text here."""
    text_length: int = 10_000
    """Its characters; its temperature is the first of --sample-temperatures."""
    init: str | None = None
    """Begin with the weights of a run: its folder, a .weights.h5 file, or "latest"."""
    check: bool = False
    """Do not train; hold the gradients by hand to numeric ones and name the worst tensor."""
    name: str | None = None
    """Folder in --runs-dir; by default the corpus and the time."""
    overwrite: bool = False
    """Replace a run of the same name."""
    runs_dir: Path = Path("saved_models")
    """Where runs are."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        ok = 0 < self.learning_rate < np.inf
        require(ok, "learning_rate", "a finite number above 0", self.learning_rate)
        require(0 <= self.decay < 1, "decay", "from 0 to below 1", self.decay)
        ok = 0 <= self.clip_value < np.inf
        require(ok, "clip_value", "a finite number, 0 or more", self.clip_value)
        require(self.sample_temperatures, "sample_temperatures", "one or more", "none")
        require(self.sample_length >= 0, "sample_length", "0 or more", self.sample_length)
        require(self.text_length >= 1, "text_length", "1 or more", self.text_length)
        for t in self.sample_temperatures:
            check_temperature(t, "sample_temperatures")


@dataclass(frozen=True)
class Reference:
    """Trains a character model in plain NumPy, with hand-derived gradients, for a reader.

    Its files are charlm train's: each goes on with the other's weights (--init; --resume there).
    """

    run: ReferenceConfig = field(default_factory=ReferenceConfig)
    model: ModelConfig = field(default_factory=lambda: ModelConfig(units=128))
    data: DataConfig = field(default_factory=DataConfig)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.run(_main, argv)


def _main(argv):
    run = cli.parse_part(ReferenceConfig, "charlm reference", argv)
    if run.init is None:
        args, saved = cli.parse(Reference, "charlm reference", argv), None
    else:
        args, saved = _begun(run, argv)
    if not args.model.uses_own_layer or args.model != args.model.without_dropout():
        raise InputError(
            f"expected a cell of {', '.join(CELLS)} and no dropout, found --cell "
            f"{args.model.cell} --dropout {args.model.dropout} --weight-drop "
            f"{args.model.weight_drop}; charlm train has those"
        )
    if args.run.check:
        _check_alone(args)
        return _check(args.model, args.data.seed)
    _check_text_file(args.run)
    corpus = cli.corpus(args.data, saved, command_line("reference", *argv))
    text = cli.text(corpus)
    if saved:
        text = text.translated(saved.vocab)
    vocab = text.vocab
    data = replace(args.data, corpus=corpus.name)
    if saved is None:
        rng, log_shares = np.random.default_rng(data.seed), text.log_shares(vocab)
        weights = initial_weights(args.model, len(vocab), rng, log_shares=log_shares)
    else:
        weights = saved.weights
    network = Network(weights, len(vocab), args.model)
    windows = TrainingWindows(
        text.training, data.batch_size, data.window, data.seed, data.restart_every
    )
    held_out = HeldOutWindows(text.to_measure(data.max_held_out))
    folder = run_folder.new(args.run.runs_dir, args.run.name, corpus.name, args.run.overwrite)
    begun = Checkpoint(
        config=Config(model=args.model, data=data),
        vocab=vocab,
        corpus_sha256=text.sha256,
        progress=Progress(),  # of Keras's training, which may go on with the weights
        weights=network.weights,
        optimizer=[],
        carried=[],
        versions={"backend": "numpy", "numpy": np.__version__},
    )
    with run_folder.locked(folder):
        run_folder.clear(folder, args.run.overwrite)
        return _train(args.run, network, vocab, windows, held_out, folder, begun)


def _check_text_file(run):
    """Before minutes of training, not after."""
    path = run.text_file
    if path is None:
        return
    outputs.check_file("text_file", path)
    # it is replaced, not written into
    require(not path.is_symlink(), "text_file", "a regular file or a new one", f"{path}, a link")
    if path.exists() and not run.overwrite:
        raise InputError(f"expected {path} to be free, found a file; --overwrite replaces it")


def _begun(run, argv):
    """The options with a saved run's model in the place of the defaults, and its checkpoint."""
    found = run_folder.find(run.runs_dir, run.init)
    saved = checkpoint.read(run_folder.weights_file(found, (run_folder.BEST, run_folder.LAST)))
    kept = replace(saved.config.model.without_dropout(), cell=saved.config.model.cell_name)
    default = Reference(run, kept, replace(saved.config.data, corpus=None))  # unless it is given
    args = cli.parse(Reference, "charlm reference", argv, default)
    differences = Config(args.model).differences(Config(kept), "model")
    for name, (asked, stored) in differences.items():
        if name in DROPOUTS or (name == "cell" and args.model.cell_name == kept.cell_name):
            continue  # refused with or without a run
        flag = "--" + name.replace("_", "-")
        raise InputError(f"expected {flag} {stored}, as {found} has, found {flag} {asked}")
    return args, saved


def _train(run, network, vocab, windows, held_out, folder, begun):
    model, seed = begun.config.model, begun.config.data.seed
    count = sum(w.size for w in network.weights.values())
    cli.say(
        f"numpy; {model.cell} {model.layers} x {model.units}, backward pass by hand; {count:,} "
        f"parameters; {len(windows.ids):,} characters to train on, {held_out.targets:,} held out; "
        f"vocabulary {len(vocab)}; {folder}"
    )
    optimizer = trainer.RMSprop(run.learning_rate, run.decay)
    began = time.perf_counter()
    for epoch in range(1, run.epochs + 1):
        windows.set_epoch(epoch - 1)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            losses = _train_epoch(
                trainer.train_epoch(network, windows, optimizer, run.clip_value), len(windows)
            )
        if not np.isfinite(losses[-1]):
            where = f"window {len(losses)} of epoch {epoch}"
            hint = "try a lower --learning-rate or --clip-value"
            print(f"stopped: the loss became no number in {where}; {hint}", file=sys.stderr)
            return cli.FAILED
        bits = trainer.evaluate(network, held_out) / log(2)
        run_folder.save_last(folder, begun, cli.say)
        seconds = time.perf_counter() - began
        cli.say(
            f"epoch {epoch}/{run.epochs}  train {np.mean(losses) / log(2):.4f}  held-out "
            f"{bits:.4f} bits/char  {seconds:.0f} s"
        )
        if run.sample_length:
            _sample(network, vocab, run, seed + epoch, folder, epoch)
    kept = run.text_file is None or _write_text(network, vocab, run, seed)
    cli.say(
        f"done: {folder}; write text with: {command_line('sample', folder)}; go on in Keras "
        f"with: {command_line('train', '--resume', folder)}"
    )
    return 0 if kept else cli.FAILED


def _write_text(network, vocab, run, seed):
    (text,) = _texts(network, vocab, run.text_length, run.sample_temperatures[:1], seed)
    kept = atomic.try_write(run.text_file, text.encode("utf-8", "backslashreplace"), cli.note)
    if kept:
        cli.say(f"{run.text_length:,} characters of text in {run.text_file}")
    return kept


def _train_epoch(steps, windows):
    """All losses of an epoch, up to the first that is no number; tells of them on the way."""
    losses, each = [], max(1, windows // REPORTS)
    for loss in steps:
        losses.append(loss)
        if not np.isfinite(loss):
            break
        if len(losses) % each == 0:
            cli.say(
                f"  {len(losses) / windows:4.0%}  {np.mean(losses[-each:]) / log(2):.4f} bits/char"
            )
    return losses


def _sample(network, vocab, run, seed, folder, epoch):
    texts = _texts(network, vocab, run.sample_length, run.sample_temperatures, seed)
    text = "\n".join(
        f"--- temperature {t:g} ---\n{text}\n"
        for t, text in zip(run.sample_temperatures, texts, strict=True)
    )
    cli.say(text)
    run_folder.add_samples(folder, f"=== epoch {epoch} ===\n{text}\n", cli.say)


def _texts(network, vocab, length, temperatures, seed):
    network = Network(network.weights, len(vocab), network.config)  # of the weights as they are now
    pieces = generate.texts(network, vocab, "", length, temperatures, seed)
    return ["".join(text) for text in zip(*pieces, strict=True)]


def _check_alone(args):
    """Refuses options of a training, which would have no effect."""
    given = {f.name: getattr(args.run, f.name) for f in fields(args.run)} | {
        "corpus": args.data.corpus
    }
    defaults = {f.name: f.default for f in fields(args.run)} | {"corpus": None}
    for name in sorted(given.keys() - WITH_CHECK):
        ok = given[name] == defaults[name]
        require(
            ok, name, "left out with --check, which neither reads a text nor trains", given[name]
        )


def _check(config, seed):
    """Gradients of a small network of the same cell and options, every tensor of it."""
    config = replace(config, units=4)
    B, T, V = 2, 6, 7
    rng = np.random.default_rng(seed)
    weights = initial_weights(config, V, rng, np.float64)
    for w in weights.values():
        w += 0.3 * rng.normal(size=w.shape)  # or biases would all be alike
    ids, targets = rng.integers(V, size=(2, B, T))
    network = Network(weights, V, config, np.float64)

    def loss():
        logits, _, _ = network.forward(ids, network.initial_states(B))
        return softmax_cross_entropy(logits, targets)[0]

    logits, _, cache = network.forward(ids, network.initial_states(B))
    gradients, _ = network.backward(softmax_cross_entropy(logits, targets)[1], cache)
    name, error = gradient_check.worst(loss, network.weights, gradients)
    print(
        f"{config.cell}: {len(gradients)} tensors, gradients by hand against central differences "
        f"in float64; worst {name}, relative error {error:.1e}"
    )
    return 0 if error < TOLERANCE else cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
