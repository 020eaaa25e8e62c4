"""Law: an imported run computes what the model in the file computed, or nothing is made."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from charlm import export, import_weights, sample, train
from charlm.reference.network import Network
from charlm.runs import atomic, checkpoint
from tests.conftest import SMALL_TEXT
from tests.interop.test_keras_files import write_legacy

V = len(set(SMALL_TEXT))
H, B, T = 5, 2, 9
L = keras.layers
LAST = Path("saved_models/a/last.weights.h5")


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path


def stock(rng, *layers, ids=False):
    model = keras.Sequential([keras.Input((None,) if ids else (None, V)), *layers])
    model.set_weights([0.5 * rng.normal(size=w.shape) for w in model.weights])
    return model


def lstms(n, kind=L.LSTM, **options):
    return [kind(H, return_sequences=True, **options) for _ in range(n)]


MODELS = {
    "lstm": lambda: [*lstms(1), L.Dense(V)],
    "two lstms, dropout, softmax": lambda: [*lstms(2), L.Dropout(0.2), L.Dense(V, "softmax")],
    "gru": lambda: [*lstms(2, L.GRU), L.Dense(V)],
    "gru, reset before": lambda: [*lstms(1, L.GRU, reset_after=False), L.Dense(V)],
    "rnn": lambda: [*lstms(1, L.SimpleRNN), L.TimeDistributed(L.Dense(V))],
    "embedding": lambda: [L.Embedding(V, 3), *lstms(1), L.Dense(V)],
}


def argv(file, *more):
    """Of a model with random weights, which tells no text better than chance."""
    anyway = "--allow-worse-than-unigram"
    return [str(file), "--vocab-from", "small.txt", "--name", "a", anyway, *more]


def probabilities(ids):
    saved = checkpoint.read(LAST)
    network = Network(saved.weights, V, saved.config.model)
    logits, _, _ = network.forward(ids, network.initial_states(len(ids)))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.usual(5)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_keras_3_is_the_same_network(here, rng, capsys, name, suffix):
    with_ids = name == "embedding"
    model = stock(rng, *MODELS[name](), ids=with_ids)
    path = here / f"x{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    assert import_weights.main(argv(path)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert ("the file names no activations" in out) == (suffix == ".weights.h5")
    ids = rng.integers(V, size=(B, T))
    expected = model(ids if with_ids else np.eye(V, dtype="float32")[ids])
    expected = ops.convert_to_numpy(expected if "softmax" in name else ops.softmax(expected))
    np.testing.assert_allclose(probabilities(ids), expected, atol=1e-6)


def old_lstm(x, layer, dense, slope):
    """The LSTM of Keras 2, its own equations, softmax on top."""

    def gate(a):
        return 1 / (1 + np.exp(-a)) if slope is None else np.clip(slope * a + 0.5, 0, 1)

    h = c = np.zeros((len(x), H))
    for t in range(x.shape[1]):
        a = x[:, t] @ layer["kernel"] + h @ layer["recurrent_kernel"] + layer["bias"]
        i, f, g, o = np.split(a, 4, axis=-1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    p = np.exp(h @ dense["kernel"] + dense["bias"])
    return p / p.sum(-1, keepdims=True)


@pytest.mark.usual(3)
@pytest.mark.parametrize(
    ("version", "more", "slope", "said"),
    [
        (b"2.1.3", [], 0.2, "assumed: tanh and hard_sigmoid, the defaults of Keras 2.1"),
        (b"2.2.5", [], 0.2, "multiplied by 1.2"),
        (b"", [], 0.2, "hard_sigmoid"),  # Keras 1
        (b"2.3.0", [], None, "assumed: tanh and sigmoid, the defaults of Keras 2.3"),
        (b"2.15.0", [], None, "sigmoid"),
        (b"2.1.3", ["--recurrent-activation", "sigmoid"], None, ": tanh, the default of Keras 2.1"),
        (b"2.4.0", ["--recurrent-activation", "hard_sigmoid"], 0.2, "multiplied by 1.2"),
    ],
)
def test_gates_are_those_of_the_keras_that_wrote_them(
    here, rng, capsys, version, more, slope, said
):
    shapes = {"kernel": (V, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}
    layer = {k: 1.5 * rng.normal(size=s).astype("float32") for k, s in shapes.items()}
    dense = {"kernel": rng.normal(size=(H, V)), "bias": rng.normal(size=V)}
    dense = {k: v.astype("float32") for k, v in dense.items()}
    write_legacy(here / "x.h5", [("lstm_13", layer), ("dense_13", dense)], version=version)
    assert import_weights.main(argv("x.h5", *more)) == 0
    assert said in capsys.readouterr().out
    ids = rng.integers(V, size=(B, T))
    expected = old_lstm(np.eye(V)[ids], layer, dense, slope)
    np.testing.assert_allclose(probabilities(ids)[:, -1], expected, atol=1e-5)


@pytest.mark.parametrize(("version", "slope"), [(None, 1 / 6), ("2.15", 0.2)])
def test_a_file_that_names_no_keras_is_taken_for_keras_3_unless_told(
    here, rng, capsys, version, slope
):
    model = stock(rng, *lstms(1, recurrent_activation="hard_sigmoid"), L.Dense(V, "softmax"))
    model.save_weights("x.weights.h5")
    more = ["--recurrent-activation", "hard_sigmoid"]
    assert import_weights.main(
        argv("x.weights.h5", *more, *(["--keras-version", version] if version else []))
    ) == 0  # fmt: skip
    out, _ = capsys.readouterr()
    assert ("the file names no version of Keras, assumed: 3" in out) == (version is None)
    assert f"Keras {version or 3} weights; " in out
    names = ("kernel", "recurrent_kernel", "bias")
    layer, dense = (dict(zip(names, part.get_weights(), strict=False)) for part in model.layers)
    dense = {"kernel": dense["kernel"], "bias": dense["recurrent_kernel"]}
    ids = rng.integers(V, size=(B, T))
    expected = old_lstm(np.eye(V)[ids], layer, dense, slope)
    np.testing.assert_allclose(probabilities(ids)[:, -1], expected, atol=1e-5)


def test_a_file_of_the_characters_alone_is_vocabulary_enough(here, rng, capsys):
    stock(rng, *MODELS["lstm"]()).save("x.keras")
    Path("characters.txt").write_text("".join(sorted(set(SMALL_TEXT))))
    assert import_weights.main(["x.keras", "--vocab-from", "characters.txt", "--name", "a"]) == 0
    assert "not measured, because characters.txt has fewer than 100 held" in capsys.readouterr().out
    assert sample.main(["a", "--length", "9", "--seed", "1"]) == 0


@pytest.mark.full
def test_an_imported_run_is_sampled_trained_and_exported(here, rng, capsys):
    stock(rng, *MODELS["gru"]()).save("x.keras")
    assert import_weights.main(argv("x.keras")) == 0
    out, _ = capsys.readouterr()
    before = float(re.search(r"([\d.]+) bits/char", out)[1])
    assert sample.main(["a", "--length", "9", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out) == 10
    more = ["--epochs", "2", "--batch-size", "4", "--window", "16", "--learning-rate", "0.05"]
    assert train.main(["--resume", "a", *more]) == 0
    out, _ = capsys.readouterr()
    assert re.search("at epoch 1; changed: epochs 6 -> 2, .*optimizer state reset", out)
    assert float(re.findall(r"held-out ([\d.]+)", out)[-1]) < before - 1
    assert export.main(["a"]) == 0
    summary = json.loads(Path("saved_models/a/run.json").read_text())
    assert summary["config"]["data"]["corpus"] == "small.txt"


def test_measures_the_text_that_it_is_given(here, rng, capsys):
    """Bits per character on the last tenth of the text, from Keras's own loss."""
    model = stock(rng, *MODELS["lstm"]())
    model.save("x.keras")
    assert import_weights.main(argv("x.keras")) == 0
    found = float(re.search(r"([\d.]+) bits/char", capsys.readouterr().out)[1])
    saved = checkpoint.read(LAST)
    ids = saved.vocab.encode(SMALL_TEXT[len(SMALL_TEXT) - int(len(SMALL_TEXT) * 0.1) :])
    logits = model(np.eye(V, dtype="float32")[ids[None, :-1]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[None, 1:], logits)
    assert found == pytest.approx(float(loss) / np.log(2), abs=0.006)


def with_nan(rng):
    model = stock(rng, *MODELS["lstm"]())
    values = model.get_weights()
    values[1][2, 3] = np.nan
    model.set_weights(values)
    return model


def times(factor, model):
    model.set_weights([np.sign(w) * factor for w in model.get_weights()])
    return model


BAD = {
    "a vocabulary of another size": (
        lambda rng: stock(rng, *lstms(1), L.Dense(V)).save("x.keras"),
        ["--vocab-from", "other.txt"],
        rf"a vocabulary of {V} characters, as x.keras has, found 3 in other.txt",
    ),
    "a GRU for an LSTM": (
        lambda rng: stock(rng, *MODELS["gru"]()).save("x.keras"),
        ["--cell", "lstm"],
        r"expected the cell lstm in x.keras, found gru",
    ),
    "NaN": (
        lambda rng: with_nan(rng).save("x.keras"),
        [],
        r"expected finite numbers in 'layers/lstm/cell/vars/1', found NaN",
    ),
    "a product that is too large": (
        lambda rng: times(1e30, stock(rng, *MODELS["embedding"](), ids=True)).save("x.keras"),
        [],
        r"products of weights within the range of float32, found a larger one in layers/lstm/cell",
    ),
    "gates that are too large": (
        lambda rng: (
            times(3e38, stock(rng, *lstms(1), L.Dense(V))).save_weights("x.weights.h5")
            or Path("x.weights.h5").rename("x.keras")
        ),
        ["--recurrent-activation", "hard_sigmoid", "--keras-version", "2.15"],
        r"products of weights within the range of float32, found a larger one in layers/lstm/cell",
    ),
    "truncated": (
        lambda rng: (
            stock(rng, *MODELS["lstm"]()).save("x.keras"),
            Path("x.keras").write_bytes(Path("x.keras").read_bytes()[:5000]),
        ),
        [],
        r"expected a whole file of weights, found it damaged",
    ),
    "a conflict": (
        lambda rng: stock(rng, *lstms(1), L.Dense(V)).save("x.keras"),
        ["--recurrent-activation", "hard_sigmoid"],
        r"expected --recurrent-activation sigmoid, which x.keras says, found hard_sigmoid",
    ),
    "an activation we lack": (
        lambda rng: stock(rng, *lstms(1, activation="elu"), L.Dense(V)).save("x.keras"),
        [],
        r"expected activation tanh or relu or linear in x.keras, found elu",
    ),
    "gates of a plain RNN": (
        lambda rng: stock(rng, *MODELS["rnn"]()).save("x.keras"),
        ["--recurrent-activation", "sigmoid"],
        r"--recurrent-activation to be left out for a cell without gates, found sigmoid",
    ),
    "ids that are skipped": (
        lambda rng: stock(
            rng, L.Embedding(V, 3, mask_zero=True), *lstms(1), L.Dense(V), ids=True
        ).save("x.keras"),
        [],
        r"expected every id to be read, found mask_zero at 'embedding",
    ),
    "a version against the file's": (
        lambda rng: stock(rng, *lstms(1), L.Dense(V)).save("x.keras"),
        ["--keras-version", "2.15"],
        r"expected no --keras-version, because x.keras says 3\.\S+, found 2.15",
    ),
    "a version that is none": (
        lambda rng: (
            stock(rng, *lstms(1), L.Dense(V)).save_weights("x.weights.h5")
            or Path("x.weights.h5").rename("x.keras")
        ),
        ["--keras-version", "2.x"],
        r"expected --keras-version to be like 2.15, found 2.x",
    ),
    "no file": (lambda rng: None, [], r"x.keras: cannot read a file of weights: No such file"),
    "no text": (
        lambda rng: stock(rng, *lstms(1), L.Dense(V)).save("x.keras"),
        ["--vocab-from", "none.txt"],
        r"none.txt",
    ),
}


@pytest.mark.usual(6)
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_nothing_is_made(here, rng, capsys, name):
    make, more, expected = BAD[name]
    Path("other.txt").write_text("abc" * 100)
    make(rng)
    before = sorted(here.iterdir())
    assert import_weights.main(argv("x.keras", *more)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    err = re.sub(r"NOTE: --\S+ is given more than once.*\n", "", err)  # by this test
    assert err.count("\n") == 1
    assert re.search(expected, err), err
    assert sorted(here.iterdir()) == before


def test_the_largest_weights_are_measured_without_a_warning(here, rng, capsys):
    times(3e38, stock(rng, *lstms(1), L.Dense(V))).save("x.keras")
    assert import_weights.main(argv("x.keras")) == 0
    assert "nan bits/char on 211 characters" in capsys.readouterr().out


def test_a_run_of_that_name_is_kept(here, rng, capsys):
    stock(rng, *MODELS["lstm"]()).save("x.keras")
    assert import_weights.main(argv("x.keras")) == 0
    before = LAST.read_bytes()
    assert import_weights.main(argv("x.keras")) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert LAST.read_bytes() == before
    assert import_weights.main(argv("x.keras", "--overwrite")) == 0


def test_an_overwritten_run_stays_until_the_new_one_is_written(here, rng, capsys, monkeypatch):
    stock(rng, *MODELS["lstm"]()).save("x.keras")
    assert import_weights.main(argv("x.keras")) == 0
    best = LAST.with_name("best.weights.h5")
    best.write_bytes(LAST.read_bytes())
    before = {path: path.read_bytes() for path in LAST.parent.iterdir()}
    stock(rng, *MODELS["lstm"]()).save("x.keras")

    def full(folder, temporary, data, model):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_create", full)
        assert import_weights.main(argv("x.keras", "--overwrite")) == 1
    assert {path: path.read_bytes() for path in LAST.parent.iterdir()} == before
    assert import_weights.main(argv("x.keras", "--overwrite")) == 0
    assert LAST.read_bytes() != before[LAST]
    assert not best.exists()
