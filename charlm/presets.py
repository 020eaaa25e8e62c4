"""Presets: settings for a given training time.

docs/results.md and docs/experiments.md explain how they were chosen and what they reach.
"""

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from charlm.config import Config, DataConfig, FitConfig, ModelConfig
from charlm.errors import flag
from charlm.text import units

DEFAULT = "default"
GPU = "-gpu"  # suffix of presets that were chosen for a GPU
RARE = "tokens", "forget_bias", "context_scale", "abc_fields", "context", "batch_size"
NOT_PRESET = "corpus", "encoding", "seed"  # that a preset cannot choose
# for texts that are smaller than those that the presets were chosen on, see `for_size`
UPDATES, EPOCH_UPDATES, MIN_STREAMS = 2000, 100, 2
PATIENCE = 8  # epochs
SIZES = (10_000, 64, 0.3), (100_000, 128, 0.3), (500_000, 256, 0.2)  # characters, units, dropout
LARGE = 1_000_000  # characters
PER_TOKEN, FEWEST_TOKENS = 100, 300  # characters of the text for each token; fewer are of no use
TOO_SMALL = 10_000  # characters: such a text is learned by heart
PRESETS = {
    "quick": Config(
        ModelConfig(units=192, dropout=0.0),
        DataConfig(window=24),
        FitConfig(epochs=1, learning_rate=0.02),
    ),
    DEFAULT: Config(),
    "best": Config(
        ModelConfig(dropout=0.2, weight_drop=0.1),
        fit=FitConfig(epochs=10, learning_rate=0.01),
    ),
    "quick-bpe": Config(
        ModelConfig(units=96, dropout=0.0),
        DataConfig(window=24, tokens="bpe:4000"),
        FitConfig(epochs=2, learning_rate=0.025),
    ),
    "default-bpe": Config(
        ModelConfig(units=256, dropout=0.3, weight_drop=0.2),
        DataConfig(tokens="bpe:4000"),
        FitConfig(epochs=5),
    ),
    "best-bpe": Config(
        ModelConfig(units=384, dropout=0.5, weight_drop=0.5),
        DataConfig(tokens="bpe:4000"),
        FitConfig(epochs=10, learning_rate=0.01),
    ),
    "tunes": Config(
        ModelConfig(units=256, dropout=0.3, weight_drop=0.3, forget_bias=3.0, context_scale=2.0),
        DataConfig(window=64, batch_size=16, abc_fields="MK", context="upbeat"),
        FitConfig(epochs=34),
    ),
    "quick-gpu": Config(
        ModelConfig(units=1024, dropout=0.1),
        fit=FitConfig(epochs=4, learning_rate=0.008),
    ),
    "default-gpu": Config(
        ModelConfig(units=2048, dropout=0.3, weight_drop=0.2),
        fit=FitConfig(epochs=10, learning_rate=0.005, precision="bf16"),
    ),
    "best-gpu": Config(
        ModelConfig(units=2048, dropout=0.4, weight_drop=0.3),
        fit=FitConfig(epochs=20, learning_rate=0.004, precision="bf16"),
    ),
}

# for weights that another program or the NumPy network trained: a lower rate than the presets have
FIT_OF_OTHERS = FitConfig(epochs=6, learning_rate=5e-3, precision="fp32")


def with_model_of(trained: Config, config: Config) -> Config:
    """Returns the settings of a preset for a run that starts from trained weights.

    The model, the tokens and the Unicode form are those of the trained run. The scale of contexts
    is the preset's, because the rows of contexts are new.

    Args:
        trained: settings of the run that the weights come from.
        config: of the preset.
    """
    model = replace(trained.model, context_scale=config.model.context_scale)
    kept = {name: getattr(trained.data, name) for name in ("normalize", "tokens")}
    return replace(config, model=model, data=replace(config.data, **kept))


def flags(config: Config) -> str:
    """Returns the settings in which presets differ, as flags of the command line."""
    return " ".join(_flag(config, *where) for where in _decided() if _is_shown(config, *where))


