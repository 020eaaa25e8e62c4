"""The progress of a run: its position, its history and its best epoch."""

import math
from dataclasses import dataclass, field
from typing import Any

from charlm.errors import InputError

NOT_STORED = {"steps", "updates"}
ROW = {"epoch", "bpc", "val_bpc"}  # every row of history must have these


@dataclass
class Progress:
    """The progress of a run."""

    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Windows completed of the current epoch; 0 between epochs."""
    best: float | None = None
    """Lowest validation loss, in nats per id: a character or a token."""
    best_epoch: int = 0
    stale_epochs: int = 0
    """Epochs since then."""
    history: list[dict] = field(default_factory=list)
    """One row per epoch, counted from 1, with the columns of history.csv."""
    samples_size: int | None = None
    """Bytes of samples.txt when this was saved, if known."""
    steps: list[dict] = field(default_factory=list, compare=False)
    """Losses within the epochs, with the columns of steps.csv; not in the weights file."""
    updates: list[dict] = field(default_factory=list, compare=False)
    """Sizes of updates, with the columns of updates.csv; not in the weights file."""

    @property
    def best_bits(self) -> float | None:
        """Lowest validation loss in bits per character."""
        return self.history[self.best_epoch - 1]["val_bpc"] if self.best_epoch else None

    def stored(self) -> dict[str, Any]:
        """Returns what the weights file holds."""
        return {k: v for k, v in self.__dict__.items() if k not in NOT_STORED}


def read_progress(stored: dict[str, Any]) -> Progress:
    """Returns the stored progress; raises InputError if its numbers contradict each other."""
    if NOT_STORED & stored.keys():
        raise InputError("expected the progress of a run, found rows of its other files in it")
    p = Progress(**stored)
    counts = [p.epoch, p.step, p.best_epoch, p.stale_epochs]
    counts += [] if p.samples_size is None else [p.samples_size]
    values = [x for row in p.history for x in row.values()] + ([] if p.best is None else [p.best])
    ok = all(type(n) is int and n >= 0 for n in counts) and p.epoch == len(p.history)
    ok = ok and all(type(x) in (int, float) and math.isfinite(x) for x in values)
    ok = ok and [row["epoch"] for row in p.history] == [*range(1, p.epoch + 1)]
    ok = ok and all(row.keys() >= ROW for row in p.history)
    if not ok or p.best_epoch > p.epoch:
        raise InputError("expected the progress of a run, found numbers that contradict each other")
    return p
