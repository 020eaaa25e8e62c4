"""Law: weights that Keras 1, 2 or 3 wrote are read as they were meant, or refused in one line."""

import json
import os
import re
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from charlm.errors import InputError
from charlm.interop import keras_files
from charlm.interop.keras_files.layers import CELL
from charlm.runs import untrusted

D, H, V = 3, 4, 7
GATES = {"lstm": "ifco", "gru": "zrh", "simple_rnn": " "}
L = keras.layers


def assert_same(found, expected):
    """`found` has the arrays of `expected`, in the order embedding, layers, dense."""
    arrays = [] if found.embedding is None else [found.embedding]
    arrays += [a for layer in found.layers for a in layer] + list(found.dense)
    assert [a.shape for a in arrays] == [a.shape for a in expected]
    for a, b in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32


def assert_refused(path, match):
    with pytest.raises(InputError, match=match) as raised:
        keras_files.read(path)
    assert "\n" not in str(raised.value)
    assert path.name in str(raised.value)


# Keras 3, written by Keras itself


def keras_model(rng, *layers, embedding=False, functional=False):
    first = keras.Input((None,) if embedding else (None, V))
    if functional:
        x = first
        for layer in layers:
            x = layer(x)
        model = keras.Model(first, x)
    else:
        model = keras.Sequential([first, *layers])
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    return model


def several(cell, n, **options):
    return [cell(H, return_sequences=True, **options) for _ in range(n)]


MODELS = {
    "lstm": lambda: [*several(L.LSTM, 1), L.Dense(V)],
    "two": lambda: [*several(L.LSTM, 2), L.Dense(V, activation="softmax")],
    "eleven": lambda: [*several(L.LSTM, 11), L.Dense(V)],
    "rnn": lambda: [*several(L.SimpleRNN, 2), L.Dense(V)],
    "gru after": lambda: [*several(L.GRU, 2, reset_after=True), L.Dense(V)],
    "gru before": lambda: [*several(L.GRU, 2, reset_after=False), L.Dense(V)],
    "names": lambda: [
        L.LSTM(H, return_sequences=True, name="b"),
        L.LSTM(H, return_sequences=True, name="a"),
        L.Dense(V, name="lstm"),
    ],
    "around": lambda: [
        *several(L.LSTM, 1, dropout=0.1, seed=3),
        L.Dropout(0.1),
        *several(L.LSTM, 1),
        L.TimeDistributed(L.Dense(V), name="dense_2"),
        L.Activation("softmax"),
    ],
}
KERAS_3 = ["x.weights.h5", "x.keras", "x.h5"]


def save(model, path):
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)


@pytest.mark.product(6)
@pytest.mark.usual(3)
@pytest.mark.parametrize("file", KERAS_3)
@pytest.mark.parametrize("name", MODELS)
def test_what_keras_3_writes(rng, tmp_path, name, file):
    model = keras_model(rng, *MODELS[name](), functional=name == "around")
    save(model, tmp_path / file)
    found = keras_files.read(tmp_path / file)
    assert_same(found, model.get_weights())
    whole = file != "x.weights.h5"
    assert found.cell == name.split()[0] if name[:3] in ("gru", "rnn") else found.cell == "lstm"
    assert found.kind == ("Keras 3 model" if whole else "Keras 3 weights")
    assert found.keras_version == (keras.__version__ if whole else None)
    inner = None if name == "rnn" else "sigmoid"
    assert (found.activation, found.recurrent_activation) == (
        ("tanh", inner) if whole else (None, None)
    )


@pytest.mark.parametrize("file", KERAS_3)
def test_embedding(rng, tmp_path, file):
    layers = [L.Embedding(V, D), *several(L.LSTM, 2), L.Dense(V)]
    model = keras_model(rng, *layers, embedding=True)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    save(model, tmp_path / file)
    assert_same(keras_files.read(tmp_path / file), model.get_weights())


@pytest.mark.usual(3)
@pytest.mark.parametrize("file", KERAS_3)
@pytest.mark.parametrize("cell", [L.LSTM, L.GRU, L.SimpleRNN])
def test_no_bias_is_a_bias_of_zeros(rng, tmp_path, cell, file):
    model = keras_model(rng, *several(cell, 1, use_bias=False), L.Dense(V, use_bias=False))
    path = tmp_path / file
    save(model, path)
    if cell is L.GRU and file == "x.weights.h5":
        return assert_refused(path, "whether a GRU resets after")
    found = keras_files.read(path)
    kernel, recurrent, dense = model.get_weights()
    bias = np.zeros((2, 3 * H) if cell is L.GRU else recurrent.shape[1:])
    assert_same(found, [kernel, recurrent, bias, dense, np.zeros(V)])


