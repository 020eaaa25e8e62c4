"""Presets: settings for a given training time.

docs/results.md and docs/experiments.md explain how they were chosen and what they reach.
"""

from dataclasses import fields

from charlm.config import Config, DataConfig, FitConfig, ModelConfig

DEFAULT = "default"
GPU = "-gpu"  # suffix of presets that were chosen for a GPU
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


def flags(config: Config) -> str:
    """Returns the settings in which presets differ, as flags of the command line."""
    found = []
    for part in ("model", "data", "fit"):
        mine = getattr(config, part)
        for name in (f.name for f in fields(mine)):
            values = {getattr(getattr(c, part), name) for c in (Config(), *PRESETS.values())}
            if len(values) > 1:
                found.append(f"--{name.replace('_', '-')} {getattr(mine, name)}")
    return " ".join(found)
