"""Law: a file of a format that is not read is named for what it is, with what to do about it."""

import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from charlm import import_weights
from charlm.errors import InputError
from charlm.interop import keras_files
from tests.conftest import SMALL_TEXT

V, H = len(set(SMALL_TEXT)), 4


@pytest.fixture(autouse=True)
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(path):
    """The refusal's line."""
    with pytest.raises(InputError) as raised:
        keras_files.read(Path(path))
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 900  # a terminal's error line has 1000 characters at most
    assert line.startswith(f"{path}: expected .weights.h5, .keras, .h5, .hdf5 or .safetensors, ")
    return line


def table(size):
    """What LevelDB's tables, of which `.index` files are some, end with."""
    return b"\0" * size + struct.pack("<Q", 0xDB4775248B80FB57)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1234567\n" % (b"ab" * 32)
TFJS = {"format": "layers-model", "modelTopology": {}, "weightsManifest": [{"paths": ["g"]}]}
FILES = {  # name: (bytes, what the line says)
    "w.h5": (LFS, "a Git LFS pointer, 132 bytes of text .*; git lfs pull"),
    "w.safetensors": (LFS, "a Git LFS pointer"),
    "w.pt": (LFS, "a Git LFS pointer"),
    "page.h5": (b"\n<!DOCTYPE html>\n<html>", "a web page; download the file itself"),
    "page.keras": (b"<html lang=en>", "a web page"),
    "a.pkl": (pickle.dumps({"Wxh": 1}, protocol=4), "a pickle, which may run code"),
    "b.p": (pickle.dumps([np.ones(3)], protocol=2), "a pickle, which may run code"),
    "c.p": (pickle.dumps({"Wxh": 1}, protocol=0), "a pickle, which may run code"),
    "d.p": (pickle.dumps([1, 2], protocol=0), "a pickle, which may run code"),
    "e.p": (b"c__main__\nLSTM\np0\n.", "a pickle, which may run code"),
    "f.pickle": (b"?", "a pickle, which may run code"),
    "x.npy": (b"\x93NUMPY\x01\0", "arrays of NumPy; .* safetensors.numpy.save_file"),
    "ckpt-7.index": (table(40), r"TensorFlow checkpoint; .* model.load_weights\('ckpt-7'\)"),
    "renamed": (table(40), r"TensorFlow checkpoint; .* model.load_weights\('renamed'\)"),
    "w.ckpt.data-00000-of-00001": (bytes(40), r"checkpoint; .* model.load_weights\('w.ckpt'\)"),
    "w.ckpt.meta": (b"\n\x0b", r"checkpoint; .*model.load_weights\('w.ckpt'\)"),
    "checkpoint": (
        b'model_checkpoint_path: "w.ckpt"\n',
        r"checkpoint; .*model.load_weights\(tf.train.latest_checkpoint\('.'\)\)"),
    "saved_model.pb": (
        b"\x08\x01", r"a SavedModel of TensorFlow; .*load_model\('.'\).save\('x.h5'"),
    "keras_metadata.pb": (b"\n\x0b", "a SavedModel of TensorFlow"),
    "model.json": (json.dumps(TFJS).encode(), "of TensorFlow.js; .*=keras model.json x.h5"),
    "mine.json": (json.dumps(TFJS, indent=1).encode(), "of TensorFlow.js; .*=keras mine.json x.h5"),
    "group1-shard1of1": (bytes(40), "of TensorFlow.js; .*=keras model.json x.h5"),
    "group1-shard2of3.bin": (bytes(40), "of TensorFlow.js"),
    "cv.t7": (struct.pack("<iii", 3, 1, 4), "Torch 7 .*package torchfile.*gates i f o g"),
    "checkpoint_1.t7": (b"?", "a file of Torch 7"),
    "lm.th7": (struct.pack("<iii", 4, 1, 3) + b"V 1", "a file of Torch 7"),
    "ascii.net": (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", "a file of Torch 7"),
    "m.onnx": (b"?", "an ONNX model, which is a graph without layers"),
    "m.bin": (b"\x08\x07\x12\x07pytorch", "an ONNX model"),
    "x.pt": (b"?", "a pickle of PyTorch"),
    "x.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M", "a pickle of PyTorch"),
    "notes.txt": (b"4 layers\n", "found none of them: 9 bytes that begin with b'4 layers'"),
    "v.json": (b'{"a": 0}', "found none of them: 8 bytes"),
    "cat.txt": (b"cat\ndog\nemu\n", "found none of them"),
    "empty.h5": (b"", "found none of them: 0 bytes"),
    "zeros.h5": (bytes(99), "found none of them: 99 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named(name):
    data, match = FILES[name]
    Path(name).write_bytes(data)
    assert re.search(match, line := refusal(name)), line


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("x.pt", "my runs/x.pt"),
        ("x.pth", "my runs/x.safetensors"),
        ("ckpt-7.index", "my runs/ckpt-7"),
        ("checkpoint", "my runs"),
        ("saved_model.pb", "my runs"),
        ("mine.json", "my runs/mine.json"),
        ("group1-shard1of1", "my runs/model.json"),
    ],
)
def test_what_is_to_be_pasted_names_the_file_as_it_was_given(name, path):
    Path("my runs").mkdir()
    Path("my runs", name).write_bytes(FILES[name][0])
    assert f"'{path}'" in refusal(f"my runs/{name}")


