"""The settings of a training run, each with its default and its unit or reason.

These dataclasses are the only place where a setting is declared. The command line is built from
them (field name = flag, docstring = help), and a run's weights file stores them.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from charlm.cells import CELLS, CONTEXT_SCALE
from charlm.errors import InputError, check_temperature, require
from charlm.hints import check_fields
from charlm.music.fields import KNOWN
from charlm.text import units
from corpora.contexts import is_name
from corpora.records import MAX_SEPARATOR, separator

DROPOUTS = "dropout", "weight_drop"
MAX_UNITS, MAX_LAYERS = 16_384, 64  # more is a typing error: 2 billion weights per layer
MAX_CONTEXT_SCALE = 1000


@dataclass(frozen=True)
class ModelConfig:
    """Model (cannot change on --resume)."""

    cell: str = "lstm"
    """Recurrent cell: lstm, gru, rnn, coupled; keras-lstm, keras-gru and keras-rnn use Keras's own
    layers."""
    units: int = 512
    """Hidden units of each recurrent layer."""
    layers: int = 1
    """Number of stacked recurrent layers."""
    dropout: float = 0.1
    """Dropout rate of each recurrent layer's outputs. All steps of a window share a mask (Gal and
    Ghahramani 2016)."""
    weight_drop: float = 0.0
    """DropConnect: dropout rate of the recurrent weights, rounded to a multiple of 1/256. All steps
    of a window share a mask."""
    activation: Literal["tanh", "relu", "linear"] = "tanh"
    """Activation of the candidate state; an LSTM applies it to the cell state, too, for its
    output."""
    recurrent_activation: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    """Activation of the gates."""
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity"] = "orthogonal"
    """Initializer of the recurrent weights; identity is for --cell rnn with --activation relu (Le
    et al. 2015)."""
    forget_bias: float = 1.0
    """Initial bias of the LSTM's forget gate; with a value above 0 an untrained cell remembers."""
    output_bias: Literal["zeros", "unigram"] = "unigram"
    """Initial bias of the output layer; unigram: the logarithms of the character frequencies."""
    reset: Literal["after", "before"] = "after"
    """GRU: apply the reset gate after or before the recurrent matrix product."""
    skip: Literal["none", "add"] = "none"
    """add: residual connections; each layer from the second on adds its input to its output."""
    context_scale: float = CONTEXT_SCALE
    """With --context: factor of what a context adds to the inputs of the first layer. With a larger
    one, contexts are learned faster, and by heart where few texts share one."""

    def __post_init__(self):
        names = [*CELLS, *(f"keras-{name}" for name, cell in CELLS.items() if cell.keras)]
        require(self.cell in names, "cell", f"one of {', '.join(names)}", self.cell)
        require(1 <= self.units <= MAX_UNITS, "units", f"from 1 to {MAX_UNITS}", self.units)
        require(1 <= self.layers <= MAX_LAYERS, "layers", f"from 1 to {MAX_LAYERS}", self.layers)
        for name in DROPOUTS:
            require(0 <= getattr(self, name) < 1, name, "from 0 to below 1", getattr(self, name))
        require(math.isfinite(self.forget_bias), "forget_bias", "finite", self.forget_bias)
        ok, found = 0 < self.context_scale <= MAX_CONTEXT_SCALE, self.context_scale
        require(ok, "context_scale", f"above 0, and at most {MAX_CONTEXT_SCALE}", found)
        gates = CELLS[self.cell_name].gates
        for name, fits, needed in (
            ("recurrent_initializer", self.recurrent_initializer != "identity" or gates == "h",
             "orthogonal or glorot_uniform for a cell with gates"),
            ("forget_bias", self.forget_bias == 1 or "f" in gates,
             "1 for a cell without a forget gate"),
            ("reset", self.reset == "after" or "r" in gates,
             "left out for a cell without a reset gate"),
            ("recurrent_activation", self.recurrent_activation == "sigmoid" or gates != "h",
             "left out for a cell without gates"),
            ("skip", self.skip == "none" or self.layers > 1, "left out for a single layer"),
            ("weight_drop", self.uses_own_layer or not self.weight_drop,
             "0 for Keras's own layers"),
        ):  # fmt: skip
            require(fits, name, needed, f"{getattr(self, name)} with --cell {self.cell}")

    def without_dropout(self) -> "ModelConfig":
        """Returns the settings without dropout, on which the weights' shapes do not depend."""
        none: dict[str, Any] = dict.fromkeys(DROPOUTS, 0.0)
        return replace(self, **none)

    @property
    def cell_name(self) -> str:
        """The name of the cell, without "keras-"."""
        return self.cell.removeprefix("keras-")

    @property
    def uses_own_layer(self) -> bool:
        """Whether the layer is one of charlm's, not Keras's."""
        return self.cell == self.cell_name


