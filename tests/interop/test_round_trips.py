"""Law: what `charlm export` writes `charlm import` makes into the same run again."""

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from charlm import export, import_weights, layers
from charlm.config import Config, ModelConfig
from charlm.errors import InputError
from charlm.interop import import_run, keras_files
from charlm.reference.network import initial_weights
from charlm.runs import checkpoint, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.encode import read
from charlm.text.vocab import Vocab
from corpora import load
from tests.conftest import SMALL_TEXT
from tests.interop.test_state_dicts import about, edited
from tests.interop.test_wiring import saved as save_as

L = keras.layers
CHARACTERS = '\n"\\aé\ud800\U0001f600'
H = 5
LAST = Path("saved_models/b/last.weights.h5")
A, B, C = "ab" * 32, "cd" * 32, "ef" * 32


@pytest.fixture(autouse=True)
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")


def make_run(rng, characters=CHARACTERS, corpus_sha256=A, learned_before=(), **options):
    vocab = Vocab("".join(sorted(set(characters))))
    config = ModelConfig(units=H, **options)
    weights = initial_weights(config, len(vocab), rng)
    weights = {k: (w + 0.4 * rng.normal(size=w.shape)).astype("f4") for k, w in weights.items()}
    saved = Checkpoint(
        Config(model=config), vocab, corpus_sha256, Progress(), weights, [], [], {},
        learned_before=list(learned_before),
    )  # fmt: skip
    Path("saved_models/a").mkdir(parents=True)
    run_folder.save_last(Path("saved_models/a"), saved)
    return saved


def brought_in(*argv):
    assert import_weights.main([*argv, "--name", "b", "--overwrite"]) == 0
    return checkpoint.read(LAST)


def assert_same(found, saved):
    assert found.vocab == saved.vocab
    assert found.config.model.without_dropout() == saved.config.model.without_dropout()
    assert found.weights.keys() == saved.weights.keys()
    for path, w in saved.weights.items():
        np.testing.assert_array_equal(found.weights[path], w)


MODELS = [
    {"cell": "lstm", "layers": 2, "dropout": 0.3},
    {"cell": "lstm", "recurrent_activation": "hard_sigmoid"},
    {"cell": "gru", "layers": 2},
    {"cell": "gru", "reset": "before", "activation": "linear"},
    {"cell": "rnn", "activation": "relu"},
]


@pytest.mark.usual(2)
@pytest.mark.parametrize("options", MODELS, ids=lambda x: " ".join(map(str, x.values())))
def test_a_file_of_keras_and_its_vocabulary(rng, options):
    saved = make_run(rng, **options)
    assert export.main(["a"]) == 0
    assert_same(brought_in("a.keras", "--vocab", "a.keras.vocab.json"), saved)


def test_a_state_dict_whose_header_was_lost_and_its_vocabulary(rng, capsys):
    saved = make_run(rng, cell="gru")
    assert export.main(["a", "--format", "safetensors"]) == 0
    save_file(load_file("a.safetensors"), "x.safetensors")
    assert_same(brought_in("x.safetensors", "--vocab", "a.safetensors.vocab.json"), saved)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"characters": [*"abcdef"], "more": 0}, "found a mapping of something else"),
        ({"characters": "abcdef"}, "found a mapping of something else"),
        ({"letters": [*"abcdef"]}, "found a mapping of something else"),
        ({"characters": [*"abcdea"]}, "found 'a' at 0 and 5"),
    ],
)
def test_other_mappings_are_no_exported_vocabulary(rng, capsys, value, match):
    make_run(rng, "abcdef")
    assert export.main(["a", "--format", "safetensors"]) == 0
    save_file(load_file("a.safetensors"), "x.safetensors")
    Path("v.json").write_text(json.dumps(value))
    capsys.readouterr()
    assert import_weights.main(["x.safetensors", "--vocab", "v.json", "--name", "b"]) == 2
    assert match in capsys.readouterr().err


# What a run has learned from


