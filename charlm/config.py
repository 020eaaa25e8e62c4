"""Every setting of a training run, with its default and the reason or unit of it.

The command line is made from these dataclasses (field name = flag, docstring = help), and a run
stores them, so this is the only place where a setting is declared.
"""

import math
from dataclasses import asdict, dataclass, field, fields

from charlm.errors import InputError

MAX_UNITS, MAX_LAYERS = 16_384, 64  # beyond, a slip of the finger: 2 billion weights a layer


def _check(ok: bool, name: str, expected: str, value) -> None:
    if not ok:
        flag = "--" + name.replace("_", "-")
        raise InputError(f"expected {flag} to be {expected}, found {value}")


def check_temperature(value: float, name: str = "temperature") -> None:
    """Raises InputError unless `value` is finite and at least 0."""
    _check(math.isfinite(value) and value >= 0, name, "a finite number, 0 or more", value)


@dataclass(frozen=True)
class ModelConfig:
    """Model (fixed when a run begins)."""

    units: int = 256
    """Width of each recurrent layer."""
    layers: int = 1
    """Recurrent layers, one on top of another."""
    dropout: float = 0.0
    """Share of each layer's outputs dropped in training, 0 to below 1."""

    def __post_init__(self):
        _check(1 <= self.units <= MAX_UNITS, "units", f"from 1 to {MAX_UNITS}", self.units)
        _check(1 <= self.layers <= MAX_LAYERS, "layers", f"from 1 to {MAX_LAYERS}", self.layers)
        _check(0 <= self.dropout < 1, "dropout", "from 0 to below 1", self.dropout)


@dataclass(frozen=True)
class DataConfig:
    """Text (fixed when a run begins)."""

    corpus: str | None = None
    """state_union (default), state_union_original, pydoc, stdlib, a file, folder, glob or -."""
    encoding: str = "utf-8"
    """Encoding of a file, a folder's files or standard input."""
    batch_size: int = 32
    """Streams of text read side by side."""
    window: int = 32
    """Characters a stream advances in one update; gradients reach back this far, state further."""
    restart_every: int = 100
    """Windows after which, on average, a stream begins anew from a zero state, so that the model
    learns to begin; 0 for never."""
    seed: int = 1
    """Of the first weights, dropout and the order of the text."""

    def __post_init__(self):
        _check(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        _check(self.window >= 1, "window", "1 or more", self.window)
        _check(self.restart_every >= 0, "restart_every", "0 or more", self.restart_every)
        _check(0 <= self.seed < 2**32, "seed", "from 0 to 4294967295", self.seed)


@dataclass(frozen=True)
class FitConfig:
    """Training (may be changed on --resume)."""

    epochs: int = 6
    """Passes over the training text, counted from the run's beginning."""
    decay_epochs: int | None = None
    """Epochs over which the learning rate falls; after them it stays low. Default: --epochs."""
    learning_rate: float = 5e-3
    """Adam's step size after warm-up."""
    warmup_steps: int = 200
    """Updates in which the learning rate rises from 0; at most a tenth of all."""
    final_rate: float = 0.01
    """The learning rate at the end of its cosine fall, as a share of --learning-rate."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm; 0 for no clipping."""
    patience: int = 0
    """Stop after so many epochs without a better validation; 0 for never."""

    def __post_init__(self):
        _check(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        if self.decay_epochs is not None:
            _check(self.decay_epochs >= 1, "decay_epochs", "1 or more", self.decay_epochs)
        ok = math.isfinite(self.learning_rate) and self.learning_rate > 0
        _check(ok, "learning_rate", "a finite number above 0", self.learning_rate)
        _check(self.warmup_steps >= 0, "warmup_steps", "0 or more", self.warmup_steps)
        _check(0 <= self.final_rate <= 1, "final_rate", "from 0 to 1", self.final_rate)
        ok = math.isfinite(self.clip_norm) and self.clip_norm >= 0
        _check(ok, "clip_norm", "a finite number, 0 or more", self.clip_norm)
        _check(self.patience >= 0, "patience", "0 or more", self.patience)


@dataclass(frozen=True)
class SampleConfig:
    """Samples at the end of each epoch (may be changed on --resume)."""

    sample_temperatures: tuple[float, ...] = (0.2, 0.5, 1.0, 1.2)
    """One text at each of these."""
    sample_prompts: tuple[str, ...] = ("",)
    """Texts to continue, each at each temperature."""
    sample_length: int = 200
    """Characters drawn for each text; 0 for no samples."""

    def __post_init__(self):
        for name in ("sample_temperatures", "sample_prompts"):
            expected = "one or more (--sample-length 0 for no samples)"
            _check(len(getattr(self, name)) > 0, name, expected, "none")
        for t in self.sample_temperatures:
            check_temperature(t, "sample_temperatures")
        _check(self.sample_length >= 0, "sample_length", "0 or more", self.sample_length)


@dataclass(frozen=True)
class Config:
    """All that defines a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)

    def to_dict(self) -> dict:
        """As plain lists, numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict) -> "Config":
        """Back from `to_dict`, through JSON or not; settings it lacks take their defaults.

        Raises:
            InputError: a setting this version does not know.
        """
        parts = {}
        for part in fields(cls):
            kind = part.default_factory
            known = {f.name for f in fields(kind)}
            values = stored.get(part.name, {})
            if unknown := set(values) - known:
                raise InputError(
                    f"expected {part.name} settings {sorted(known)}, found {sorted(unknown)}; "
                    "the file may come from a newer charlm"
                )
            parts[part.name] = kind(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            )
        return cls(**parts)

    def differences(self, other: "Config", part: str) -> dict[str, tuple]:
        """{setting: (mine, other's)} where this part of the two differs."""
        mine, theirs = getattr(self, part), getattr(other, part)
        pairs = {f.name: (getattr(mine, f.name), getattr(theirs, f.name)) for f in fields(mine)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
