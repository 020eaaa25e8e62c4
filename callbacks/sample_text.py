"""Prints samples of the model at several temperatures after each epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from charlm.config import SampleConfig
from charlm.runs import run_folder

PRINTED = 10  # epochs


class SampleText(keras.callbacks.Callback):
    """Samples after each epoch; writes the texts to a file, and prints those of some epochs.

    A run of more than `PRINTED` epochs prints the samples of about as many, evenly spaced.

    Args:
        sample: (prompt, length, temperatures, seed) -> texts, one for each temperature.
        settings: a `charlm.config.SampleConfig`.
        seed: the run's; the seed of an epoch's samples is made from it.
        folder: the run's; the samples are added to samples.txt in it.
        print: prints them, too.
        epochs: number of epochs of the whole run.
    """

    def __init__(
        self,
        sample: Callable[[str, int, Sequence[float], int], list[str]],
        settings: SampleConfig,
        seed: int,
        folder: Path,
        print: Callable[[str], object] = print,
        epochs: int = 1,
    ):
        super().__init__()
        self.sample, self.settings, self.seed = sample, settings, seed
        self.folder, self.print = folder, print
        self.epochs, self.every = epochs, -(-epochs // PRINTED)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        s = self.settings
        if not s.sample_length:
            return
        _ = self.model  # on JAX, brings the weights up to date
        blocks = []
        for k, prompt in enumerate(s.sample_prompts):
            seed = self.seed + 1_000_003 * (epoch + 1) + k
            texts = self.sample(prompt, s.sample_length, s.sample_temperatures, seed)
            for t, text in zip(s.sample_temperatures, texts, strict=True):
                blocks.append(f"--- temperature {t:g} ---\n{prompt}{text}\n")
        text = "\n".join(blocks)
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.epochs:
            self.print(text)
        elif epoch == 0:
            self.print(
                f"samples of every {self.every} epochs are printed; {run_folder.SAMPLES} has all"
            )
        run_folder.add_samples(self.folder, f"=== epoch {epoch + 1} ===\n{text}\n", self.print)
