"""Measures settings on small texts, against n-gram models of the same text.

    python -m charlm.experiments.small_texts [--sizes 2000 20000 200000] [FLAGS of charlm train ...]

Each text is the beginning of a longer one; its last tenth is held out. A row has the settings, the
lowest held-out bits per character, the epoch that reached it, and the seconds.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import tyro

import corpora
from charlm import presets
from charlm.config import Config
from charlm.evaluation.losses import bits
from charlm.evaluation.ngram import NGram
from charlm.text import encode
from charlm.text.encoded_text import Text
from corpora import Corpus, Document


@dataclass(frozen=True)
class SmallTexts:
    """Measures settings on small texts; give several values to try them all."""

    corpus: tuple[str, ...] = ("state_union", "pydoc")
    sizes: tuple[int, ...] = (2_000, 20_000, 200_000)
    """Characters."""
    adapted: bool = False
    """Measure the settings that charlm train chooses, and those of the preset."""
    units: tuple[int, ...] = (128,)
    batch_size: tuple[int, ...] = (8,)
    window: tuple[int, ...] = (32,)
    updates: tuple[int, ...] = (2000,)
    dropout: tuple[float, ...] = (0.3,)
    weight_drop: tuple[float, ...] = (0.0,)
    learning_rate: tuple[float, ...] = (0.005,)

    def configs(self, n: int) -> Iterator[Config]:
        """Yields the settings to try on a text of n characters to train on."""
        if self.adapted:
            yield presets.for_size(Config(), n)[0]
            yield Config()
            return
        for units, B, T, updates, dropout, weight_drop, rate in itertools.product(
            self.units, self.batch_size, self.window, self.updates, self.dropout,
            self.weight_drop, self.learning_rate,
        ):  # fmt: skip
            base = Config()
            epochs = max(1, round(updates * B * T / n))
            yield Config(
                replace(base.model, units=units, dropout=dropout, weight_drop=weight_drop),
                replace(base.data, batch_size=B, window=T),
                replace(base.fit, epochs=epochs, learning_rate=rate),
            )


def start_of(name: str, size: int) -> Text:
    """Encodes the first characters of a corpus as a text of one document."""
    whole = "".join(d.text for d in corpora.load(name).documents[20:])
    return encode.read(Corpus(name, (Document(name, whole[:size]),)))


def simple_models(text: Text) -> dict[str, float]:
    """Measures a unigram and a 6-gram model, in bits per character."""
    gram = NGram(text.training, len(text.vocab))
    return {f"{n}-gram": bits([gram.losses(text.held_out, n)]) for n in (1, gram.order)}


def trained(text: Text, config: Config) -> tuple[float, int, float]:
    """Trains; returns the lowest held-out bits per character, its epoch, and the seconds."""
    from callbacks import TrackProgress
    from charlm.training.trainer import Training

    began = time.monotonic()
    training = Training(config, text)
    size = config.data.batch_size * config.data.window
    training.fit([TrackProgress(training.progress, size, training.windows().steps)])
    p = training.progress
    return p.history[p.best_epoch - 1]["val_bpc"], p.best_epoch, time.monotonic() - began


def main() -> None:
    """Prints a table."""
    args = tyro.cli(SmallTexts)
    for name, size in itertools.product(args.corpus, args.sizes):
        text = start_of(name, size)
        print(f"{name}, {size:,}: {simple_models(text)}", flush=True)
        for config in args.configs(len(text.training)):
            if len(text.training) <= config.data.batch_size * config.data.window:
                continue
            found, epoch, seconds = trained(text, config)
            m, d, f = config.model, config.data, config.fit
            print(
                f"  {found:.4f} in epoch {epoch} of {f.epochs}, {seconds:.0f} s: --units {m.units} "
                f"--batch-size {d.batch_size} --window {d.window} --dropout {m.dropout} "
                f"--weight-drop {m.weight_drop} --learning-rate {f.learning_rate}",
                flush=True,
            )


if __name__ == "__main__":
    main()
