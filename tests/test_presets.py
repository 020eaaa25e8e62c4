"""Law: a preset is a set of flags, and what is given beside it counts before it."""

import json
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import keras
import pytest

from charlm import cli, presets, train
from charlm.config import Config, DataConfig
from charlm.training import device
from charlm.training.resume import differences
from tests.cli.test_commands import TRAIN, here, one_line_and_nothing_made, snapshot  # noqa: F401

BEGIN = ["--corpus", "small.txt", "--epochs", "1", *TRAIN]


def stored(here, name):  # noqa: F811
    return Config.from_dict(
        json.loads((here / f"saved_models/{name}/run.json").read_text())["config"]
    )


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_preset_is_what_its_flags_say(preset):
    argv = shlex.split(presets.flags(presets.PRESETS[preset]))
    for other in presets.PRESETS:
        default = train.default(train.RunConfig(preset=other))
        for part in ("model", "data"):  # usual values of rare settings are not shown
            usual = {k: v for k, v in asdict(getattr(Config(), part)).items() if k in presets.RARE}
            default = replace(default, **{part: replace(getattr(default, part), **usual)})
        args = train.cli.parse(train.Train, "charlm train", argv, default)
        assert args.config() == presets.PRESETS[preset]


@pytest.mark.soak
def test_flags_count_before_the_preset_and_all_are_told(here, capsys):  # noqa: F811
    assert train.main([*BEGIN, "--preset", "best", "--name", "a", "--dropout", "0.25"]) == 0
    out, _ = capsys.readouterr()
    told = out.splitlines()[0]
    config = stored(here, "a")
    assert told.startswith("preset best: ")
    kept, _, changed = told.partition("; changed: ")
    for marked in ("--units 8 (preset: 512)", "--dropout 0.25 (preset: 0.2)"):
        assert marked in changed
    for flag in ("--units", "--dropout", "--epochs"):
        assert f"{flag} " in changed
        assert f"{flag} " not in kept
    assert "--learning-rate 0.01" in kept
    assert config.fit.learning_rate == presets.PRESETS["best"].fit.learning_rate
    assert config.fit.precision in ("fp32", "bf16")  # what auto means here
    assert train.main([*BEGIN, "--name", "b"]) == 0
    assert "preset default: " in capsys.readouterr()[0]
    assert stored(here, "b").fit.learning_rate == presets.PRESETS["default"].fit.learning_rate


@pytest.mark.soak
def test_a_run_goes_on_without_its_preset(here, capsys):  # noqa: F811
    assert train.main([*BEGIN, "--name", "a", "--preset", "quick"]) == 0
    capsys.readouterr()
    before = snapshot(here)
    code = train.main(["--resume", "a", "--preset", "best"])
    one_line_and_nothing_made(capsys, before, code, "--resume alone.*--preset", here)
    assert train.main(["--resume", "a", "--epochs", "2"]) == 0
    rate = presets.PRESETS["quick"].fit.learning_rate
    assert stored(here, "a").fit.learning_rate == rate


def test_a_preset_that_is_none_is_refused(here, capsys):  # noqa: F811
    before = snapshot(here)
    code = train.main([*BEGIN, "--preset", "fast"])
    one_line_and_nothing_made(capsys, before, code, "--preset .*found fast", here)


SIZE = "--preset quick-gpu was chosen for a GPU"
IDLE = f"there seems to be an NVIDIA GPU that {keras.backend.backend()} cannot use; "


@pytest.mark.parametrize(
    ("gpus", "nvidia", "preset", "told"),
    [
        ([], False, "quick-gpu", [f"{SIZE}; --preset quick is for a CPU"]),
        ([], False, "quick", []),
        ([], True, "quick-gpu", [IDLE, f"{SIZE}; --preset quick is for a CPU"]),
        ([], True, "quick", [IDLE]),
        (["gpu:0"], True, "quick", [f"{SIZE}, under KERAS_BACKEND=jax"]),
        (["gpu:0"], True, "quick-gpu", []),
    ],
)
def test_an_idle_gpu_or_a_preset_for_another_device_is_hinted_at(
    monkeypatch, gpus, nvidia, preset, told
):
    monkeypatch.setattr("charlm.training.device._gpus", lambda: gpus)
    monkeypatch.setattr("charlm.training.device._seems_to_have_nvidia", lambda: nvidia)
    hint = device.hint(preset)
    assert (hint is not None) == bool(told)
    assert all(part in hint for part in told)
    assert SIZE not in (device.hint(None) or "")


@pytest.mark.soak
def test_the_hint_is_for_new_runs_only(here, capsys):  # noqa: F811
    """The sizes of a resumed run, or of one whose weights it starts from, are another run's."""

    def hints(*argv):
        assert train.main([*argv]) == 0
        return [line for line in capsys.readouterr()[0].splitlines() if line.startswith("hint: ")]

    given = "--preset", "quick-gpu", "--precision", "fp32", "--name", "a"
    _too_few_characters, found = hints(*BEGIN, *given)
    assert SIZE in found
    begun = "--init-from", "a", "--corpus", "small.txt", "--epochs", "1", "--name", "b"
    for sizes_of_another in (begun, ("--resume", "a", "--epochs", "2")):
        assert not any("chosen for a GPU" in hint for hint in hints(*sizes_of_another))