def test_a_gru_without_bias_resets_as_its_description_says(rng, tmp_path):
    layers = several(L.GRU, 1, use_bias=False, reset_after=False)
    keras_model(rng, *layers, L.Dense(V)).save(tmp_path / "x.keras")
    assert keras_files.read(tmp_path / "x.keras").layers[0][2].shape == (3 * H,)


@pytest.mark.parametrize("file", KERAS_3[1:])
def test_activations_are_reported(rng, tmp_path, file):
    layers = several(L.LSTM, 2, activation="relu", recurrent_activation="hard_sigmoid")
    save(keras_model(rng, *layers, L.Dense(V)), tmp_path / file)
    found = keras_files.read(tmp_path / file)
    assert (found.activation, found.recurrent_activation) == ("relu", "hard_sigmoid")


class Subclassed(keras.Model):
    def __init__(self, cells):
        super().__init__()
        self.below = L.LSTM(H, return_sequences=True)  # the file has "above" before it
        self.above, self.head = L.LSTM(H, return_sequences=True), L.Dense(V)
        self.cells = several(L.LSTM, cells)

    def call(self, x):
        for layer in [self.below, self.above, *self.cells, self.head]:
            x = layer(x)
        return x


@pytest.mark.full
def test_a_model_with_names_of_its_own_is_ordered_by_widths_or_refused(rng, tmp_path):
    path = tmp_path / "x.weights.h5"
    for cells in (0, 2):
        model = Subclassed(cells)
        model(np.zeros((2, 5, V), "float32"))
        model.set_weights([rng.normal(size=w.shape) for w in model.weights])
        model.save_weights(path)
        if cells:
            assert_refused(path, "names or widths that give the order")
        else:
            layers = (model.below, model.above, model.head)
            assert_same(
                keras_files.read(path), [w for layer in layers for w in layer.get_weights()]
            )


@pytest.mark.product(8)
@pytest.mark.usual(6)
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: [L.Bidirectional(L.LSTM(2, return_sequences=True))], "found Bidirectional"),
        (lambda: [L.Conv1D(V, 1), *several(L.LSTM, 1)], "'Conv1D'|'layers/conv1d'"),
        (lambda: [L.LayerNormalization(), *several(L.LSTM, 1)], "LayerNorm|found normalization"),
        (lambda: [*several(L.LSTM, 1), L.Dense(H)], "2 Dense"),
        (lambda: [*several(L.LSTM, 1), *several(L.GRU, 1)], "one kind, found (gru|lstm) '"),
        (lambda: [*several(L.LSTM, 1), *several(L.SimpleRNN, 1)], "kind, found lstm '.*', rnn '"),
        (
            lambda: [L.LSTM(5, return_sequences=True), *several(L.LSTM, 1)],
            r"same units, found \[5, 4\]",
        ),
        (lambda: [], "0 recurrent"),
    ],
)
@pytest.mark.parametrize("file", KERAS_3[:2])
def test_other_models_are_refused(rng, tmp_path, make, match, file):
    save(keras_model(rng, *make(), L.Dense(V)), tmp_path / file)
    assert_refused(tmp_path / file, match)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: [*several(L.LSTM, 1, go_backwards=True), L.Dense(V)], "forward.*'.*' backward"),
        (lambda: [*several(L.LSTM, 1), L.Activation("relu"), L.Dense(V)], "softmax.*'relu'"),
        (lambda: [*several(L.LSTM, 1), L.Softmax(), L.Dense(V)], "found 'softmax'"),
        (lambda: [*several(L.LSTM, 1), L.Dense(V, activation="sigmoid")], "found 'sigmoid'"),
        (lambda: [L.RNN(L.LSTMCell(H), return_sequences=True), L.Dense(V)], "found 'RNN'"),
        (
            lambda: [*several(L.LSTM, 1), L.Dense(V, activation="softmax"), L.Softmax()],
            r"one softmax, found two: 'dense\w*' and 'softmax\w*'",
        ),
        (
            lambda: [*several(L.LSTM, 1), L.Dense(V), *[L.Activation("softmax") for _ in "ab"]],
            r"one softmax, found two: 'activation\w*' and 'activation",
        ),
        (
            lambda: [*several(L.LSTM, 1), L.Dense(V), L.Softmax(axis=1)],
            r"'softmax\w*' along the last axis, -1, found axis 1",
        ),
        (lambda: [L.TimeDistributed(L.Softmax()), *several(L.LSTM, 1), L.Dense(V)], "softmax"),
        (lambda: [L.Lambda(abs), *several(L.LSTM, 1), L.Dense(V)], "found 'Lambda'"),
        (
            lambda: [
                L.LSTM(H, return_sequences=True, activation="relu"),
                *several(L.LSTM, 1),
                L.Dense(V),
            ],
            "one activation.*relu.*tanh",
        ),
    ],
)
def test_a_description_that_means_something_else_is_refused(rng, tmp_path, make, match):
    keras_model(rng, *make()).save(tmp_path / "x.keras")
    assert_refused(tmp_path / "x.keras", match)


