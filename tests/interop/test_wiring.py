"""Law: a model is imported only if its layers are a chain from characters to a softmax over them.

What is wired otherwise is refused in one line that names what was found, whichever Keras wrote it.
"""

import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from charlm.errors import InputError
from charlm.interop import keras_files
from tests.interop.test_keras_files import arrays, assert_refused, assert_same, write_legacy

L = keras.layers
V = H = 5  # where they are equal no shape tells one wiring from another


def lstm(**options):
    return L.LSTM(H, return_sequences=True, **options)


def characters():
    return keras.Input((None, V))


def chain():
    x = characters()
    return x, L.Activation("softmax")(L.Dense(V)(L.Dropout(0.1)(lstm()(lstm()(x)))))


def encoder_and_decoder():
    x, y = characters(), characters()
    _, *state = L.LSTM(H, return_state=True)(x)
    return [x, y], L.Dense(V)(lstm()(y, initial_state=state))


def initial_state():
    x = characters()
    _, *state = L.LSTM(H, return_state=True)(x)
    return x, L.Dense(V)(lstm()(x, initial_state=state))


def two_outputs():
    x = characters()
    return x, [L.Dense(V)(lstm()(x)), lstm()(x)]


def the_same_layer_twice():
    x, again = characters(), lstm(name="again")
    return x, L.Dense(V)(again(again(x)))


def a_state_for_an_output():
    x = characters()
    _, _, c = L.LSTM(H, return_sequences=True, return_state=True)(x)
    return x, L.Dense(V)(c)


def a_state_as_the_output():
    x = characters()
    y = L.Dense(V)(x)
    return x, L.LSTM(H, return_state=True)(y)[2]


def dense_first():
    x = characters()
    return x, lstm(name="late")(L.Dense(V, name="early")(x))


WIRINGS = {
    encoder_and_decoder: r"one input, found 2: 'input_layer\w*', 'input_layer\w*'",
    initial_state: r"found an initial_state: 'lstm\w*' called with 3, of 'input_layer\w*', 'lstm",
    two_outputs: r"one output, found 2: 'dense\w*', 'lstm\w*'",
    the_same_layer_twice: "each layer called once, found 'again' called 2 times",
    a_state_for_an_output: r"found 'dense\w*' with state 2 of 'lstm\w*'",
    a_state_as_the_output: r"found the model with state 2 of 'lstm\w*'",
    dense_first: r"in this order, found dense 'early', lstm 'late'",
}


def of_keras_2(config, together):
    """The JSON of a functional model as Keras 2 wrote it: nested lists for tensors.

    Args:
        together: tensors of keyword arguments beside the first, as before TensorFlow 2.4.
    """

    def reference(tensor):
        return [*tensor["config"]["keras_history"]]

    def node(call):
        (first,) = call["args"]
        states = [reference(x) for x in call["kwargs"].get("initial_state", [])]
        if together or not states:
            return [[*reference(first), {}], *([*x, {}] for x in states)]
        return [[*reference(first), {"initial_state": states}]]

    for layer in config["config"]["layers"]:
        layer["inbound_nodes"] = [node(call) for call in layer["inbound_nodes"]]
    for ends in ("input_layers", "output_layers"):
        found = config["config"][ends]
        config["config"][ends] = [found] if isinstance(found[0], str) else found
    return config | {"class_name": "Model"}


def saved(model, path, form):
    model.save(path)
    if form.startswith("2"):
        with h5py.File(path, "a") as file:
            config = of_keras_2(json.loads(file.attrs["model_config"]), form == "2 together")
            file.attrs["model_config"] = json.dumps(config).encode()


FORMS = {"3": "x.keras", "3 in h5": "x.h5", "2": "x.h5", "2 together": "x.h5"}


def made(rng, make):
    model = keras.Model(*make())
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    return model


