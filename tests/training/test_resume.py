"""Law: what may change on --resume, and what it is told. No backend is needed to decide it."""

import itertools
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from charlm.config import Config, FitConfig, ModelConfig, SampleConfig
from charlm.errors import InputError
from charlm.runs.progress import Progress
from charlm.training import resume

KEPT = Config(ModelConfig(units=5, layers=2))
OTHERS = {  # another value of each setting
    "cell": "gru", "units": 6, "layers": 3, "dropout": 0.25, "weight_drop": 0.25,
    "activation": "relu", "recurrent_activation": "hard_sigmoid",
    "recurrent_initializer": "glorot_uniform", "forget_bias": 2.0, "output_bias": "zeros",
    "skip": "add", "batch_size": 3, "window": 9, "seed": 77, "restart_every": 0,
    "max_held_out": 5, "corpus": "other.txt", "encoding": "latin-1",
    "normalize": "nfd", "records": "line", "column": "text", "tokens": "bpe:300", "context": "year",
    "abc_fields": "MK", "context_scale": 1.0,
}  # fmt: skip


def changed(part, name):
    mine = getattr(KEPT, part)
    value = OTHERS[name]
    if value == getattr(mine, name):
        value = "unigram"  # the one whose default is the other value
    return replace(KEPT, **{part: replace(mine, **{name: value})})


CASES = [
    (part, f.name)
    for part in ("model", "data")
    for f in fields(getattr(KEPT, part))
    if f.name in OTHERS
]


@pytest.mark.parametrize(("part", "name"), CASES)
@pytest.mark.parametrize("has_optimizer", [True, False])
def test_model_and_text_stay_unless_the_text_only_moved(part, name, has_optimizer):
    asked = changed(part, name)
    free = name in resume.MOVABLE or (
        part == "data" and not has_optimizer and name not in ("tokens", "context")
    )
    if free:
        resume.check_changes(KEPT, asked, has_optimizer)
    else:
        flag = "--" + name.replace("_", "-")
        with pytest.raises(InputError, match=f"cannot change {flag} on --resume"):
            resume.check_changes(KEPT, asked, has_optimizer)


def test_every_setting_of_model_and_data_is_tried():
    names = {f.name for part in ("model", "data") for f in fields(getattr(KEPT, part))}
    assert names - OTHERS.keys() <= {"reset"}  # it goes with a GRU alone


def test_a_layer_of_keras_may_take_the_place_of_ours_and_back():
    theirs = replace(KEPT, model=replace(KEPT.model, cell="keras-lstm"))
    resume.check_changes(KEPT, theirs, True)
    resume.check_changes(theirs, KEPT, True)
    assert resume.changes(KEPT, theirs, True) == ["cell lstm -> keras-lstm"]


def test_changes_are_listed():
    fit = replace(KEPT.fit, epochs=KEPT.fit.epochs + 1, learning_rate=0.5)
    asked = replace(KEPT, fit=fit, sample=SampleConfig(sample_length=3))
    found = resume.changes(KEPT, asked, has_optimizer=False)
    n = KEPT.fit.epochs
    assert f"epochs {n} -> {n + 1}" in found
    assert f"learning_rate {KEPT.fit.learning_rate} -> 0.5" in found
    assert any(line.startswith("sample_length ") for line in found)
    assert "optimizer state reset (the weights came without one)" in found
    assert f"the learning rate now decays over {n + 1} epochs" in found
    assert resume.changes(KEPT, KEPT, has_optimizer=True) == []


@pytest.mark.parametrize(
    ("epoch", "stale", "epochs", "patience"),
    [*itertools.product([1, 3], [0, 2], [2, 3, 4], [0, 2, 3])],
)
def test_a_run_is_over_when_its_epochs_or_its_patience_are(epoch, stale, epochs, patience):
    progress = Progress(epoch=epoch, stale_epochs=stale)
    fit = FitConfig(epochs=epochs, patience=patience)
    ended, early = epoch >= epochs, patience and stale >= patience
    assert resume.is_over(progress, fit) == bool(ended or early)
    if not (ended or early):
        resume.check_unfinished(progress, fit)
        return
    expected = f"{epoch} of {epochs} done" if ended else "already stopped early"
    with pytest.raises(InputError, match=expected):
        resume.check_unfinished(progress, fit)


def test_fine_tuning_keeps_the_model_but_for_dropout():
    for name in ("dropout", "weight_drop"):
        resume.check_same_model(changed("model", name), KEPT, "w.h5")
    with pytest.raises(InputError, match=r"expected --units 5, as w\.h5 was trained with it"):
        resume.check_same_model(changed("model", "units"), KEPT, "w.h5")


@pytest.mark.parametrize(("step", "expected"), [(0, "epoch 3"), (4, "epoch 3, window 5")])
def test_position(step, expected):
    assert resume.position(Progress(epoch=2, step=step)) == expected


def test_no_backend_is_loaded():
    code = "import charlm.training.resume, sys; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