@keras.saving.register_keras_serializable(package="theirs")
class LSTM(L.LSTM):
    pass


def test_a_class_of_the_same_name_is_not_keras_s(rng, tmp_path):
    keras_model(rng, *several(LSTM, 1), L.Dense(V)).save(tmp_path / "x.keras")
    assert_refused(tmp_path / "x.keras", "found 'theirs>LSTM'")


# The files of Keras 1 and 2, laid out as those were


def arrays(rng, cell="lstm", layers=1, first=V, after=False):
    """[(name, {"kernel": ...}) ...] with the dense layer, in Keras 3's packing."""
    G = len(GATES[cell])
    made = []
    for k in range(layers):
        shapes = ((H if k else first, G * H), (H, G * H), (2, G * H) if after else (G * H,))
        values = [rng.normal(size=s).astype("float32") for s in shapes]
        made.append((f"{cell}_{13 + k}", dict(zip(CELL, values, strict=True))))
    dense = {"kernel": rng.normal(size=(H, V)), "bias": rng.normal(size=V)}
    return [*made, ("dense_9", {k: v.astype("float32") for k, v in dense.items()})]


def flat(model):
    return [a for _, layer in model for a in layer.values()]


def keras_2_names(name, layer):
    inner = f"{name}/{name.rsplit('_', 1)[0]}_cell" if "recurrent_kernel" in layer else name
    return {f"{inner}/{key}:0": a for key, a in layer.items()}


def keras_1_names(name, layer):
    gates = GATES.get(name.rsplit("_", 1)[0], " ")
    names = {}
    for gate in {"ifco": "icfo"}.get(gates, gates):  # the order in the file
        for key, letter in zip(CELL, "WUb", strict=True):
            if key in layer:
                part = np.split(layer[key], len(gates), -1)[gates.index(gate)]
                names[f"{name}_{letter}_{gate}".removesuffix("_ ")] = part
        if "embeddings" in layer:
            names[f"{name}_W"] = layer["embeddings"]
    return names


def write_legacy(path, model, names=keras_2_names, version=b"2.1.3", config=None, chunks=False):
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
            file.create_group("optimizer_weights")["count:0"] = np.array(3)
            root = file.create_group("model_weights")
        if version:
            root.attrs["keras_version"] = version
            root.attrs["backend"] = b"tensorflow"

        def listed(group, attribute, values):
            values = [v.encode() for v in values]
            if chunks:
                for k, value in enumerate(values):
                    group.attrs[f"{attribute}{k}"] = [value]
            else:
                group.attrs[attribute] = values

        listed(root, "layer_names", [model[0][0], "dropout_1", *(n for n, _ in model[1:])])
        root.create_group("dropout_1").attrs["weight_names"] = np.zeros(0)
        for name, layer in model:
            group = root.create_group(name)
            written = names(name, layer)
            for key, value in written.items():
                group[key] = value
            listed(group, "weight_names", list(written))