@pytest.mark.parametrize("form", FORMS)
def test_a_chain_is_read(rng, tmp_path, form):
    model, path = made(rng, chain), tmp_path / FORMS[form]
    saved(model, path, form)
    assert_same(keras_files.read(path), model.get_weights())


@pytest.mark.product(14)
@pytest.mark.usual(5)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", WIRINGS)
def test_another_wiring_is_refused_by_name(rng, tmp_path, make, form):
    path = tmp_path / FORMS[form]
    saved(made(rng, make), path, form)
    assert_refused(path, WIRINGS[make])


@pytest.mark.usual(3)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", [("input", "input_dropout"), ("x", "attention_add_dropout")])
def test_names_say_nothing_where_the_json_does(rng, tmp_path, words, form):
    x = keras.Input((None, V), name=words[0])
    y = lstm(name="forward_lstm")(L.Dropout(0.1, name=words[1])(x))
    model, path = made(rng, lambda: (x, L.Dense(V, name="concat")(y))), tmp_path / FORMS[form]
    saved(model, path, form)
    assert_same(keras_files.read(path), model.get_weights())


@pytest.mark.usual(3)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["layers"][1].update(inbound_nodes=[[["dense", 0, 0, {}]]]), "in a circle"),
        (lambda c: c["layers"][1].update(inbound_nodes=[]), "expected the input 'input_layer"),
        (lambda c: c["layers"].append(c["layers"][1] | {"name": "b"}), "found others: 'b'"),
        (lambda c: c.update(input_layers=[]), "one input, found 0"),
        (lambda c: c.update(output_layers=[["none", 0, 0]]), "damaged"),
        (lambda c: c["layers"][2].pop("inbound_nodes"), "damaged"),
    ],
)
def test_a_wiring_that_no_keras_writes_is_refused(rng, tmp_path, change, match):
    x = characters()
    path = tmp_path / "x.h5"
    saved(keras.Model(x, L.Dense(V, name="dense")(lstm(name="lstm")(x))), path, "2")
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config).encode()
    assert_refused(path, match)


# Without the JSON there are names, and widths


def side_by_side(merge):
    def make():
        x = characters()
        return x, L.Dense(V)(merge()([lstm()(x), lstm()(x)]))

    return make


def with_attention():
    x = characters()
    return x, L.Dense(V)(L.Attention(use_scale=True)([lstm()(x), lstm()(x)]))


def with_heads():
    x = lstm()(start := characters())
    return start, L.Dense(V)(L.MultiHeadAttention(1, 2)(x, x))


NAMES = {
    encoder_and_decoder: r"one input, found 2: '(layers/)?input_layer\w*', '(layers/)?input_layer",
    side_by_side(L.Add): r"side by side that are merged: '(layers/)?add(_\d+)?'",
    side_by_side(L.Concatenate): r"side by side that are merged: '(layers/)?concatenate(_\d+)?'",
    with_attention: r"found attention: '(layers/)?attention",
    with_heads: r"found attention: '(layers/)?multi_head_attention",
}


@pytest.mark.usual(4)
@pytest.mark.parametrize("file", ["x.weights.h5", "x.h5"])
@pytest.mark.parametrize("make", NAMES)
def test_what_names_alone_give_away(rng, tmp_path, make, file):
    path, model = tmp_path / file, made(rng, make)
    model.save(path) if file == "x.h5" else model.save_weights(path)
    if file == "x.h5":
        with h5py.File(path, "a") as opened:
            del opened.attrs["model_config"]
    assert_refused(path, NAMES[make])


def test_a_layer_of_an_unknown_name_is_not_counted_as_a_dense_by_name(rng, tmp_path):
    model = arrays(rng)
    model.insert(1, ("mine", {"kernel": rng.normal(size=(4, 1)).astype("float32")}))
    write_legacy(tmp_path / "x.h5", model)
    assert_refused(
        tmp_path / "x.h5", r"'lstm_13' \(lstm\), 'mine' \(unknown\), 'dense_9' \(dense\)"
    )


