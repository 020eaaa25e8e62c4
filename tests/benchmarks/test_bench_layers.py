"""Law: `bench --only layers` compares models that differ in whose layers they are, and no more."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from charlm import bench, layers
from charlm.benchmarks import drop_in, layer_models, measure, peers, sections
from charlm.benchmarks import plot as view
from charlm.benchmarks.layer_case import NAMES, LayerCase
from charlm.benchmarks.peers import LAYERS, Peer
from tests.benchmarks.test_bench import SETUP, TENSORFLOW

CASE = LayerCase("lstm-last", 3, 5, 8)
JIT = keras.backend.backend() == "jax"
BACKENDS = pytest.mark.skipif(
    keras.backend.backend() not in ("tensorflow", "jax"), reason="the engines' backends"
)
# each part of a model once; the layers' own tests hold them to Keras's in every option
PARTS = (
    "lstm-stacked", "gru-two-layer-text", "lstm-bidirectional", "gru-masked-left",
    "lstm-recurrent-dropout", "rnn-last",
)  # fmt: skip


# --- models and data ---


@pytest.mark.soak
@BACKENDS
@pytest.mark.parametrize("name", PARTS)
def test_both_models_compute_the_same(name):
    case = replace(CASE, name=name)
    theirs, ours = (layer_models.make(case, False, own=own, jit=JIT) for own in (False, True))
    assert list(theirs) == list(ours) == ["training", "inference 1", "inference 5"]
    losses = [[jobs["training"](1) for _ in range(3)] for jobs in (theirs, ours)]
    assert losses[1] == pytest.approx(losses[0], rel=drop_in.TOLERANCE)
    assert len(set(losses[0])) == 3
    for job, size in (("inference 1", 1), ("inference 5", 5)):
        steps = (8,) if case.model.every_step else ()
        expected, found = theirs[job](2), ours[job](1)
        assert found.shape == (size, *steps, case.classes)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.full
@BACKENDS
def test_inference_has_the_first_weights_however_long_was_trained():
    jobs = layer_models.make(CASE, False, own=True, jit=JIT)
    before = jobs["inference 5"](1)
    jobs["training"](3)
    assert np.array_equal(jobs["inference 5"](1), before)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_models_are_what_their_names_say(name, own):
    case = replace(CASE, name=name)
    model = layer_models.build(case, own)
    found = [getattr(layer, "forward_layer", layer) for layer in model.layers]
    recurrent = [layer for layer in found if isinstance(layer, keras.layers.RNN)]
    library = layers if own else keras.layers
    assert {type(x) for x in recurrent} == {getattr(library, str(case).split()[0])}
    assert {x.units for x in recurrent} == {3}
    kinds = {type(layer) for layer in model.layers}
    assert (keras.layers.Bidirectional in kinds) == ("bidirectional" in name)
    assert (keras.layers.Masking in kinds) == ("masked" in name)
    assert (keras.layers.Embedding in kinds) == ("text" in name)
    assert len(recurrent) == 1 + ("stacked" in name or "two-layer" in name)
    assert recurrent[-1].return_sequences == ("sequences" in name or "text" in name)
    last = recurrent[-1]
    assert (last.dropout > 0, last.recurrent_dropout > 0, last.activation.__name__) == (
        name.endswith("-dropout") and "recurrent" not in name,
        "recurrent-dropout" in name,
        "relu" if "relu" in name else "tanh",
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_sequences_have_random_lengths_and_zeros_on_their_side(side):
    case = LayerCase(f"gru-masked-{side}", 3, 50, 8)
    real = (case.data()[0] != 0).all(axis=-1)
    assert set(real.sum(axis=1)) == set(range(2, 9))
    ends = np.diff(real.astype(int), axis=1)
    assert set(ends.ravel()) == {0, 1 if side == "left" else -1}


def test_characters_are_those_of_the_sequences_of_a_job():
    assert [CASE.characters(job) for job in CASE.sequences] == [5 * 8, 8, 5 * 8]
    assert replace(CASE, batch=1).sequences == {"training": 1, "inference 1": 1}


@TENSORFLOW
def test_the_training_graph_knows_the_batch_size_as_little_as_that_of_fit():
    shapes = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            shapes.append(tuple(x.shape))
            return x

    def model():
        found = keras.Sequential([Spy(), keras.layers.Flatten(), keras.layers.Dense(2)])
        found.compile("sgd", "mse", jit_compile=False)
        found.make_train_function()
        return found

    x, y = np.ones((5, 8, 3), np.float32), np.ones((5, 2), np.float32)
    layer_models._train_tf(model(), x, y)(1)
    ours = shapes.copy()
    shapes.clear()
    model().fit(x, y, batch_size=2, verbose=0)
    assert ours[-1] == shapes[-1] == (None, 8, 3)


# --- measured in pairs ---


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(peers, "HERE", "tests.benchmarks")


def pair(theirs, ours, make="clock"):
    return tuple(
        Peer(name, f"fake_peers:{make}", "numpy", options=options)
        for name, options in (("keras-tf", theirs), ("ours-tf", ours))
    )


def test_the_ratio_is_our_time_by_that_of_keras(fakes, monkeypatch):
    said = []
    monkeypatch.setitem(LAYERS, "tf", pair({"seconds": 4.0}, {"seconds": 1.0}))
    setup = replace(SETUP, rounds=3, say=said.append)
    found = list(drop_in.measure([CASE], ("tf",), setup))
    assert [m["job"] for m in found] == list(CASE.sequences)
    assert {m["ratio"] for m in found} == {(0.25, 0.25, 0.25)}
    assert [len(r["seconds"]) for m in found for r in m["rows"]] == [3] * 6
    assert "LSTM last, inference 1, TensorFlow graph: 0.25 (0.25-0.25)" in said


def test_peers_are_made_at_once_and_one_that_cannot_be_made_is_a_failure(
    fakes, tmp_path, monkeypatch
):
    together = pair({"name": "a", "folder": tmp_path}, {"name": "b", "folder": tmp_path}, "meeting")
    monkeypatch.setitem(LAYERS, "tf", together)
    assert all(m["ratio"] for m in drop_in.measure([CASE], ("tf",), SETUP))
    bad = together[0], replace(together[1], make="fake_peers:unmade", options={})
    monkeypatch.setitem(LAYERS, "tf", bad)
    found = list(drop_in.measure([CASE], ("tf",), SETUP))
    assert [m["ratio"] for m in found] == [None] * 3
    assert "| failed |" in (text := drop_in.report(found).replace("  ", ""))
    why = "ours-tf: RuntimeError: cannot be made (LSTM last, training and 2 more)"
    assert text.splitlines()[-1] == why


def test_processes_have_the_allocator_of_an_ordinary_program(monkeypatch):
    monkeypatch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "true")  # as the command has set it
    monkeypatch.setattr(sections, "Worker", lambda environment, *_: environment)
    lineup = [p for pair in LAYERS.values() for p in pair]
    assert not any("TF_CPU_ALLOCATOR_USE_BFC" in SETUP.worker(p) for p in lineup)
    assert SETUP.worker(peers.STEP[0])["TF_CPU_ALLOCATOR_USE_BFC"] == "true"


# --- the table ---


def measured(name, job, engine, ratio, difference=1e-7, failed=None):
    row = {"peer": f"ours-{engine}", "failed": failed, "seconds": [1.0] * 11}
    row["difference"] = difference
    first = row | {"peer": f"keras-{engine}", "failed": None, "difference": 0.0}
    case = asdict(LayerCase(name, 128, 64, 200))
    return {"case": case, "job": job, "engine": engine, "ratio": ratio, "rows": [first, row]}


def around(median):
    return median - 0.01, median, median + 0.01


def test_the_table_has_a_line_for_each_model_and_job_and_a_column_for_each_engine():
    found = [
        measured("gru-recurrent-dropout", job, engine, around(r))
        for engine, ratios in (("tf", (0.5, 1.04)), ("tf-xla", (1.03, 1.5)), ("jax", (2, 12.345)))
        for job, r in zip(("training", "inference 64"), ratios, strict=True)
    ]
    text = drop_in.report(found)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    cells = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")]
    assert cells[0][1:] == ["TensorFlow graph", "TensorFlow XLA", "JAX"]
    assert cells[2] == [
        "GRU recurrent dropout, training", "0.50 (0.49-0.51)", "1.03 (1.02-1.04)",
        "2.00 (1.99-2.01)",
    ]  # fmt: skip
    assert cells[3][3] == "12.35 (12.34-12.36)"
    assert len(cells) == 4
    counts = "Ratios above 1.03: TensorFlow graph 1 of 2, TensorFlow XLA 1 of 2, JAX 2 of 2."
    assert counts in lines
    assert "Below 1: charlm is faster" in text
    assert "11 rounds of 0.1 s" in text


@pytest.mark.parametrize("difference", [1e-4, math.nan])
def test_a_row_says_that_its_models_do_not_compute_the_same(difference):
    found = [
        measured("lstm-relu", "training", "tf", around(0.5), difference),
        measured("lstm-last", "training", "tf", around(0.5), 3e-7),
    ]
    text = drop_in.report(found)
    assert "| 0.50 (0.49-0.51)* |" in text
    assert "NOTE: * LSTM relu, training, TensorFlow graph: the two models do not" in text
    assert "agree to 3e-07" in text
    assert text.count("*") == 2


def test_what_failed_is_counted_in_no_summary():
    found = [
        measured("lstm-last", "training", "tf", None, None, "out of luck"),
        measured("lstm-relu", "training", "tf", around(2)),
    ]
    text = drop_in.report(found)
    assert "TensorFlow graph 1 of 1." in text
    assert text.endswith("ours-tf: out of luck (LSTM last, training)")


# --- the command ---


def test_layers_are_measured_only_when_asked_for():
    assert "layers" not in bench.Bench().sections + bench.Bench(quick=True).sections
    assert bench.Bench(only=("layers", "step")).sections == ("step", "layers")


def test_a_word_chooses_all_models_whose_names_have_it():
    args = bench.Bench(only=("layers",), layers=("gru-masked", "relu"))
    names = [case.name for case in args.layer_cases()]
    assert names == ["lstm-relu", "gru-masked-left", "gru-masked-right", "gru-relu"]
    assert args.layer_cases()[0] == LayerCase("lstm-relu", 128, 64, 200)
    assert len(bench.Bench().layer_cases()) == 21


@pytest.mark.parametrize(
    ("options", "rounds"),
    [({}, 11), ({"rounds": 5}, 5), ({"quick": True}, 3), ({"quick": True, "rounds": 5}, 5)],
)
def test_rounds_are_many_unless_it_is_to_be_quick(monkeypatch, options, rounds):
    args = bench.Bench(only=("layers",), engines=("jax",), **options)
    seen = []
    monkeypatch.setattr(drop_in, "report", lambda found: "")
    monkeypatch.setattr(drop_in, "measure", lambda *given: seen.append(given) or [])
    measure.layers(args, args.setup(), None, {"measured": []}, lambda text: None)
    ((_, engines, setup),) = seen
    assert (engines, setup.rounds) == (("jax",), rounds)


@pytest.mark.soak
@TENSORFLOW
def test_the_command_measures_and_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["--units", "3", "--batch-size", "5", "--window", "8", "--rounds", "2"]
    argv = ["--only", "layers", "--layers", "gru-masked-right", "--engines", "tf"]
    assert bench.main([*argv, *sizes, "--threads", "1", "--out", "out"]) == 0
    told, progress = capsys.readouterr()
    assert "layers, GRU masked right: making keras-tf, ours-tf" in progress
    assert told.endswith("out: bench.md, bench.json\n")
    assert "| GRU masked right, inference 5 | " in told
    assert "Losses and logits agree" in told
    found = json.loads(Path("out/bench.json").read_text())["measured"]
    assert [m["job"] for m in found] == ["training", "inference 1", "inference 5"]
    for m in found:
        theirs, ours = (r["seconds"] for r in m["rows"])
        assert len(theirs) == 2
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        assert m["ratio"][1] == pytest.approx(np.median(ratios))
    assert sorted(x.name for x in Path("out").iterdir()) == ["bench.json", "bench.md"]


def test_a_picture_is_drawn_of_other_sections_only():
    found = [measured("lstm-last", "training", "tf", around(1)) | {"section": "layers"}]
    assert view.draw(found) is None