def described(model, recurrent=None, dense="softmax", **options):
    """The JSON of a Sequential model of Keras 2."""
    classes = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN", "dense": "Dense"}
    layers = []
    for name, layer in model:
        class_name = classes.get(name.rsplit("_", 1)[0], "Embedding")
        config = {"name": name, "activation": "tanh" if "recurrent_kernel" in layer else dense}
        if class_name in ("LSTM", "GRU"):
            config |= {"recurrent_activation": recurrent or "hard_sigmoid"} | options
        layers.append({"class_name": class_name, "config": config})
    return {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": layers}}


@pytest.mark.product(10)
@pytest.mark.usual(5)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize(
    ("cell", "after"), [("lstm", False), ("gru", False), ("gru", True), ("simple_rnn", False)]
)
def test_keras_2(rng, tmp_path, cell, after, chunks, whole):
    model = arrays(rng, cell, layers=2, after=after)
    config = described(model, reset_after=after) if whole else None
    write_legacy(tmp_path / "x.h5", model, config=config, chunks=chunks)
    found = keras_files.read(tmp_path / "x.h5")
    assert_same(found, flat(model))
    assert found.cell == {"simple_rnn": "rnn"}.get(cell, cell)
    assert (found.keras_version, found.activation) == ("2.1.3", "tanh" if whole else None)
    gated = whole and cell != "simple_rnn"
    assert found.recurrent_activation == ("hard_sigmoid" if gated else None)
    assert found.kind == f"Keras 2.1.3 {'model' if whole else 'weights'}"


def test_keras_2_order_is_that_of_layer_names(rng, tmp_path):
    model = arrays(rng, layers=2)
    model = [("lstm_14", model[0][1]), ("lstm_13", model[1][1]), model[2]]
    write_legacy(tmp_path / "x.h5", model, lambda n, x: {f"{n}/{k}:0": a for k, a in x.items()})
    assert_same(keras_files.read(tmp_path / "x.h5"), flat(model))


@pytest.mark.usual(3)
@pytest.mark.parametrize("version", [b"1.2.2", None])
@pytest.mark.parametrize("cell", GATES)
def test_keras_1_an_array_a_gate(rng, tmp_path, cell, version):
    model = arrays(rng, cell, layers=2, first=D)
    model = [("embedding_1", {"embeddings": rng.normal(size=(V, D)).astype("float32")}), *model]
    write_legacy(tmp_path / "x.h5", model, keras_1_names, version)
    found = keras_files.read(tmp_path / "x.h5")
    assert_same(found, flat(model))
    assert found.kind == ("Keras 1.2.2 weights" if version else "Keras 1 weights")


def test_keras_1_whole_model(rng, tmp_path):
    model = arrays(rng)
    config = described(model)
    config["config"] = config["config"]["layers"]
    options = config["config"][0]["config"]
    options["inner_activation"] = options.pop("recurrent_activation")
    write_legacy(tmp_path / "x.h5", model, keras_1_names, b"1.2.2", config)
    found = keras_files.read(tmp_path / "x.h5")
    assert_same(found, flat(model))
    assert (found.activation, found.recurrent_activation) == ("tanh", "hard_sigmoid")


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floats(rng, tmp_path, dtype):
    model = [(n, {k: a.astype(dtype) for k, a in x.items()}) for n, x in arrays(rng)]
    write_legacy(tmp_path / "x.h5", model)
    assert_same(keras_files.read(tmp_path / "x.h5"), [a.astype("float32") for a in flat(model)])


# Keras 3's layout with anything in it


def keras_3_paths(model, container="layers"):
    paths = {}
    for name, layer in model:
        inner = "cell/" if "recurrent_kernel" in layer else ""
        for k, value in enumerate(layer.values()):
            paths[f"{container}/{name}/{inner}vars/{k}"] = value
    return paths


def write_paths(path, paths, change=lambda file: None):
    with h5py.File(path, "w") as file:
        for name, value in paths.items():
            file[name] = value
        change(file)


def test_the_containers_of_keras_2_12_and_of_charlm(rng, tmp_path):
    model = arrays(rng, layers=2)
    path = tmp_path / "x.weights.h5"
    write_paths(path, keras_3_paths(model, "_layer_checkpoint_dependencies"))
    assert_same(keras_files.read(path), flat(model))
    paths = keras_3_paths(model) | {"optimizer/vars/0": 3}
    write_paths(path, paths)
    assert_same(keras_files.read(path), flat(model))
    write_paths(path, paths | {"charlm/meta": np.zeros(3, "uint8")})
    assert_refused(path, "found charlm's own; charlm sample")


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [("coupled_lstm", "gru", "coupled"), ("mine", "gru", "gru"), ("mine", "lstm", "lstm"),
     ("mine", "simple_rnn", "rnn")],
)  # fmt: skip
def test_the_kind_follows_from_the_name_or_from_the_gates(rng, tmp_path, name, cell, expected):
    model = arrays(rng, cell)
    paths = keras_3_paths([(name, model[0][1]), model[1]])
    write_paths(tmp_path / "x.weights.h5", paths)
    found = keras_files.read(tmp_path / "x.weights.h5")
    assert found.cell == expected
    assert_same(found, flat(model))