NO_TEXT = ""  # the corpus of a run that was imported without a text


@dataclass(frozen=True)
class DataConfig:
    """Text (on --resume only --corpus and --encoding may change)."""

    corpus: str | None = None
    """Text to train on: state_union (default), state_union_original, inaugural, pydoc, stdlib, a
    file, folder, glob, or - for standard input."""
    encoding: str = "utf-8"
    """Encoding of --corpus, if it is a file, a folder, a glob or standard input. A byte order mark
    of UTF-16 or UTF-32 overrides utf-8."""
    normalize: Literal["none", "nfc", "nfd", "nfkc"] = "none"
    """Unicode normalization of the text and of all prompts. nfc: letters with their accents; nfd:
    letters and accents apart; nfkc: nfc, and variants such as ligatures become plain letters."""
    records: str | None = None
    """Read --corpus as many short texts (tweets, tunes, names) and train on each as a document of
    its own. They end with: blank (an empty line), line (the end of a line), or this text, in which
    \\n is a newline and \\t a tab. Samples begin and end where a record does."""
    column: str | None = None
    """Read --corpus as a table and train on this column of it; each row is a record. CSV with a
    header row, or JSON Lines. The texts end with an empty line unless --records says otherwise."""
    abc_fields: str | None = None
    """Read --corpus as tunes in ABC notation and keep only these fields of their headers: MK for
    metre and key. Also leaves out grace notes, decorations, chord symbols and comments. Each tune
    is a record; K: is always kept, L: and M: where lengths need them. charlm tunes writes tunes."""
    tokens: str = units.CHARACTERS
    """Units of the text: characters; bpe:N, N byte-pair tokens learned from it (for example
    bpe:4000); or words:N, its N most frequent words, with other words spelled in smaller tokens.
    bpe and words need the extra "tokens"."""
    context: str | None = None
    """Condition the network on this field of each text. State of the Union: president, party, year
    or decade; files: folder or file; with --column, another column; with --records, FIELD in a line
    "FIELD: value" of the record; with --abc-fields, upbeat: the metre and the length of the
    upbeat."""
    batch_size: int = 32
    """Batch size: number of streams of text that are read in parallel, one in each batch row."""
    window: int = 32
    """Sequence length (window): characters, or tokens, of each stream in an update. Truncated
    back-propagation through time: gradients stop at the window's start, the hidden state is carried
    over."""
    restart_every: int = 100
    """Average number of windows after which a stream's hidden state is reset to zero, so that the
    model also learns to start a text; 0 for never."""
    max_held_out: int = 2_000_000
    """Maximum number of held-out (validation) characters to measure after each epoch, spread evenly
    over the held-out text; 0 for no limit. The default adds 5% to an epoch of a 20 MB text."""
    seed: int = 1
    """Random seed of the initial weights, of dropout and of the order of the text."""

    def __post_init__(self):
        end = self.separator
        ok = end is None or 1 <= len(end) <= MAX_SEPARATOR
        expected = f"blank, line, or a text of 1 to {MAX_SEPARATOR} characters"
        require(ok, "records", expected, repr(self.records))
        require(self.column != "", "column", "the name of a column", "''")
        fields = self.abc_fields
        ok = fields is None or 0 < len(fields) == len({*fields} & {*KNOWN})
        require(ok, "abc_fields", f"different letters of fields ({KNOWN})", fields or "none")
        if fields is not None:  # "KM" is the same as "MK"
            object.__setattr__(self, "abc_fields", "".join(sorted(fields)))
        if fields is not None and (self.column is not None or self.records not in (None, "blank")):
            raise InputError("--abc-fields has its own records; leave out --records and --column")
        ok, found = self.context is None or is_name(self.context), repr(self.context)
        require(ok, "context", "the name of a field", found)
        ok = self.context is None or self.context != self.column
        require(ok, "context", "another column than --column", found)
        require(units.is_valid(self.tokens), "tokens", units.EXPECTED, self.tokens or "none")
        require(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        require(self.window >= 1, "window", "1 or more", self.window)
        require(self.restart_every >= 0, "restart_every", "0 or more", self.restart_every)
        ok = self.max_held_out == 0 or self.max_held_out >= 2
        require(ok, "max_held_out", "0, or 2 or more", self.max_held_out)
        require(0 <= self.seed < 2**32, "seed", "from 0 to 4294967295", self.seed)

    @property
    def separator(self) -> str | None:
        """The text that ends each record; None for a text without records."""
        return separator(self.record_ends, self.column, self.normalize)

    @property
    def record_ends(self) -> str | None:
        """The setting `records`, or what takes its place if `abc_fields` is given."""
        return "blank" if self.abc_fields is not None else self.records


@dataclass(frozen=True)
class FitConfig:
    """Training (may be changed on --resume)."""

    epochs: int = 3
    """Passes over the training text; on --resume, those already done count too."""
    decay_epochs: int | None = None
    """Epochs of the cosine decay, after which the learning rate stays at its end value. Default:
    --epochs."""
    learning_rate: float = 0.012
    """Peak learning rate of Adam, reached after warm-up."""
    warmup_steps: int = 200
    """Warm-up: updates over which the learning rate rises from 0, at most a tenth of all."""
    final_rate: float = 0.01
    """Learning rate at the end of the cosine decay, as a fraction of --learning-rate."""
    clip_norm: float = 1.0
    """Gradient clipping by global norm: larger gradients are scaled down to it; 0 for none."""
    clip_value: float = 0.0
    """Gradient clipping by value: each element is limited to this size; 0 for none. Needs
    --clip-norm 0."""
    patience: int = 0
    """Early stopping: stop after this many epochs without a lower held-out (validation) loss; 0 for
    never."""
    save_every: int = 0
    """Number of windows (updates) between saves within an epoch, rounded up; 0: save only at the
    end of an epoch."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Mixed precision. bf16, fp16: the recurrent layers multiply in half precision; weights,
    states, gates and logits stay in float32. auto: bf16 if compiled kernels run on a processor on
    which it was measured to be faster (AMD Zen 4), else fp32. A run keeps that choice."""

    def __post_init__(self):
        require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        if self.decay_epochs is not None:
            require(self.decay_epochs >= 1, "decay_epochs", "1 or more", self.decay_epochs)
        ok = math.isfinite(self.learning_rate) and self.learning_rate > 0
        require(ok, "learning_rate", "a finite number above 0", self.learning_rate)
        require(0 <= self.final_rate <= 1, "final_rate", "from 0 to 1", self.final_rate)
        for name in ("clip_norm", "clip_value"):
            ok = math.isfinite(getattr(self, name)) and getattr(self, name) >= 0
            require(ok, name, "a finite number, 0 or more", getattr(self, name))
        ok, found = not (self.clip_norm and self.clip_value), f"{self.clip_value} with --clip-norm"
        require(ok, "clip_value", "0 unless --clip-norm is 0", f"{found} {self.clip_norm}")
        for name in ("warmup_steps", "patience", "save_every"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))