def test_the_pages_have_the_presets_as_they_are():
    root = Path(presets.__file__).parent.parent
    page = (root / "docs/results.md").read_text()
    for name, preset in presets.PRESETS.items():
        argv = shlex.split(re.search(rf"^\| {name} \| `(.*)` \|$", page, re.MULTILINE)[1])
        assert cli.parse(Config, "charlm train", argv, Config()) == preset
    told = f"preset {presets.DEFAULT}: {presets.flags(presets.PRESETS[presets.DEFAULT])}\n"
    assert told in (root / "README.md").read_text()


# --- the line that says what the preset decided ---


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_s_own_settings_are_told_without_marks(name):
    config = presets.PRESETS[name]
    assert presets.describe(name, config) == f"preset {name}: {presets.flags(config)}"


@pytest.mark.parametrize("name", ["quick", "best-gpu"])
@pytest.mark.parametrize(
    ("part", "changes", "told"),
    [
        ("model", {"units": 9}, "--units 9 (preset: {})"),
        ("model", {"layers": 2}, "--layers 2 (preset: 1)"),  # which all presets share
        (
            "fit",
            {"epochs": 77, "patience": 3},
            "--epochs 77 (preset: {}), --patience 3 (preset: 0)",
        ),
    ],
)
def test_what_was_changed_is_marked_and_not_called_the_preset_s(name, part, changes, told):
    preset = presets.PRESETS[name]
    changed = replace(getattr(preset, part), **changes)
    line = presets.describe(name, replace(preset, **{part: changed}))
    kept, marked = line.split("; changed: ")
    first = next(iter(changes))
    assert marked == told.format(getattr(getattr(preset, part), first))
    own = [flag for flag in presets.flags(preset).split("--") if flag]
    left = [flag for flag in own if flag.split()[0] not in changes]
    assert kept == f"preset {name}: " + "--" + "--".join(left).strip()


def test_a_run_that_starts_from_weights_has_no_model_of_the_preset():
    preset = presets.PRESETS["best"]
    other = replace(preset, model=replace(preset.model, units=7))
    line = presets.describe("best", other, own_model=False)
    assert "units" not in line
    assert "dropout" not in line
    assert "--epochs 10" in line
    assert "changed" not in line


def test_the_text_and_the_seed_are_no_changes():
    config = presets.PRESETS["quick"]
    data = replace(config.data, corpus="x", encoding="latin-1", seed=5)
    assert "changed" not in presets.describe("quick", replace(config, data=data))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_large_text_keeps_every_setting(name):
    config = replace(presets.PRESETS[name], data=DataConfig(batch_size=256, window=128))
    assert presets.tokens_for("bpe:4000", 1_894_856) == "bpe:4000"
    for n in (presets.LARGE, 1_894_856, 10**10):
        assert presets.for_size(config, n) == (config, [])


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_small_text_gets_enough_updates_of_a_smaller_network(name, rng):
    """Laws: every stream has a window; what was given stays; a larger text never gets less."""
    config, sizes = presets.PRESETS[name], []
    for n in sorted(rng.integers(60, presets.LARGE, 50).tolist()):
        found, flags = presets.for_size(config, n)
        B, T, epochs = found.data.batch_size, found.data.window, found.fit.epochs
        assert n >= B * T + 1
        assert epochs * n / (B * T) >= presets.UPDATES - 1
        assert found.model.units <= config.model.units
        assert found.model.dropout >= config.model.dropout
        sizes.append((B * T, found.model.units, -epochs))
        said = {flag.split()[0]: flag.split()[1] for flag in flags}
        for part in ("model", "data", "fit"):
            for setting, (mine, theirs) in differences(found, config, part).items():
                assert said.pop(f"--{setting.replace('_', '-')}") == str(mine) != str(theirs)
        assert not said
    assert sizes == sorted(sizes, key=lambda x: x[1])
    assert [x[0] for x in sizes] == sorted(x[0] for x in sizes)


@pytest.mark.parametrize(
    ("tokens", "characters", "found"),
    [
        ("bpe:4000", 400_000, "bpe:4000"), ("bpe:4000", 60_000, "bpe:600"),
        ("words:4000", 30_000, "words:300"), ("bpe:4000", 29_999, "characters"),
        ("characters", 10, "characters"),
    ],
)  # fmt: skip
def test_a_small_text_has_fewer_tokens(tokens, characters, found):
    assert presets.tokens_for(tokens, characters) == found


def test_what_is_given_is_not_adapted():
    given = ("units", "batch_size", "window", "epochs", "dropout", "patience")
    for left_out in given:
        _, flags = presets.for_size(presets.PRESETS["default"], 2_000, set(given) - {left_out})
        assert [flag.split()[0] for flag in flags] == [f"--{left_out.replace('_', '-')}"]
    assert presets.for_size(presets.PRESETS["default"], 2_000, given)[1] == []
