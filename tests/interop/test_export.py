"""Law: what is exported needs no charlm and computes what the sampler computes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charlm import export
from charlm.config import Config, ModelConfig
from charlm.interop import export as exporting
from charlm.reference.network import Network, initial_weights
from charlm.runs import atomic, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from tests.runs import test_faults as faults

VOCAB = Vocab("\n abcd")
V, H = len(VOCAB), 5

MODELS = [
    {"cell": "lstm", "layers": 2, "skip": "add"},
    {"cell": "keras-lstm", "recurrent_activation": "hard_sigmoid"},
    {"cell": "gru", "layers": 2, "dropout": 0.3},
    {"cell": "gru", "reset": "before"},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "coupled", "layers": 2},
]


def make_run(folder, **options):
    rng = np.random.default_rng(3)
    config = ModelConfig(units=H, **options)
    weights = initial_weights(config, V, rng)
    weights = {k: (w + 0.4 * rng.normal(size=w.shape)).astype("f4") for k, w in weights.items()}
    saved = Checkpoint(Config(model=config), VOCAB, "0" * 64, Progress(), weights, [], [], {})
    folder.mkdir(parents=True)
    run_folder.save_last(folder, saved)
    return saved


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path


def id_(options):
    return " ".join(map(str, options.values()))


@pytest.mark.product(5)
@pytest.mark.usual(2)
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras for tf2onnx
@pytest.mark.parametrize("options", MODELS, ids=id_)
@pytest.mark.parametrize("format_", ["keras", "saved_model", "onnx"])
def test_every_format_of_every_cell_is_written_and_compared(here, capsys, format_, options):
    if format_ == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    make_run(here / "saved_models" / "a", **options)
    assert export.main(["a", "--format", format_]) == 0
    out, _ = capsys.readouterr()
    name = {"keras": "a.keras", "saved_model": "a-step", "onnx": "a-step.onnx"}[format_]
    said = re.match(rf"{name}, {name}.vocab.json; logits .*equal the sampler's to (\S+) ", out)
    assert float(said[1]) < 1e-5
    vocab = json.loads((here / f"{name}.vocab.json").read_text())
    assert vocab == {"characters": list(VOCAB.characters)}
    assert {p.name for p in here.iterdir()} == {"saved_models", name, f"{name}.vocab.json"}


@pytest.mark.full
def test_the_keras_file_loads_where_there_is_no_charlm(here):
    saved = make_run(here / "saved_models" / "a", cell="coupled", layers=2)
    assert export.main(["a"]) == 0
    ids = np.random.default_rng(1).integers(V, size=(2, 9))
    np.save("ids.npy", ids)
    code = """if True:
        import sys
        sys.modules["charlm"] = None  # an import of it fails
        import keras, numpy as np
        model = keras.saving.load_model("a.keras")
        assert {type(x).__module__.split(".")[0] for x in model.layers} == {"keras"}
        np.save("logits.npy", model.predict(np.load("ids.npy"), verbose=0))
    """
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    network = Network(saved.weights, V, saved.config.model)
    expected, _, _ = network.forward(ids, network.initial_states(2))
    np.testing.assert_allclose(np.load("logits.npy"), expected, atol=1e-5)


def test_a_model_that_differs_from_the_sampler_is_not_written(here, capsys, monkeypatch):
    make_run(here / "saved_models" / "a")
    step = Network.step

    def other(self, ids, states):
        logits, states = step(self, ids, states)
        return logits + 0.01, states

    monkeypatch.setattr(Network, "step", other)
    assert export.main(["a", "--format", "saved_model"]) == 1
    assert "logits or states differ from the sampler's by 1.0e-02" in capsys.readouterr().err
    assert [p.name for p in here.iterdir()] == ["saved_models"]


@pytest.mark.parametrize("format_", ["keras", "saved_model"])
def test_a_model_whose_logits_are_no_numbers_is_not_written(here, capsys, format_):
    saved = make_run(here / "saved_models" / "a", cell="rnn", activation="linear")
    for path, w in saved.weights.items():
        saved.weights[path] = np.full_like(w, 1e30)
    run_folder.save_last(here / "saved_models" / "a", saved)
    with np.errstate(all="ignore"):
        assert export.main(["a", "--format", format_]) == 1
    assert "differ from the sampler's by nan" in capsys.readouterr().err
    assert [p.name for p in here.iterdir()] == ["saved_models"]


def test_states_are_compared_too(here, capsys, monkeypatch):
    make_run(here / "saved_models" / "a", cell="gru")
    step, calls = Network.step, []

    def other(self, ids, states):
        logits, states = step(self, ids, states)
        calls.append(0)
        last = len(calls) == exporting.CHECK_LENGTH  # whose states no logits tell of any more
        return logits, [(states[0][0] + 0.01 * last,)]

    monkeypatch.setattr(Network, "step", other)
    assert export.main(["a", "--format", "saved_model"]) == 1
    assert "differ from the sampler's by 1.0e-02" in capsys.readouterr().err


@pytest.mark.full
def test_overwrite_replaces_an_export_and_nothing_else(here, capsys):
    make_run(here / "saved_models" / "a")
    make_run(here / "saved_models" / "b", cell="gru")
    for format_, name in (("keras", "m.keras"), ("saved_model", "m")):
        argv = ["--format", format_, "--output", name]
        assert export.main(["a", *argv]) == 0
        before = snapshot(here)
        assert export.main(["b", *argv]) == 2
        assert "it already exists; --overwrite replaces it" in capsys.readouterr().err
        assert snapshot(here) == before
        assert export.main(["b", *argv, "--overwrite"]) == 0
        assert snapshot(here) != before
    (here / "m" / "thesis.txt").write_text("precious")  # beside what the export wrote
    (here / "n.keras.vocab.json").mkdir()
    (here / "file").write_text("precious")
    before = snapshot(here)
    saved_model = ["--format", "saved_model", "--output"]
    for argv in ([*saved_model, "m"], [*saved_model, "file"], ["--output", "n.keras"]):
        assert export.main(["a", *argv, "--overwrite"]) == 2
        assert "to be free or an earlier export, found something else" in capsys.readouterr().err
    assert snapshot(here) == before


def test_what_was_exported_before_stays_until_all_of_it_is_written(here, capsys, monkeypatch):
    make_run(here / "saved_models" / "a")
    make_run(here / "saved_models" / "b", cell="gru")
    argv = ["--format", "safetensors", "--output", "m.safetensors", "--overwrite"]
    assert export.main(["a", *argv]) == 0
    before, write = snapshot(here), atomic.write

    def full(path, data, like=None):
        if path.name.endswith(".vocab.json"):
            raise OSError("No space left on device")
        write(path, data, like)

    monkeypatch.setattr(atomic, "write", full)
    assert export.main(["b", *argv]) == 1
    assert capsys.readouterr().err == "error: No space left on device\n"
    assert snapshot(here) == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_failed_move_leaves_what_was_there(tmp_path, monkeypatch, kind, there, fails_at, when):
    """Model and characters, or neither; the move fails before or after it has moved."""
    made, output, characters, vocab, old = places(tmp_path)
    an_export(made, characters, "new", kind)
    if there:
        an_export(output, vocab, "old", kind)
    if there and kind == "link":
        output.rename(tmp_path / "elsewhere")
        output.symlink_to("elsewhere")
    count, move = 0, atomic.move

    def fails(source, path):
        nonlocal count
        count += 1
        if count < fails_at or when == "after":
            move(source, path)
        if count == fails_at:
            raise OSError("No space left on device")

    monkeypatch.setattr(atomic, "move", fails)
    with pytest.raises(OSError, match="No space left"):
        exporting.put(made, output, characters, vocab, old)
    assert texts(tmp_path) == (("old", "old") if there else (None, None))
    assert output.is_symlink() == (there and kind == "link")
    shutil.rmtree(made.parent)
    assert {path.name for path in tmp_path.iterdir()} <= {"m", "m.vocab", "elsewhere"}


PUT = """if True:
    import os, sys
    from pathlib import Path
    from charlm.runs import atomic; from charlm.interop import export as exporting
    from tests.interop import test_export as this; from tests.runs import test_faults as faults
    n, root = int(sys.argv[1]), Path(sys.argv[2])
    for at in range(n):
        child = os.fork()
        if not child:
            system = faults.FailingSystem(at, faults.KILLED, False, calls=this.CALLS)
            atomic.os = exporting.os = system
            exporting.put(*this.places(root / str(at)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == 9, (at, status)
"""
CALLS = (*faults.CALLS, "rename")


def places(folder):
    made = folder / "made"
    return made / "m", folder / "m", made / "m.vocab", folder / "m.vocab", made / "m.old"


def an_export(model, vocab, text, kind):
    model.parent.mkdir(exist_ok=True, parents=True)
    if kind == "folder":
        model.mkdir()
        (model / "saved_model.pb").write_text(text)
    else:
        model.write_text(text)
    vocab.write_text(text)


def texts(folder):
    """What the model and the characters are: old, new, or None where there are none."""
    _, model, _, vocab, _ = places(folder)
    files = [model / "saved_model.pb" if model.is_dir() else model, vocab]
    return tuple(path.read_text() if path.exists() else None for path in files)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_at_every_call_a_model_never_lies_beside_another_s_characters(
    tmp_path, monkeypatch, kind
):
    def prepare(name):
        made, model, characters, vocab, _ = found = places(tmp_path / name)
        an_export(model, vocab, "old", kind)
        an_export(made, characters, "new", kind)
        return found

    system = faults.FailingSystem(-1, None, False, calls=CALLS)
    found = prepare("count")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", system)
        patch.setattr(exporting, "os", system)
        exporting.put(*found)
    assert texts(tmp_path / "count") == ("new", "new")
    for at in range(system.count):
        prepare(str(at))
    argv = [sys.executable, "-c", PUT, str(system.count), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = {texts(tmp_path / str(at)) for at in range(system.count)}
    between = {("old", None), ("new", None)} | ({(None, None)} if kind == "folder" else set())
    assert seen - {("new", "new")} == {("old", "old")} | between  # only the end has both


def snapshot(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nothing"], r"expected a run folder or a .weights.h5 file, found nothing"),
        (["a", "--output", ".", "--format", "onnx"], r"--output to be the name of a file"),
        (["a", "--output", "a.h5"], r"--output to end in .keras, found a.h5"),
        (["a", "--output", "no/a.keras"], r"in a folder that exists, found no/a.keras"),
        (["a", "--format", "tflite"], r"invalid choice|[Ii]nvalid.*tflite|tflite"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(here, capsys, argv, expected):
    make_run(here / "saved_models" / "a")
    before = snapshot(here)
    assert export.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(expected, err), err
    assert snapshot(here) == before


def test_onnx_without_its_packages_says_how_to_get_them(here, capsys, monkeypatch):
    make_run(here / "saved_models" / "a")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert export.main(["a", "--format", "onnx"]) == 2
    assert "pip install -e '.[onnx]'" in capsys.readouterr().err
    assert os.listdir(here) == ["saved_models"]


def test_a_page_is_written_once_and_replaced_when_asked(here, capsys):
    make_run(here / "saved_models" / "a")
    argv = ["a", "--format", "html"]
    assert export.main(argv) == 0
    assert {p.name for p in here.iterdir()} == {"a.html", "saved_models"}
    page = Path("a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<h1>Inside a</h1>" in page
    assert "open it in a browser" in capsys.readouterr().out
    assert export.main(argv) == 2
    assert "--overwrite" in capsys.readouterr().err
    Path("a.html").write_text("other")
    assert export.main([*argv, "--overwrite"]) == 0
    assert Path("a.html").read_text(encoding="utf-8") == page
    assert export.main([*argv, "--output", "a.keras"]) == 2
