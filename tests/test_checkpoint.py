"""Law: what is read is what was written, whole; anything else is refused and nothing is lost."""

import h5py
import numpy as np
import pytest

from charlm import checkpoint
from charlm.checkpoint import Checkpoint, Progress
from charlm.config import Config, ModelConfig
from charlm.errors import InputError
from charlm.vocab import Vocab


def made(rng, **changes):
    values = {
        "config": Config(model=ModelConfig(units=5)),
        "vocab": Vocab("\n abé😀"),
        "corpus_sha256": "0" * 64,
        "progress": Progress(epoch=2, step=3, loss_sum=1.5, best=1.25, history=[{"epoch": 1}]),
        "weights": {
            "layers/lstm/cell/vars/0": rng.normal(size=(3, 4)).astype("float32"),
            "layers/dropout/seed_generator/vars/0": np.array([1, 2], "uint32"),
        },
        "optimizer": [np.array(7), rng.normal(size=(3,)).astype("float32")],
        "carried": [rng.normal(size=(2, 5)).astype("float32")] * 12,
        "versions": {"keras": "3"},
    }
    return Checkpoint(**values | changes)


def test_read_undoes_write(rng, tmp_path):
    path, saved = tmp_path / "a.weights.h5", made(rng)
    checkpoint.write(path, saved)
    found = checkpoint.read(path)
    assert found.meta() == saved.meta()
    assert found.config == saved.config
    assert found.weights.keys() == saved.weights.keys()
    for a, b in zip(
        [*(found.weights[k] for k in saved.weights), *found.optimizer, *found.carried],
        [*saved.weights.values(), *saved.optimizer, *saved.carried],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_written_over_good_ones(rng, tmp_path, value):
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, made(rng))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="finite"):
        checkpoint.write(path, made(rng, weights={"layers/x": np.array([value], "float32")}))
    assert path.read_bytes() == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(rng, tmp_path, monkeypatch, call):
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, made(rng))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, call, full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(path, made(rng, optimizer=[]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_other_files_are_refused(rng, tmp_path):
    path = tmp_path / "a.weights.h5"
    with pytest.raises(InputError, match="No such file"):
        checkpoint.read(path)
    path.write_bytes(b"not HDF5")
    with pytest.raises(InputError, match="damaged"):
        checkpoint.read(path)
    with h5py.File(path, "w") as file:
        file["layers/lstm/cell/vars/0"] = np.zeros(3)
    with pytest.raises(InputError, match="no group 'charlm'"):
        checkpoint.read(path)


def test_a_file_cut_anywhere_is_refused(rng, tmp_path):
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, made(rng))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            checkpoint.read(path)


def test_a_newer_format_is_refused(rng, tmp_path, monkeypatch):
    path = tmp_path / "a.weights.h5"
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    checkpoint.write(path, made(rng))
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    with pytest.raises(InputError, match=r"format 1 or older.*found 2"):
        checkpoint.read(path)