def describe(name: str, config: Config, own_model: bool = True) -> str:
    """Returns what a preset decided in a run's settings, then what differs from the preset.

    Args:
        name: of the preset.
        config: the run's settings.
        own_model: whether the preset decides on the model; a fine-tuned run's is another run's.
    """
    preset = PRESETS[name]
    parts = ("model", "data", "fit") if own_model else ("data", "fit")
    changed = [
        (part, f.name)
        for part in parts
        for f in fields(getattr(config, part))
        if f.name not in (NOT_PRESET if own_model else (*NOT_PRESET, "tokens"))
        and _value(config, part, f.name) != _value(preset, part, f.name)
    ]
    kept = [
        where
        for where in _decided()
        if where not in changed and where[0] in parts and _is_shown(config, *where)
    ]
    flags_kept = " ".join(_flag(config, *where) for where in kept)
    line = f"preset {name}: {flags_kept or '(every setting was changed)'}"
    if not changed:
        return line
    before = [_value(preset, *x) for x in changed]
    marked = [
        _flag(config, *x) + ("" if was is None else f" (preset: {was})")
        for x, was in zip(changed, before, strict=True)
    ]
    return f"{line}; changed: {', '.join(marked)}"


def _decided():
    """Yields (part, name) of the settings in which presets differ."""
    for part in ("model", "data", "fit"):
        for name in (f.name for f in fields(getattr(Config(), part))):
            if len({_value(c, part, name) for c in (Config(), *PRESETS.values())}) > 1:
                yield part, name


def _is_shown(config, part, name):
    """Whether a setting is worth a place in the line: not the usual value of one of `RARE`."""
    return name not in RARE or _value(config, part, name) != _value(Config(), part, name)


def _flag(config, part, name):
    return f"{flag(name)} {_value(config, part, name)}"


def _value(config, part, name):
    return getattr(getattr(config, part), name)


def tokens_for(tokens: str, characters: int) -> str:
    """Returns the units of a preset for a text: fewer tokens for a small one, or characters.

    Args:
        tokens: of the preset.
        characters: number of characters to train on.
    """
    wanted = units.parse(tokens)
    if wanted is None:
        return tokens
    kind, count = wanted
    count = min(count, characters // PER_TOKEN)
    return f"{kind}:{count}" if count >= FEWEST_TOKENS else units.CHARACTERS


def for_size(
    config: Config, n: int, given: Collection[str] = (), characters: int | None = None
) -> tuple[Config, list[str]]:
    """Adapts settings to a small text.

    An update reads less of it, so that an epoch has `EPOCH_UPDATES`, and epochs are added
    until there are `UPDATES` in all. Networks are smaller, with more dropout, and training stops
    early. A text of `LARGE` characters keeps its settings. docs/experiments.md shows what this
    reaches.

    Args:
        config: the settings of a preset and of the user.
        n: number of characters, or of tokens, to train on.
        given: names of the settings that the user gave, which stay as they are.
        characters: number of characters that n tokens stand for; n by default.

    Returns:
        The settings, and those that were adapted, as flags.
    """
    model, data, fit = config.model, config.data, config.fit
    characters = n if characters is None else characters
    if characters >= LARGE:
        return config, []
    T = min(data.window, max(8, n // 100))
    B = max(MIN_STREAMS, min(data.batch_size, n // (EPOCH_UPDATES * T)))
    changes: dict[str, Any] = {"window": T, "batch_size": B}
    changes["epochs"] = max(fit.epochs, -(-UPDATES * B * T // n))
    for most, width, dropout in SIZES:
        if characters < most:
            changes |= {"units": min(width, model.units), "dropout": max(dropout, model.dropout)}
            changes |= {"patience": fit.patience or PATIENCE}
            break
    found: dict[str, Any] = {}
    adapted: list[str] = []
    for name in ("model", "data", "fit"):
        part = getattr(config, name)
        mine = {
            f.name: changes[f.name]
            for f in fields(part)
            if f.name in changes and f.name not in given
        }
        adapted += [f"{flag(k)} {v}" for k, v in mine.items() if v != getattr(part, k)]
        found[name] = replace(part, **mine)
    return replace(config, **found), adapted
