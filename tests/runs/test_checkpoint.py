"""Law: what is read is what was written, whole; anything else is refused and nothing is lost."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from charlm.config import Config, ModelConfig
from charlm.errors import InputError
from charlm.reference.network import shapes
from charlm.runs import checkpoint, file_format
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab

VOCAB, MODEL = Vocab("\n abé😀"), ModelConfig(units=2)


def made(rng, **changes):
    """A checkpoint of a small run."""
    weights = {
        path: rng.normal(size=shape).astype("float32")
        for path, shape in shapes(MODEL, len(VOCAB)).items()
    }
    weights["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], "uint32")
    rows = [{"epoch": k, "bpc": 2.5 - k, "val_bpc": 1.25} for k in (1, 2)]
    values = {
        "config": Config(model=MODEL),
        "vocab": VOCAB,
        "corpus_sha256": "0" * 64,
        "progress": Progress(2, 3, 1.25, 1, 1, rows, 100),
        "weights": weights,
        "optimizer": [np.array(7), rng.normal(size=(3,)).astype("float32")],
        "carried": [rng.normal(size=(2, 5)).astype("float32")] * 12,
        "metrics": [np.float32(3.25), np.float32(6.0)],
        "versions": {"keras": "3"},
    }
    return Checkpoint(**values | changes)


def test_read_undoes_write(rng, tmp_path):
    path, saved = tmp_path / "a.weights.h5", made(rng)
    checkpoint.write(path, saved)
    found = checkpoint.read(path)
    assert found.meta() == saved.meta()
    assert found.config == saved.config
    assert found.progress == saved.progress
    mine, read_back = saved.arrays(), found.arrays()
    assert mine.keys() == read_back.keys()
    assert len(mine) == 6 + 2 + 12 + 2
    for name, array in mine.items():
        np.testing.assert_array_equal(array, read_back[name])
        assert array.dtype == read_back[name].dtype
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_a_file_in_which_keras_would_find_other_arrays_is_not_saved(rng, monkeypatch):
    """Its description leads charlm to one array, and HDF5 leads Keras to another."""
    data = checkpoint.to_bytes(made(rng))
    file_format.check_hdf5(data)
    meta = file_format._description(data)
    before = json.dumps(meta, ensure_ascii=True).encode()
    places, pair = meta["arrays"], ("charlm/carried/3", "charlm/carried/4")
    places[pair[0]], places[pair[1]] = places[pair[1]], places[pair[0]]
    after = json.dumps(meta, ensure_ascii=True).encode()
    assert data.count(before) == 1
    assert len(after) == len(before)
    crossed = file_format.with_checksum(data.replace(before, after))
    with pytest.raises(InputError, match="expected HDF5 to hold the arrays of the description"):
        file_format.check_hdf5(crossed)
    monkeypatch.setattr(checkpoint, "to_bytes", lambda saved: crossed)
    with pytest.raises(OSError, match="arrays of the description"):
        checkpoint.to_verified_bytes(made(rng, carried=made(rng).carried))


@pytest.mark.parametrize("part", ["weights", "optimizer", "carried", "metrics"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_written_over_what_is(rng, tmp_path, value, part):
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, made(rng))
    before = path.read_bytes()
    odd, array = made(rng), np.array([value], "float32")
    changed = odd.weights | {"layers/dense/vars/1": array} if part == "weights" else [array]
    with pytest.raises(checkpoint.NotFiniteError, match="finite"):
        checkpoint.write(path, made(rng, **{part: changed}))
    assert path.read_bytes() == before


def test_what_cannot_be_read_back_is_not_written(rng, tmp_path, monkeypatch):
    path = tmp_path / "a.weights.h5"
    checkpoint.write(path, made(rng))
    before, right = path.read_bytes(), checkpoint.to_bytes

    def swallowed(saved):  # as HDF5 does with a passing error of the disk
        lost = made(rng, carried=[np.zeros_like(x) for x in saved.carried])
        return right(dataclasses.replace(saved, carried=lost.carried))

    monkeypatch.setattr(checkpoint, "to_bytes", swallowed)
    with pytest.raises(OSError, match="read back"):
        checkpoint.write(path, made(rng))
    assert path.read_bytes() == before


def test_other_files_are_refused(rng, tmp_path):
    path = tmp_path / "a.weights.h5"
    with pytest.raises(InputError, match="No such file"):
        checkpoint.read(path)
    path.write_bytes(b"not HDF5")
    with pytest.raises(InputError, match="no HDF5 file"):
        checkpoint.read(path)
    with h5py.File(path, "w") as file:
        file["layers/lstm/cell/vars/0"] = np.zeros(3)
    with pytest.raises(InputError, match="no group 'charlm'"):
        checkpoint.read(path)


def test_a_newer_format_is_refused(rng, tmp_path):
    path = tmp_path / "a.weights.h5"
    now = file_format.FORMAT
    saved = made(rng)
    path.write_bytes(file_format.to_bytes(saved.meta() | {"format": now + 1}, saved.arrays()))
    with pytest.raises(InputError, match=rf"format {now} or older.*found {now + 1}"):
        checkpoint.read(path)
