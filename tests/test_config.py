"""Law: a setting that makes no sense is refused by its flag's name, and the rest survive JSON."""

import json

import pytest

from charlm import presets
from charlm.config import Config, DataConfig, FitConfig, ModelConfig, SampleConfig
from charlm.errors import InputError
from charlm.training.resume import differences

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ModelConfig, "units", 0),
        (ModelConfig, "layers", -1),
        (ModelConfig, "dropout", 1.0),
        (ModelConfig, "dropout", NAN),
        (ModelConfig, "cell", "lsmt"),
        (ModelConfig, "cell", "keras-coupled"),
        (ModelConfig, "forget_bias", NAN),
        (ModelConfig, "skip", "add"),
        (DataConfig, "batch_size", 0),
        (DataConfig, "window", 0),
        (DataConfig, "max_held_out", 1),
        (DataConfig, "max_held_out", -1),
        (DataConfig, "seed", -1),
        (FitConfig, "epochs", 0),
        (FitConfig, "decay_epochs", 0),
        (FitConfig, "learning_rate", 0.0),
        (FitConfig, "learning_rate", NAN),
        (FitConfig, "learning_rate", INF),
        (FitConfig, "warmup_steps", -1),
        (FitConfig, "final_rate", 1.5),
        (FitConfig, "clip_norm", -1.0),
        (FitConfig, "clip_norm", INF),
        (FitConfig, "clip_value", -1.0),
        (FitConfig, "clip_value", 0.1),
        (FitConfig, "patience", -1),
        (SampleConfig, "sample_length", -1),
        (SampleConfig, "sample_temperatures", (-0.5,)),
        (SampleConfig, "sample_temperatures", (NAN,)),
    ],
)
def test_settings_out_of_range_are_refused(kind, name, value):
    with pytest.raises(InputError, match="--" + name.replace("_", "-")):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {"forget_bias": 0.0}),
        ("rnn", {"recurrent_activation": "hard_sigmoid"}),
        ("lstm", {"reset": "before"}),
        ("keras-lstm", {"recurrent_initializer": "identity"}),
    ],
)
def test_options_that_a_cell_does_not_have_are_refused(cell, options):
    (name,) = options
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}.*with --cell {cell}"):
        ModelConfig(cell=cell, **options)


def test_survives_json():
    config = Config(
        ModelConfig(units=3, dropout=0.25),
        DataConfig(corpus="a b"),
        FitConfig(decay_epochs=9),
        SampleConfig(sample_temperatures=(0.0, 2.0), sample_prompts=("x", "ÿ")),
    )
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_settings_take_defaults_and_unknown_ones_are_refused():
    found = Config.from_dict(
        {"model": {"units": 7, "output_bias": "unigram"}, "fit": {"precision": "auto"}}
    )
    assert found == Config(ModelConfig(units=7))
    with pytest.raises(InputError, match="newer"):
        Config.from_dict({"model": {"wings": 2}})


def test_settings_that_older_files_lack_mean_what_they_did():
    found = Config.from_dict({"model": {"units": 7}, "fit": {"epochs": 2}})
    assert (found.model.output_bias, found.fit.precision) == ("zeros", "fp32")


def test_the_default_preset_is_the_defaults():
    assert presets.PRESETS[presets.DEFAULT] == Config()


def test_differences_name_the_setting_with_both_values():
    a, b = Config(ModelConfig(units=3)), Config(ModelConfig(units=4))
    assert differences(a, b, "model") == {"units": (3, 4)}
    assert differences(a, b, "fit") == {}
