"""Trains a run with the plain NumPy network of `charlm.reference`."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from charlm.cells import CELLS
from charlm.config import DROPOUTS, Config, DataConfig, ModelConfig, SampleConfig
from charlm.errors import InputError, NonFiniteLossError, flag
from charlm.generation import generate
from charlm.notes import note, progress
from charlm.presets import FIT_OF_OTHERS
from charlm.reference import trainer
from charlm.reference.network import Network, initial_weights
from charlm.reference.trainer import RMSprop
from charlm.runs import atomic, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encoded_text import Text
from charlm.text.units import CharactersPerToken
from charlm.text.windows import HeldOutWindows, TrainingWindows
from charlm.training.resume import differences
from charlm.training.training_windows import (
    characters_per_token,
    held_out_windows,
    training_windows,
)

REPORTS = 10  # progress lines in an epoch

Say = Callable[[str], object]


def check_model(model: ModelConfig, data: DataConfig) -> None:
    """Raises InputError for a model that the NumPy network cannot train."""
    if data.context is not None:
        raise InputError(
            "expected no --context, because the NumPy network has none; leave it out, or give it "
            "to charlm train"
        )
    if not model.uses_own_layer or model != model.without_dropout():
        raise InputError(
            f"expected a cell of {', '.join(CELLS)} and no dropout, found --cell {model.cell} "
            f"--dropout {model.dropout} --weight-drop {model.weight_drop}; charlm train has those"
        )


def check_same_model(asked: ModelConfig, stored: ModelConfig, source: Path) -> None:
    """Raises InputError if a model differs from a stored one, whose weights it is to have.

    Args:
        asked: the settings that the user wants. Those that `check_model` refuses do not count.
        stored: the settings in a run.
        source: the run, for the message.
    """
    for name, (mine, theirs) in differences(Config(asked), Config(stored), "model").items():
        if name in DROPOUTS or (name == "cell" and asked.cell_name == stored.cell_name):
            continue
        raise InputError(
            f"expected {flag(name)} {theirs}, as {source} has, found {flag(name)} {mine}"
        )


@dataclass(frozen=True)
class NumpyRun:
    """A network in training, its text, and the checkpoint that is saved."""

    network: Network
    windows: TrainingWindows
    held_out: HeldOutWindows
    per_token: CharactersPerToken
    checkpoint: Checkpoint
    """The checkpoint; its weights are the network's, which training changes in place."""

    @classmethod
    def start(
        cls,
        model: ModelConfig,
        data: DataConfig,
        text: Text,
        weights: dict[str, np.ndarray] | None = None,
    ) -> "NumpyRun":
        """Makes a run at its first epoch.

        Args:
            model: settings of the network.
            data: settings of the text, with the corpus by its name.
            text: in ids of the network's vocabulary.
            weights: to start from; None for random ones.

        Raises:
            InputError: the text is too short.
        """
        vocab = text.vocab
        if weights is None:
            rng, log_shares = np.random.default_rng(data.seed), text.log_shares(vocab)
            weights = initial_weights(model, len(vocab), rng, log_shares=log_shares)
        network = Network(weights, len(vocab), model)
        checkpoint = Checkpoint(
            config=Config(model, data, FIT_OF_OTHERS),
            vocab=vocab,
            corpus_sha256=text.sha256,
            progress=Progress(),  # the progress of Keras training, which may continue from here
            weights=network.weights,
            optimizer=[],
            carried=[],
            versions={"backend": "numpy", "numpy": np.__version__},
        )
        windows = training_windows(text, data)
        held_out = held_out_windows(text, data)
        return cls(network, windows, held_out, characters_per_token(text, held_out), checkpoint)

    def train(
        self,
        folder: Path,
        optimizer: RMSprop,
        epochs: int,
        clip: float,
        samples: SampleConfig,
        say: Say,
    ) -> None:
        """Trains, saving the weights and printing samples after each epoch.

        Args:
            folder: the run's, locked by the caller.
            optimizer: updates the weights.
            epochs: passes over the training text.
            clip: each element of a gradient is cut to this size; 0 for no clipping.
            samples: temperatures and length of samples; their prompts are not used.
            say: prints a line.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite.
        """
        seed, began = self.checkpoint.config.data.seed, time.perf_counter()
        ratio = self.per_token.training
        for epoch in range(1, epochs + 1):
            self.windows.set_epoch(epoch - 1)
            steps = trainer.train_epoch(self.network, self.windows, optimizer, clip)
            shown = progress(f"epoch {epoch}/{epochs}", len(self.windows))
            with shown as tell, np.errstate(over="ignore", invalid="ignore"):  # the loss is checked
                losses = _losses(steps, len(self.windows), say, tell, ratio)
            if not np.isfinite(losses[-1]):
                raise NonFiniteLossError(
                    f"the loss became NaN or infinite in window {len(losses)} of epoch {epoch}; "
                    "try a lower --learning-rate or --clip-value"
                )
            with progress("measuring held-out text"):
                bits = trainer.evaluate(self.network, self.held_out) / log(2)
                bits /= self.per_token.held_out
            run_folder.save_last(folder, self.checkpoint, say)
            seconds = time.perf_counter() - began
            say(
                f"epoch {epoch}/{epochs}  train {np.mean(losses) / log(2) / ratio:.4f}  held-out "
                f"{bits:.4f} bits/char  {seconds:.0f} s"
            )
            if samples.sample_length:
                self._sample(samples, seed + epoch, folder, epoch, say)

    def describe(self) -> str:
        """Returns the sizes of the network and of the text, in words."""
        model, count = self.network.config, sum(w.size for w in self.network.weights.values())
        training = round(len(self.windows.ids) * self.per_token.training)
        held_out = round(self.held_out.targets * self.per_token.held_out)
        return (
            f"numpy; {model.cell} {model.layers} x {model.units}, backward pass by hand; {count:,} "
            f"parameters; {training:,} characters to train on, {held_out:,} held out; vocabulary "
            f"{self.checkpoint.vocab}"
        )

    def save_text(self, path: Path, length: int, temperature: float, say: Say) -> bool:
        """Writes a text to a file; reports a failure instead of raising it. Returns success."""
        (text,) = self.texts(length, (temperature,), self.checkpoint.config.data.seed)
        written = atomic.try_write(path, text.encode("utf-8", "backslashreplace"), note)
        if written:
            say(f"{length:,} characters of text in {path}")
        return written

    def texts(self, length: int, temperatures: tuple[float, ...], seed: int) -> list[str]:
        """Draws a text at each temperature."""
        network, vocab = self.network, self.checkpoint.vocab
        # a network's `step` reads its weights as they were when it was made
        current = Network(network.weights, len(vocab), network.config)
        end = self.checkpoint.config.data.separator
        return generate.whole_texts(current, vocab, length, temperatures, seed, end)

    def _sample(self, samples, seed, folder, epoch, say):
        """Prints samples and adds them to the run's file."""
        temperatures = samples.sample_temperatures
        texts = self.texts(samples.sample_length, temperatures, seed)
        text = "\n".join(
            f"--- temperature {t:g} ---\n{text}\n"
            for t, text in zip(temperatures, texts, strict=True)
        )
        say(text)
        run_folder.add_samples(folder, f"=== epoch {epoch} ===\n{text}\n", say)


def _losses(
    steps: Iterable[float], windows: int, say: Say, tell: Callable, ratio: float
) -> list[float]:
    """Returns the losses of an epoch up to the first that is not finite, printing progress."""
    losses, each = [], max(1, windows // REPORTS)
    for loss in steps:
        losses.append(loss)
        tell()
        if not np.isfinite(loss):
            break
        if len(losses) % each == 0:
            recent = np.mean(losses[-each:]) / log(2) / ratio
            say(f"  {len(losses) / windows:4.0%}  {recent:.4f} bits/char")
    return losses