@dataclass(frozen=True)
class SampleConfig:
    """Samples after each epoch (may be changed on --resume)."""

    sample_temperatures: tuple[float, ...] = (0.2, 0.5, 1.0, 1.2)
    """Sampling temperatures; one text for each temperature and prompt."""
    sample_prompts: tuple[str, ...] = ("",)
    """Prompts: texts to continue, at each temperature."""
    sample_length: int = 200
    """Characters in each sample; 0 for no samples."""

    def __post_init__(self):
        for name in ("sample_temperatures", "sample_prompts"):
            expected = "one or more (--sample-length 0 for no samples)"
            require(len(getattr(self, name)) > 0, name, expected, "none")
        for t in self.sample_temperatures:
            check_temperature(t, "sample_temperatures")
        require(self.sample_length >= 0, "sample_length", "0 or more", self.sample_length)


BEFORE = {  # values of settings for runs that were saved before the settings existed
    "model": {"output_bias": "zeros"},
    "fit": {"precision": "fp32"},
}


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)

    def to_dict(self) -> dict:
        """Returns the settings as lists, numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict) -> "Config":
        """Reads the result of `to_dict`; missing settings take their defaults, or `BEFORE`.

        Raises:
            InputError: a setting is unknown to this version or has the wrong type.
        """
        parts = {}
        for part in fields(cls):
            kind: Any = part.default_factory
            values = BEFORE.get(part.name, {}) | stored.get(part.name, {})
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            check_fields(values, kind, part.name)
            parts[part.name] = kind(**values)
        return cls(**parts)