@pytest.mark.parametrize(
    ("mine", "text", "before"),  # None: that of small.txt
    [
        (A, False, [B, C]),
        (A, True, [B, C, A]),
        (None, True, [B, C]),
        (import_run.NOTHING, True, [B, C]),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["new header", "old header"])
def test_a_run_remembers_all_that_its_weights_have_learned_from(
    rng, capsys, mine, text, before, old
):
    small = read(load("small.txt")).sha256
    make_run(rng, SMALL_TEXT, mine or small, [B, C])
    assert export.main(["a", "--format", "safetensors"]) == 0
    path = Path("a.safetensors")
    if old:
        path.write_bytes(edited(path.read_bytes(), about(learned_before=None)))
    found = brought_in("a.safetensors", *["--vocab-from", "small.txt"] * text)
    assert "does not say how its layers" not in capsys.readouterr().out
    assert found.corpus_sha256 == (small if text else mine)
    assert found.learned_before == [x for x in before if not old or x == A]


# keras.ops.one_hot, as users write it, too


def one_hot_model(rng, V=7, **options):
    """A model of ids, which one_hot makes vectors of."""
    x = keras.Input((V,), dtype="int32", name="ids")
    vectors = keras.ops.one_hot(x, V, **options)
    y = L.Dense(V, name="dense")(L.LSTM(H, return_sequences=True, name="lstm")(vectors))
    model = keras.Model(x, y)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    return model


FORMS = {"3": "x.keras", "3 in h5": "x.h5"}


@pytest.mark.parametrize("form", FORMS)
def test_a_functional_model_of_ids_and_one_hot(rng, form):
    model = one_hot_model(rng)
    save_as(model, FORMS[form], form)
    found = keras_files.read(Path(FORMS[form]))
    assert found.embedding is None
    arrays = [w for layer in found.layers for w in layer] + [*found.dense]
    for a, b in zip(arrays, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.product(4)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@pytest.mark.parametrize("ids", [True, False])
def test_a_model_of_our_own_layers(rng, ids, kind, form):
    table = [] if ids else [L.Embedding(7, 4)]
    options = {"vocab_size": 7} if ids else {}
    cells = [kind(H, return_sequences=True, **options), kind(H, return_sequences=True)]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *table, *cells, L.Dense(7)])
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    save_as(model, FORMS[form], form)
    found = keras_files.read(Path(FORMS[form]))
    assert found.whole
    arrays = [] if ids else [found.embedding]
    arrays += [w for layer in found.layers for w in layer] + [*found.dense]
    for a, b in zip(arrays, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def after_a_layer(rng):
    x = keras.Input((None,))
    vectors = keras.ops.one_hot(L.Dropout(0.1)(x), 7)
    return keras.Model(x, L.Dense(7)(L.LSTM(H, return_sequences=True)(vectors)))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (after_a_layer, "expected one_hot of the input, found 'one_hot"),
        (lambda rng: one_hot_model(rng, axis=1), "along the last axis, -1, found axis 1"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_another_one_hot_is_refused(rng, make, match, form):
    save_as(make(rng), FORMS[form], form)
    with pytest.raises(InputError, match=match):
        keras_files.read(Path(FORMS[form]))


def of_more_classes(config):
    config["layers"][1]["config"]["num_classes"] = 8


def with_an_embedding(config):
    config["layers"].insert(2, {"class_name": "Embedding", "config": {"name": "e"}, "name": "e"})
    config["layers"][2]["inbound_nodes"] = config["layers"][3]["inbound_nodes"]
    ids, name = config["layers"][1]["name"], "e"
    text = json.dumps(config["layers"][2]["inbound_nodes"]).replace(ids, name)
    config["layers"][3]["inbound_nodes"] = json.loads(text)


def of_theirs(config):
    config["layers"][1] |= {"registered_name": "theirs>OneHot"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (of_more_classes, "one-hot vectors of the 7 numbers that 'lstm' reads, found 8 classes"),
        (with_an_embedding, "expected one_hot or an Embedding, found both"),
        (of_theirs, "layers of Keras or charlm.*'theirs>OneHot'"),
    ],
)
def test_a_one_hot_that_does_not_fit_is_refused(rng, change, match):
    one_hot_model(rng).save("x.h5")
    with h5py.File("x.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config).encode()
    with pytest.raises(InputError, match=match):
        keras_files.read(Path("x.h5"))
