"""Prints samples of the model at several temperatures after each epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from charlm.config import SampleConfig
from charlm.runs import run_folder


class SampleText(keras.callbacks.Callback):
    """Samples after each epoch; writes the texts to the terminal and to a file.

    Args:
        sample: (prompt, length, temperatures, seed) -> texts, one for each temperature.
        settings: a `charlm.config.SampleConfig`.
        seed: the run's; the seed of an epoch's samples is made from it.
        folder: the run's; the samples are added to samples.txt in it.
        print: prints them, too.
    """

    def __init__(
        self,
        sample: Callable[[str, int, Sequence[float], int], list[str]],
        settings: SampleConfig,
        seed: int,
        folder: Path,
        print: Callable[[str], object] = print,
    ):
        super().__init__()
        self.sample, self.settings, self.seed = sample, settings, seed
        self.folder, self.print = folder, print

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
        self.print(text)
        run_folder.add_samples(self.folder, f"=== epoch {epoch + 1} ===\n{text}\n", self.print)