def test_legacy_layers_in_another_order_are_refused(rng, tmp_path):
    lstm_13, dense = arrays(rng, first=4)
    write_legacy(tmp_path / "x.h5", [dense, lstm_13])
    assert_refused(tmp_path / "x.h5", "in this order, found dense 'dense_9', lstm 'lstm_13'")


ENDS = {
    "a number a step": (1, 7, r"kernel of one row in '.*': the model reads one number a step"),
    "a regression": (7, 1, r"softmax over the 7 characters that '.*' reads, found one number in '"),
    "classes": (
        7,
        3,
        r"for 7 characters to read there are 3 outputs in '.*', which are not a softm",
    ),
}


@pytest.mark.usual(3)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("file", ["x.weights.h5", "x.keras", "x.h5"])
def test_a_model_that_is_no_softmax_over_what_it_reads(rng, tmp_path, end, ids, file):
    inputs, outputs, match = ENDS[end]
    if ids and inputs == 1:
        return  # an embedding of one row is another matter
    first = [keras.Input((None,)), L.Embedding(inputs, 4)] if ids else [keras.Input((None, inputs))]
    model = keras.Sequential([*first, lstm(), L.LSTM(H), L.Dense(outputs)])
    path = tmp_path / file
    model.save_weights(path) if file == "x.weights.h5" else model.save(path)
    assert_refused(path, match)


# Files that Keras 2.12 to 2.15 wrote on Windows


def write_windows(path, model, container):
    """As its saving library does there: "\\" between the parts of a name, then a group vars."""
    with h5py.File(path, "w") as file:
        for name, layer in model:
            inner = "\\cell" if "recurrent_kernel" in layer else ""
            group = file.create_group(f"{container}\\{name}{inner}").create_group("vars")
            for k, value in enumerate(layer.values()):
                group[str(k)] = value
        file.create_group(f"{container}\\input_layer").create_group("vars")
        file.create_group("optimizer\\extra").create_group("vars")["0"] = np.float32(3)


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
@pytest.mark.parametrize("zipped", [False, True])
def test_groups_named_on_windows(rng, tmp_path, container, zipped):
    model = arrays(rng, layers=2)
    path = tmp_path / "x.weights.h5"
    write_windows(path, model, container)
    if zipped:
        layers = [L.Dropout(0.1)]  # not in the file of weights: it has none
        layers += [L.LSTM(4, return_sequences=True) for _ in range(2)]
        stock = keras.Sequential([keras.Input((None, 7)), *layers, L.Dense(7)])
        stock.save(tmp_path / "stock.keras")
        with zipfile.ZipFile(tmp_path / "stock.keras") as archive:
            texts = {name: archive.read(name) for name in ("metadata.json", "config.json")}
        weights, path = path.read_bytes(), tmp_path / "x.keras"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
            archive.writestr("model.weights.h5", weights)
    assert_same(keras_files.read(path), [a for _, layer in model for a in layer.values()])


def test_two_arrays_that_differ_in_their_slashes_are_refused(rng, tmp_path):
    path = tmp_path / "x.weights.h5"
    write_windows(path, arrays(rng), "layers")
    with h5py.File(path, "a") as file:
        file["layers/dense_9/vars/0"] = np.ones((4, 7), "float32")
    assert_refused(path, r"different names, found two that differ in / and \\")


def test_names_on_windows_give_away_the_same(rng, tmp_path):
    path = tmp_path / "x.weights.h5"
    write_windows(path, [*arrays(rng)], "layers")
    with h5py.File(path, "a") as file:
        file.create_group("layers\\input_layer_1").create_group("vars")
    with pytest.raises(InputError) as raised:
        keras_files.read(path)
    assert re.search(
        r"one input, found 2: 'layers/input_layer', 'layers/input_layer_1'", str(raised)
    )
