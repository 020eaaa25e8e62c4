"""Prints samples of the model at several temperatures after each epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from charlm.config import SampleConfig
from charlm.runs import run_folder

PRINTED = 10  # epochs


class SampleText(keras.callbacks.Callback):
    """Samples after each epoch; writes the texts to a file, and prints those of some epochs.

    A run of more than `PRINTED` epochs prints the samples of about as many, evenly spaced, and of
    the last.

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
        self.every = max(1, round(epochs / PRINTED))
        self.waiting: str | None = None  # samples of the last epoch that were not printed
        self.told = False

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
        if (epoch + 1) % self.every == 0:
            self.print(text)
            self.waiting = None
        else:
            self._tell()
            self.waiting = text
        run_folder.add_samples(self.folder, f"=== epoch {epoch + 1} ===\n{text}\n", self.print)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.waiting is not None:
            self.print(self.waiting)
            self.waiting = None

    def _tell(self):
        if not self.told:
            self.told = True
            self.print(
                f"printing the samples of every {self.every} epochs and the last; "
                f"{run_folder.SAMPLES} has all of them"
            )