LSTM_AT, DENSE_AT = "layers/lstm_13/cell/vars/", "layers/dense_9/vars/"
NOT_FINITE = np.full((4, 7), np.nan, "float32")
TOO_LARGE = np.full((4, 7), 1e300)


@pytest.mark.usual(5)
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({DENSE_AT + "0": NOT_FINITE}, r"finite.*dense_9/vars/0'.*NaN or infinity, 28 of 28"),
        ({DENSE_AT + "0": TOO_LARGE}, "finite.*dense_9/vars/0'"),
        ({DENSE_AT + "0": np.ones((4, 7), "int32")}, "float16.*found int32"),
        ({DENSE_AT + "0": np.ones((4, 7), np.longdouble)}, "float16.*found float"),
        ({DENSE_AT + "0": np.ones((4, 7), bool)}, "float16.*found bool"),
        ({DENSE_AT + "0": np.ones((4, 7), "complex64")}, "float16.*found complex64"),
        ({DENSE_AT + "0": np.array([[b"a"]], object)}, "found object"),
        ({DENSE_AT + "0": h5py.Empty("f4")}, "found no space"),
        ({DENSE_AT + "0": np.float32(1)}, "kernel|damaged"),
        ({DENSE_AT + "0": np.ones((5, 7), "f4")}, r"kernel \(4, 7\) in .*found \(5, 7\)"),
        ({DENSE_AT + "0": np.ones((4, 6), "f4")}, r"bias \(6,\).*found \(7,\)"),
        ({DENSE_AT + "0": None, DENSE_AT + "1": None}, "1 recurrent, 0 Dense"),
        ({DENSE_AT + "2": np.ones(3, "f4")}, "2 arrays at most"),
        ({LSTM_AT + "3": np.ones(3, "f4")}, "3 arrays at most"),
        ({LSTM_AT + "0": None}, "expected kernel.*found 'bias', 'recurrent_kernel'"),
        ({LSTM_AT + "1": None}, "expected kernel, recurrent_kernel.*found 'bias', 'kernel'"),
        ({LSTM_AT + "0": np.ones((7, 15), "f4")}, r"kernel \(7, 16\).*found \(7, 15\)"),
        ({LSTM_AT + "0": np.ones((6, 16), "f4")}, r"kernel \(7, 16\).*found \(6, 16\)"),
        ({LSTM_AT + "1": np.ones((4, 15), "f4")}, r"lstm's \(H, 4H\).*found \(4, 15\)"),
        ({LSTM_AT + "1": np.ones((4, 12), "f4")}, r"found \(4, 12\), a gru's 3 gates"),
        ({LSTM_AT + "1": np.ones((0, 0), "f4")}, r"found \(0, 0\)"),
        ({LSTM_AT + "1": np.ones(4, "f4")}, r"lstm's \(H, 4H\).*found \(4,\)"),
        ({LSTM_AT + "2": np.ones(32, "f4")}, r"bias \(16,\).*found \(32,\)"),
        ({LSTM_AT + "2": np.ones((2, 16), "f4")}, r"bias \(16,\).*found \(2, 16\)"),
        ({"layers/embedding/vars/0": np.ones((6, 7), "f4")}, r"embeddings \(7, 7\).*\(6, 7\)"),
        ({"layers/embedding/vars/0": np.ones((7, 3), "f4")}, r"kernel \(3, 16\).*\(7, 16\)"),
        ({f"layers/embedding{k}/vars/0": np.ones((7, 7), "f4") for k in ("", "_1")}, "2 Embedd"),
        ({"layers/x/cell/cells/lstm_cell/vars/0": np.ones(3, "f4")}, "2 Dense|found.*cells"),
        ({"other": np.ones(3, "f4")}, "array at 'other'"),
        ({"layers/a\nb": np.ones(3, "f4")}, r"array at 'layers/a\\nb'"),
        ({"layers/gru/cell/vars/0": np.ones(3, "f4")}, "found 'kernel'"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(rng, tmp_path, changes, match):
    paths = {k: v for k, v in (keras_3_paths(arrays(rng)) | changes).items() if v is not None}
    write_paths(tmp_path / "x.weights.h5", paths)
    assert_refused(tmp_path / "x.weights.h5", match)


def test_layers_must_be_alike_and_chain(rng, tmp_path):
    path = tmp_path / "x.weights.h5"
    lstm, gru = arrays(rng), arrays(rng, "gru", first=H)
    write_paths(path, keras_3_paths([lstm[0], *gru]))
    assert_refused(path, "one kind, found (lstm|gru)")
    two = arrays(rng, layers=2)
    two[1][1]["kernel"] = np.ones((5, 16), "f4")
    write_paths(path, keras_3_paths(two))
    assert_refused(path, r"kernel \(4, 16\) in 'layers/lstm_14', found \(5, 16\)")


@pytest.mark.parametrize(
    ("lost", "match"),
    [("_W_f", "'kernel_f'"), ("_b_o", "'bias_o'"), ("_U_c", "'recurrent_kernel_c'")],
)
def test_keras_1_without_a_gate(rng, tmp_path, lost, match):
    def names(name, layer):
        return {k: a for k, a in keras_1_names(name, layer).items() if not k.endswith(lost)}

    write_legacy(tmp_path / "x.h5", arrays(rng), names)
    assert_refused(tmp_path / "x.h5", f"missing or unexpected: {match}$")


def test_keras_1_with_gates_of_other_widths(rng, tmp_path):
    def names(name, layer):
        made = keras_1_names(name, layer)
        if f"{name}_W_i" in made:
            made[f"{name}_W_i"] = np.ones((V, 3), "f4")
            made[f"{name}_W_f"] = np.ones((V, 5), "f4")
        return made

    write_legacy(tmp_path / "x.h5", arrays(rng), names)
    assert_refused(tmp_path / "x.h5", r"\(7, 3\).*found \(7, 5\)")


@pytest.mark.parametrize(
    ("rename", "match"),
    [
        ({"lstm_13/lstm_cell/recurrent_kernel:0": None}, "found 'bias', 'kernel'$"),
        ({"lstm_13/lstm_cell/kernel:0": "lstm_13/forward_lstm_3/kernel:0"}, "Bidirectional"),
        ({"lstm_13/lstm_cell/kernel:0": "cu_dnnlstm_1/kernel:0"}, "CuDNN's layout; load it"),
        ({"lstm_13/lstm_cell/bias:0": "lstm_13/kernel:0"}, "one 'kernel' in 'lstm_13'.*found two"),
    ],
)
def test_keras_2_with_odd_names(rng, tmp_path, rename, match):
    def names(name, layer):
        made = {rename.get(k, k): a for k, a in keras_2_names(name, layer).items()}
        return {k: a for k, a in made.items() if k}

    write_legacy(tmp_path / "x.h5", arrays(rng), names)
    assert_refused(tmp_path / "x.h5", match)


def test_keras_2_that_lists_what_it_has_not(rng, tmp_path):
    path = tmp_path / "x.h5"
    write_legacy(path, arrays(rng))
    with h5py.File(path, "a") as file:
        del file["dense_9/dense_9/bias:0"]
    assert_refused(path, "one 'bias' in 'dense_9' .*, found none")


@pytest.mark.usual(3)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(class_name="Theirs"), "Sequential or Functional.*'Theirs'"),
        (lambda c: c["config"]["layers"].pop(0), "expected dense, as the model's JSON says"),
        (lambda c: c["config"]["layers"][0].update(class_name="CuDNNLSTM"), "CuDNN's layout"),
        (lambda c: c["config"]["layers"][0].update(class_name="GRU"), "gru's .*lstm's 4 gates"),
        (lambda c: c["config"]["layers"][0].update(module="theirs"), "layers of Keras or charlm"),
        (lambda c: c["config"]["layers"][0].update(registered_name="a>b"), "or charlm.*'a>b'"),
        (lambda c: c["config"]["layers"][0]["config"].update(activation={}), "by its name"),
        (lambda c: c["config"]["layers"][0]["config"].update(activation="a\nb"), "by its name"),
        (lambda c: c["config"].update(layers=3), "damaged"),
        (lambda c: c.clear(), "damaged"),
    ],
)
def test_keras_2_with_another_description(rng, tmp_path, change, match):
    model = arrays(rng)
    config = described(model)
    change(config)
    write_legacy(tmp_path / "x.h5", model, config=config)
    assert_refused(tmp_path / "x.h5", match)