FOLDERS = {
    "a SavedModel": (
        ["assets/", "keras_metadata.pb", "saved_model.pb", "variables/"],
        r"SavedModel of TensorFlow; .*load_model\('f'\).save"),
    "its variables": (
        ["variables.data-00000-of-00001", "variables.index"],
        r"TensorFlow checkpoint; .*load_weights\('f/variables'\)"),
    "a training's": (
        ["checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"],
        r"TensorFlow checkpoint; .*load_weights\(tf.train.latest_checkpoint\('f'\)\)"),
    "TensorFlow.js": (["group1-shard1of1.bin", "model.json"], "=keras f/model.json x.h5"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_named(name):
    names, match = FOLDERS[name]
    Path("f").mkdir()
    for n in names:
        Path("f", n).mkdir() if n.endswith("/") else Path("f", n).touch()
    assert re.search(match, line := refusal("f")), line


@pytest.mark.parametrize("names", [[], ["a.txt"], ["b/"]])
def test_other_folders_are_folders(names):
    Path("f").mkdir()
    for n in names:
        Path("f", n).mkdir() if n.endswith("/") else Path("f", n).touch()
    with pytest.raises(InputError, match=r"^f: expected a file of weights, found a folder$"):
        keras_files.read(Path("f"))


def test_the_prefix_of_a_checkpoint_is_named():
    """The name that TensorFlow's own functions take, under which there is no file."""
    Path("w.ckpt.index").write_bytes(table(4))
    assert "model.load_weights('w.ckpt')" in refusal("w.ckpt")
    with pytest.raises(InputError, match="No such file"):
        keras_files.read(Path("other"))


@pytest.mark.parametrize("path", [".", "../f"])
def test_the_folder_one_is_in_is_named(monkeypatch, path):
    Path("f").mkdir()
    Path("f", "saved_model.pb").touch()
    monkeypatch.chdir("f")
    assert f"tf_keras.models.load_model('{path}').save('x.h5') turns it" in refusal(path)


def test_nothing_of_a_folder_is_opened():
    Path("f").mkdir()
    os.mkfifo("f/saved_model.pb")
    assert "SavedModel" in refusal("f")


def test_arrays_in_a_zip_are_named():
    np.savez("x.npz", a=np.ones(3), b=np.ones(2))
    assert "arrays of NumPy" in refusal("x.npz")
    with zipfile.ZipFile("y.keras", "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(InputError, match=r"expected metadata.json in the zip, as in a .keras file"):
        keras_files.read(Path("y.keras"))


# PyTorch


def commands(line):
    """The two lines of Python in a message."""
    found = re.findall("`(.*?)`", line)
    assert len(found) == 2
    return found


def character_model(torch, tied=False):
    module = torch.nn.Module()
    module.encoder, module.rnn = torch.nn.Embedding(V, H), torch.nn.GRU(H, H)
    module.decoder = torch.nn.Linear(H, V)
    if tied:
        module.decoder.weight = module.encoder.weight
    module.rnn.weight_hh_l0.data = module.rnn.weight_hh_l0.data.T.contiguous().T  # strides
    return module


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_two_lines_turn_a_pickle_of_torch_into_what_is_read(capsys, legacy, tied):
    torch = pytest.importorskip("torch")
    state = character_model(torch, tied).state_dict()
    torch.save(state, "it's.pt", _use_new_zipfile_serialization=not legacy)
    assert import_weights.main(["it's.pt", "--vocab-from", "small.txt"]) == 2
    first, second = commands(capsys.readouterr().err)
    names = {}
    exec(first, names)
    exec(second, names)
    argv = ["it's.safetensors", "--vocab-from", "small.txt", "--allow-worse-than-unigram"]
    assert import_weights.main(argv) == 0
    found = keras_files.read(Path("it's.safetensors"))
    np.testing.assert_array_equal(found.dense[0].T, state["decoder.weight"].numpy())
    np.testing.assert_array_equal(found.embedding, state["encoder.weight"].numpy())


def test_the_line_says_how_to_take_a_state_dict_out_of_a_dict():
    torch = pytest.importorskip("torch")
    torch.save({"epoch": 3, "model": character_model(torch).state_dict()}, "x.pth")
    line = refusal("x.pth")
    first, second = commands(line)
    assert "for example ['model'], after torch.load(...)" in line
    names = {}
    exec(first, names)
    exec(second.replace("=True)", "=True)['model']"), names)
    assert keras_files.read(Path("x.safetensors")).cell == "gru"


@pytest.mark.full
def test_a_whole_model_is_named_too():
    torch = pytest.importorskip("torch")
    torch.save(character_model(torch), "x.pt")
    assert "a whole model loads only in the program that saved it" in refusal("x.pt")


def test_a_script_of_torch_has_lines_of_its_own():
    pytest.importorskip("torch")
    with zipfile.ZipFile("x.pt", "w") as archive:  # torch.jit.save is deprecated, and warns
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py"):
            archive.writestr(name, "")
    _, second = commands(refusal("x.pt"))
    assert "torch.jit.load('x.pt', map_location='cpu').state_dict().items()" in second