# Files that are none, damaged or hostile


def test_what_is_no_file_of_weights(tmp_path):
    assert_refused(tmp_path / "x.h5", "No such file")
    assert_refused(tmp_path, "found a folder")
    path = tmp_path / "x.h5"
    path.write_bytes(b"text\nand more")
    assert_refused(path, r"found none of them: 13 bytes that begin with b'text\\nand'")
    (tmp_path / "x\n.h5").mkdir()
    with pytest.raises(InputError, match=r"x \.h5: expected a file of weights, found a folder$"):
        keras_files.read(tmp_path / "x\n.h5")
    path.write_bytes(b"")
    assert_refused(path, "found none of them: 0 bytes")
    os.mkfifo(tmp_path / "pipe.h5")
    assert_refused(tmp_path / "pipe.h5", "a pipe or device")


def test_a_file_over_the_cap(rng, tmp_path, monkeypatch):
    path = tmp_path / "x.weights.h5"
    write_paths(path, keras_3_paths(arrays(rng)))
    monkeypatch.setattr(untrusted, "MAX_BYTES", path.stat().st_size - 1)
    assert_refused(path, rf"a file of {path.stat().st_size - 1} bytes at most, found")


def zipped(path, change):
    """Rewrites a `.keras` file with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.pop("model.weights.h5"), "expected model.weights.h5 in the zip"),
        (lambda m: m.pop("config.json"), "expected config.json in the zip"),
        (lambda m: m.update({"config.json": b"{"}), "damaged"),
        (lambda m: m.update({"config.json": b"[" * 100_000}), "damaged"),
        (lambda m: m.update({"config.json": b"[]"}), "damaged"),
        (lambda m: m.update({"config.json": b" " * 2**22 + b" "}), "config.json of 4194304 bytes"),
        (lambda m: m.update({"model.weights.h5": b"no"}), "damaged"),
        (lambda m: m.update({"model.weights.h5": bytes(2**20)}), "h5 of 99999 bytes at most"),
    ],
)
def test_zips_with_something_else_in_them(rng, tmp_path, monkeypatch, change, match):
    path = tmp_path / "x.keras"
    keras_model(rng, *several(L.LSTM, 1), L.Dense(V)).save(path)
    zipped(path, change)
    monkeypatch.setattr(untrusted, "MAX_BYTES", 99_999)
    assert_refused(path, match)


def written(rng, tmp_path):
    """One file of each format."""
    model = keras_model(rng, *several(L.LSTM, 1), L.Dense(V))
    for file in KERAS_3:
        save(model, tmp_path / file)
    write_legacy(tmp_path / "1.h5", arrays(rng), keras_1_names, None)
    write_legacy(tmp_path / "2.h5", arrays(rng))
    return [*KERAS_3, "1.h5", "2.h5"]


@pytest.mark.soak
def test_a_file_cut_anywhere_is_refused(rng, tmp_path):
    for file in written(rng, tmp_path):
        path = tmp_path / file
        whole = path.read_bytes()
        for length in np.linspace(0, len(whole) - 1, 12).astype(int):
            path.write_bytes(whole[:length])
            assert_refused(path, "expected")


@pytest.mark.parametrize("dtype", ["f8", h5py.vlen_dtype("f8")])
def test_names_must_be_text(rng, tmp_path, dtype):
    path = tmp_path / "x.h5"
    write_legacy(path, arrays(rng))
    with h5py.File(path, "a") as file:
        value = np.ones(1) if dtype == "f8" else np.array([np.ones(2), None], object)[:1]
        file.attrs.create("layer_names", value, dtype=dtype)
    assert_refused(path, "text in the attribute 'layer_names', found")


def link(name, make):
    """Puts in the place of `name` what `make(file, array)` returns."""

    def change(file):
        value = file[name][()] if isinstance(file[name], h5py.Dataset) else None
        del file[name]
        file[name] = make(file, value)

    return change


def soft(file, value):
    file["elsewhere"] = value
    return h5py.SoftLink("/elsewhere")


@pytest.mark.product(4)
@pytest.mark.usual(3)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        (DENSE_AT + "0", soft),
        (DENSE_AT + "0", lambda *_: h5py.ExternalLink("good.h5", DENSE_AT + "0")),
        ("layers/dense_9", lambda *_: h5py.ExternalLink("good.h5", "layers/dense_9")),
        ("layers", lambda *_: h5py.ExternalLink("good.h5", "layers")),
        ("layers", lambda *_: h5py.ExternalLink("pipe", "layers")),
        ("layers", lambda *_: h5py.SoftLink("/nowhere")),
        ("model_weights", lambda *_: h5py.ExternalLink("pipe", "layers")),
    ],
)
def test_no_link_is_followed(rng, tmp_path, monkeypatch, name, make):
    paths = keras_3_paths(arrays(rng))
    write_paths(tmp_path / "good.h5", paths)
    keras_files.read(tmp_path / "good.h5")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    put = link(name, make) if name != "model_weights" else lambda f: f.update({name: make()})
    write_paths(tmp_path / "x.h5", paths, put)
    assert_refused(tmp_path / "x.h5", "in the file itself, found a link at")


def virtual(file, value):
    layout = h5py.VirtualLayout(value.shape, value.dtype)
    layout[:] = h5py.VirtualSource("good.h5", DENSE_AT + "0", value.shape)
    return file.create_virtual_dataset("v", layout)


def external(file, value):
    return file.create_dataset("e", value.shape, value.dtype, external="good.h5")


def promised(shape):
    return lambda file, value: file.create_dataset("p", shape, "f4", chunks=(1,) * len(shape))


def compressed(file, value):
    return file.create_dataset("c", data=value, compression="gzip")


@pytest.mark.usual(3)
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (virtual, "stored elsewhere"),
        (external, "stored elsewhere"),
        (compressed, "stored as it is, 112 bytes in one piece, found"),
        (promised((H, V)), "stored as it is, 112 bytes in one piece, found 0 bytes"),
        (promised((2**31, 2**31)), "arrays of .* bytes at most, found 18446744073709"),
        (promised((2**20,)), "arrays of .* bytes at most, found 419"),
    ],
)
def test_arrays_that_the_file_does_not_hold(rng, tmp_path, monkeypatch, make, match):
    paths = keras_3_paths(arrays(rng))
    write_paths(tmp_path / "good.h5", paths)
    monkeypatch.chdir(tmp_path)

    def change(file):
        link(DENSE_AT + "0", make)(file)
        for name in set(file) - {"layers"}:
            del file[name]

    write_paths(tmp_path / "x.h5", paths, change)
    assert_refused(tmp_path / "x.h5", match)


def test_one_array_under_many_names_is_not_read_many_times(rng, tmp_path):
    def change(file):
        for k in range(40):
            file[f"layers/lstm_{14 + k}"] = file["layers/lstm_13"]

    write_paths(tmp_path / "x.h5", keras_3_paths(arrays(rng)), change)
    assert_refused(tmp_path / "x.h5", "one name for each object")


def test_a_group_that_is_its_own_member(rng, tmp_path):
    def change(file):
        file["layers/again"] = file["layers"]

    write_paths(tmp_path / "x.h5", keras_3_paths(arrays(rng)), change)
    assert_refused(tmp_path / "x.h5", "one name for each object, .* 'layers/again'")


def test_a_file_of_too_many_names(rng, tmp_path, monkeypatch):
    write_paths(tmp_path / "x.h5", keras_3_paths(arrays(rng)))
    monkeypatch.setattr(untrusted, "MAX_NAMES", 11)
    keras_files.read(tmp_path / "x.h5")  # 5 arrays in 6 groups
    monkeypatch.setattr(untrusted, "MAX_NAMES", 10)
    assert_refused(tmp_path / "x.h5", "10 names at most")


def test_nothing_is_loaded_but_numpy_and_h5py():
    source = "".join(path.read_text() for path in Path(keras_files.__file__).parent.glob("*.py"))
    imported = set(re.findall(r"^(?:import|from) (\w+)", source, re.M))
    assert not imported & {"keras", "tensorflow", "pickle", "importlib"}
    assert not re.search(r"\b(eval|exec|__import__|allow_pickle)\b", source)
