"""Law: a state dict of PyTorch is the same network here, and a run is the same network there."""

import functools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charlm import export, import_weights, sample, train
from charlm.config import Config, ModelConfig
from charlm.interop import keras_files
from charlm.reference.network import initial_weights
from charlm.runs import checkpoint, run_folder
from charlm.runs.checkpoint import Checkpoint
from charlm.runs.progress import Progress
from charlm.text.vocab import Vocab
from tests.conftest import SMALL_TEXT
from tests.interop import state_dicts
from tests.interop.state_dicts import save, state_dict

V = len(set(SMALL_TEXT))
D, H, B, T = 3, 5, 2, 9
LAST = Path("saved_models/a/last.weights.h5")
GUIDE = Path(__file__).parents[2] / "docs/guide/import-and-export.md"


@pytest.fixture
def here(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return tmp_path


def brought_in(*more, text=True):
    """The network that `charlm import` makes of x.safetensors."""
    anyway = "--allow-worse-than-unigram"  # with random weights
    argv = ["x.safetensors", "--name", "a", "--overwrite", anyway, *more]
    assert import_weights.main([*argv, *(["--vocab-from", "small.txt"] if text else [])]) == 0
    return checkpoint.read(LAST).to_network()


def logits_of(network, ids):
    return network.forward(ids, network.initial_states(len(ids)))[0]


@pytest.fixture(params=["equations", "torch"])
def oracle(request):
    if request.param == "torch":
        pytest.importorskip("torch")
    return getattr(state_dicts, f"by_{request.param}")


# Import


@pytest.mark.product(24)
@pytest.mark.usual(12)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [None, D, H])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 2), ("gru", 1), ("gru", 3), ("rnn", 2)])
def test_an_imported_state_dict_has_the_same_logits(here, rng, oracle, cell, layers, width, bias):
    state = state_dict(rng, cell, V, H, width, layers, bias)
    save(state)
    ids = rng.integers(V, size=(B, T))
    expected = oracle(state, cell, ids)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(logits_of(brought_in(), ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_nonlinearity_of_an_rnn_is_a_flag(here, rng, capsys, oracle, activation):
    state = state_dict(rng, "rnn", V, H, layers=2)
    save(state)
    ids = rng.integers(V, size=(B, T))
    f = {"tanh": np.tanh, "relu": functools.partial(np.maximum, 0)}[activation]
    expected = oracle(state, "rnn", ids, f)
    network = brought_in("--activation", activation)
    np.testing.assert_allclose(logits_of(network, ids), expected, rtol=1e-5, atol=1e-5)
    assert "names no activations" not in capsys.readouterr().out
    brought_in()
    assert "names no activations, assumed: tanh, the default of PyTorch" in capsys.readouterr().out


def test_a_refusal_says_what_was_assumed(here, rng, capsys):
    argv = ["x.safetensors", "--vocab-from", "small.txt"]
    doubt = (
        "the file names no activations, assumed: tanh, the default of PyTorch (--activation if it "
        "had others); "
    )
    wiring = "the file does not say how its layers are connected, assumed: a chain of one-hot char"
    for cell, more in (("rnn", []), ("rnn", ["--activation", "relu"]), ("lstm", [])):
        state = state_dict(rng, cell, V, H)
        state["linear.bias"] *= 9  # worse than any guess
        save(state)
        assert import_weights.main([*argv, *more]) == 2
        err = capsys.readouterr().err
        assert "bits/char of a unigram model, which only knows how frequent each char" in err
        doubted = doubt if cell == "rnn" and not more else ""
        assert f"(or what was assumed is wrong: {doubted}{wiring}" in err


def test_what_pytorch_always_computes_is_not_assumed(here, rng, capsys):
    save(state_dict(rng, "gru", V, H))
    brought_in()
    out = capsys.readouterr().out
    assert "PyTorch weights; gru 1 x 5" in out
    assert "names no activations" not in out
    for flag, value, said in (
        ("--activation", "relu", "expected --activation tanh, which x.safetensors says"),
        ("--recurrent-activation", "hard_sigmoid", "expected --recurrent-activation sigmoid"),
        (
            "--keras-version",
            "2.15",
            "expected no --keras-version, because x.safetensors is of PyTorch",
        ),
    ):
        argv = ["x.safetensors", "--vocab-from", "small.txt", flag, value, "--name", "b"]
        assert import_weights.main(argv) == 2
        assert said in capsys.readouterr().err
    assert not Path("saved_models/b").exists()


def arrays(path="x.safetensors"):
    found = keras_files.read(Path(path))
    table = [] if found.embedding is None else [found.embedding]
    return [*table, *(w for layer in found.layers for w in layer), *found.dense]


def assert_same(found, expected):
    assert [w.shape for w in found] == [w.shape for w in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.tobytes() == b.tobytes()


def renamed(state, changes):
    return {functools.reduce(lambda n, c: re.sub(*c, n), changes, k): w for k, w in state.items()}


@pytest.mark.parametrize(
    "changes",
    [
        [("^", "module.")],
        [("^", "_orig_mod."), ("rnn", "lstm_layers.deep")],
        [("embedding", "encoder"), ("linear", "decoder")],
        [("embedding", "0"), ("rnn", "1"), ("linear", "2.0")],
        [("linear", "embedding"), ("^embedding.weight$", "linear.weight")],
        [("rnn.", "")],
    ],
)
def test_names_do_not_matter(here, rng, changes):
    """But for those of parameters: D differs from H, so that shapes tell all else."""
    state = state_dict(rng, "lstm", V, H, D, layers=2)
    save(state)
    expected = arrays()
    save(renamed(state, changes))
    if changes[0][0] == "linear":  # the table has the output's name, and the output the table's
        state["linear.weight"], state["embedding.weight"] = (
            state["embedding.weight"], state["linear.weight"])  # fmt: skip
        state["embedding.bias"] = state.pop("linear.bias")
        save(state)
    assert_same(arrays(), expected)


@pytest.mark.parametrize(
    ("bias", "names"),
    [
        (True, ["a", "b"]),
        (True, ["encoder.b", "encoder.a"]),
        (False, ["emb", "z"]),
        (False, ["model.encoder", "model.decoder"]),
        (False, ["wte", "lm_head"]),
    ],
)
def test_an_embedding_as_wide_as_the_units_is_known_by_its_bias_or_name(here, rng, bias, names):
    state = state_dict(rng, "gru", V, H, H, bias=bias)
    save(state)
    expected = arrays()
    save(renamed(state, [("^embedding", names[0]), ("^linear", names[1])]))
    assert_same(arrays(), expected)


@pytest.mark.parametrize(
    "modules",
    [
        ["lstm1", "lstm2"],
        ["lstm", "lstm2"],
        ["rnns.0.cell", "rnns.1.cell"],
        ["layers.3", "layers.5"],
        ["block1_lstm", "block2_lstm"],
        [f"r.{k}" for k in range(11)],
    ],
)
@pytest.mark.parametrize("suffix", ["_l0", ""])
def test_modules_of_a_layer_each_are_ordered_by_their_numbers(here, rng, modules, suffix):
    state = state_dict(rng, "lstm", V, H, layers=len(modules))
    save(state)
    expected = arrays()
    changes = [(rf"^rnn\.(\w+)_l{k}$", rf"{name}.\1{suffix}") for k, name in enumerate(modules)]
    save(renamed(state, changes))
    assert_same(arrays(), expected)


def test_two_modules_are_ordered_by_their_widths(here, rng):
    state = state_dict(rng, "gru", V, H, D, layers=2)
    save(state)
    expected = arrays()
    save(renamed(state, [(r"^rnn\.(\w+)_l0$", r"z.\1_l0"), (r"^rnn\.(\w+)_l1$", r"a.\1_l0")]))
    assert_same(arrays(), expected)


def test_shared_weights_are_found(here, rng, capsys, oracle):
    """As safetensors' save_model leaves one of two names, and as a careful user might."""
    state = state_dict(rng, "lstm", V, H, H)
    state["embedding.weight"] = state["linear.weight"]
    ids = rng.integers(V, size=(B, T))
    expected = oracle(state, "lstm", ids)
    for lost, kept in (("embedding", "linear"), ("linear", "embedding")):
        rest = {name: w for name, w in state.items() if name != f"{lost}.weight"}
        for metadata in ({f"{lost}.weight": f"{kept}.weight"}, {}):
            save(rest, **metadata)
            network = brought_in()
            np.testing.assert_allclose(logits_of(network, ids), expected, rtol=1e-5, atol=1e-5)
            said = f"the embedding is '{kept}.weight'" in capsys.readouterr().out
            assert said == (not metadata)


def test_shared_weights_as_torch_saves_them(here, rng):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_model

    module = torch.nn.Module()
    module.encoder, module.rnn = torch.nn.Embedding(V, H), torch.nn.LSTM(H, H, 2)
    module.decoder = torch.nn.Linear(H, V)
    module.decoder.weight = module.encoder.weight
    save_model(module, "x.safetensors")
    ids = rng.integers(V, size=(B, T))
    with torch.no_grad():
        h, _ = module.rnn(module.encoder(torch.tensor(ids.T)))
        expected = module.decoder(h).numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(logits_of(brought_in(), ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_the_float32_nearest_to_them(here, rng, dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    state = {name: w.astype(kind) for name, w in state_dict(rng, "gru", V, H).items()}
    save(state)
    found = arrays()
    save({name: w.astype("float32") for name, w in state.items()})
    assert_same(found, arrays())


# Export

CELLS = [
    {"cell": "lstm", "layers": 2},
    {"cell": "keras-lstm"},
    {"cell": "gru", "layers": 3, "dropout": 0.3, "weight_drop": 0.2},
    {"cell": "rnn"},
    {"cell": "rnn", "layers": 2, "activation": "relu"},
    {"cell": "coupled", "layers": 2},
]
CHARACTERS = "\n \"'[]{}\\ab\x7fé\ud800\U0001f600"


def make_run(rng, name, characters=CHARACTERS, units=H, **options):
    config = ModelConfig(units=units, **options)
    vocab = Vocab("".join(sorted(set(characters))))
    weights = initial_weights(config, len(vocab), rng)
    weights = {k: (w + 0.4 * rng.normal(size=w.shape)).astype("f4") for k, w in weights.items()}
    for w in weights.values():  # signs of zeros count, too
        w.flat[:2] = 0.0, -0.0
    saved = Checkpoint(Config(model=config), vocab, "ab" * 32, Progress(), weights, [], [], {})
    Path("saved_models", name).mkdir(parents=True)
    run_folder.save_last(Path("saved_models", name), saved)
    return saved


def id_(options):
    return " ".join(map(str, options.values()))


@pytest.mark.parametrize("options", CELLS, ids=id_)
def test_export_and_import_give_the_same_run(here, rng, capsys, options):
    saved = make_run(rng, "x", **options)
    assert export.main(["x", "--format", "safetensors"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    said = re.match(
        r"x.safetensors, x.safetensors.vocab.json; logits and states .* (\S+) over", out
    )
    assert float(said[1]) < 1e-6
    assert options["cell"] == "coupled" or float(said[1]) == 0  # the same weights, as they lie
    network = brought_in(text=False)
    found = checkpoint.read(LAST)
    assert (found.vocab, found.corpus_sha256) == (saved.vocab, saved.corpus_sha256)
    assert found.config.model.activation == saved.config.model.activation
    if options["cell"] == "coupled":
        ids = rng.integers(len(saved.vocab), size=(B, T))
        expected = logits_of(saved.to_network(), ids)
        np.testing.assert_allclose(logits_of(network, ids), expected, rtol=1e-5, atol=1e-5)
    else:
        assert found.weights.keys() == saved.weights.keys()
        for path, w in saved.weights.items():
            assert w.tobytes() == found.weights[path].tobytes(), path


@pytest.mark.parametrize("options", CELLS, ids=id_)
def test_the_module_of_the_readme_takes_an_export(here, rng, options):
    torch = pytest.importorskip("torch")
    saved = make_run(rng, "mine", **options)
    assert export.main(["mine", "--format", "safetensors"]) == 0
    recurrent = {"gru": torch.nn.GRU, "rnn": torch.nn.RNN}.get(options["cell"], torch.nn.LSTM)
    if options.get("activation"):
        recurrent = functools.partial(recurrent, nonlinearity=options["activation"])
    names = {}
    exec(snippet().split("\n\n\nmodel = ")[0], names)
    n = len(saved.vocab)
    module = names["CharModel"](n, H, options.get("layers", 1), recurrent)
    module.load_state_dict(names["load_file"]("mine.safetensors"))
    ids = rng.integers(n, size=(B, T))
    with torch.no_grad():
        first, state = module(torch.tensor(ids[:, :4]))
        second, _ = module(torch.tensor(ids[:, 4:]), state)
    expected = logits_of(saved.to_network(), ids)
    found = np.concatenate([first.numpy(), second.numpy()], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def snippet():
    """The guide's example of a module that an export fits."""
    return re.search(r"```python\n(import torch\n.*?)```", GUIDE.read_text(), re.S)[1]


def test_the_snippet_of_the_guide_runs_when_pasted(here, rng):
    torch = pytest.importorskip("torch")
    quick = {"recurrent_initializer": "glorot_uniform"}
    make_run(rng, "mine", map(chr, range(40, 127)), 512, cell="lstm", **quick)
    assert export.main(["mine", "--format", "safetensors"]) == 0
    names = {}
    exec(snippet(), names)
    logits, _ = names["model"](torch.tensor([[1, 2, 3]]))
    assert logits.shape == (1, 3, 87)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"cell": "gru", "reset": "before"},
            "--reset after, as nn.GRU has it, found --reset before",
        ),
        ({"cell": "lstm", "layers": 2, "skip": "add"}, "--skip none, as nn.LSTM has it, found"),
        ({"cell": "lstm", "activation": "relu"}, "--activation tanh, as nn.LSTM has it"),
        ({"cell": "gru", "activation": "linear"}, "--activation tanh, as nn.GRU has it"),
        ({"cell": "rnn", "activation": "linear"}, "--activation tanh or relu, as nn.RNN has it"),
        ({"cell": "coupled", "recurrent_activation": "hard_sigmoid"}, "sigmoid, as nn.LSTM has it"),
    ],
)
def test_what_torch_has_no_module_for_is_refused(here, rng, capsys, options, match):
    make_run(rng, "x", **options)
    before = sorted(here.iterdir())
    assert export.main(["x", "--format", "safetensors"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(match, err), err
    assert "--format keras writes it" in err
    assert err.count("\n") == 1
    assert sorted(here.iterdir()) == before


def test_an_export_that_differs_from_the_sampler_is_not_written(here, rng, capsys, monkeypatch):
    make_run(rng, "x", cell="gru")
    before = sorted(here.iterdir())
    from charlm.interop.keras_files import pytorch

    monkeypatch.setitem(pytorch.ORDER, "gru", "zrg")  # both ways: what is written reads back
    assert export.main(["x", "--format", "safetensors"]) == 0
    Path("x.safetensors").unlink()
    Path("x.safetensors.vocab.json").unlink()
    to_torch = pytorch._to_torch
    monkeypatch.setattr(pytorch, "_to_torch", lambda *a: [w + 0.01 for w in to_torch(*a)])
    assert export.main(["x", "--format", "safetensors"]) == 1
    assert "differ from the sampler's by" in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


def test_an_export_that_names_another_activation_is_not_written(here, rng, capsys, monkeypatch):
    from charlm.interop.keras_files import pytorch

    make_run(rng, "x", cell="rnn", activation="relu")
    before, to_bytes = sorted(here.iterdir()), pytorch.to_bytes
    monkeypatch.setattr(
        pytorch, "to_bytes", lambda c, *more: to_bytes(replace(c, activation="tanh"), *more)
    )
    assert export.main(["x", "--format", "safetensors"]) == 1
    assert "differ from the sampler's by" in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


@pytest.mark.soak
def test_an_imported_export_is_sampled_and_trained_on_its_text(here, capsys):
    argv = ["--corpus", "small.txt", "--units", "4", "--batch-size", "4", "--window", "16"]
    more = ["--sample-length", "0", "--epochs"]
    assert train.main([*argv, *more, "1", "--name", "first"]) == 0
    assert export.main(["first", "--format", "safetensors"]) == 0
    assert import_weights.main(["first.safetensors", "--name", "a"]) == 0
    assert "--init-from saved_models/a --corpus FILE" in capsys.readouterr().out
    assert sample.main(["a", "--length", "9", "--seed", "1"]) == 0
    Path("other.txt").write_text(SMALL_TEXT[:-1])
    argv = [*argv[4:], *more, "1", "--resume", "a"]
    assert train.main([*argv, "--corpus", "other.txt"]) == 2
    assert "expected the text the run was trained on" in capsys.readouterr().err
    assert train.main([*argv, "--corpus", "small.txt"]) == 0


def test_the_text_given_with_an_export_has_its_characters_or_fewer(here, rng, capsys):
    saved = make_run(rng, "x", SMALL_TEXT + "~", cell="gru")
    assert export.main(["x", "--format", "safetensors"]) == 0
    network = brought_in()
    said = float(re.search(r"([\d.]+) bits/char", capsys.readouterr().out)[1])
    ids = saved.vocab.encode(SMALL_TEXT[len(SMALL_TEXT) - int(len(SMALL_TEXT) * 0.1) :])
    logits = logits_of(network, ids[None, :-1])[0].astype(float)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log2(p[np.arange(len(p)), ids[1:]]).mean()
    assert said == pytest.approx(expected, abs=0.006)
    Path("small.txt").write_text(SMALL_TEXT + "?")
    assert import_weights.main(["x.safetensors", "--vocab-from", "small.txt", "--name", "b"]) == 2
    err = capsys.readouterr().err
    assert "the characters of x.safetensors in small.txt, found others: '?'" in err
    Path("v.json").write_text("[]")
    for flags in (["--vocab", "v.json"], ["--vocab-order", "frequency"]):
        assert import_weights.main(["x.safetensors", *flags, "--name", "b"]) == 2
        assert "no effect with x.safetensors, which lists its characters" in capsys.readouterr().err


def test_a_file_without_characters_needs_a_text(here, rng, capsys):
    save(state_dict(rng, "lstm", V, H))
    assert import_weights.main(["x.safetensors"]) == 2
    assert "expected --vocab-from, the text that the model" in capsys.readouterr().err
    assert not Path("saved_models").exists()


def test_neither_way_loads_keras_or_torch(here, rng):
    make_run(rng, "x", cell="gru")
    code = """if True:
        import sys
        from charlm import export, import_weights
        assert export.main(["x", "--format", "safetensors"]) == 0
        assert import_weights.main(["x.safetensors", "--name", "y"]) == 0
        print([m for m in ("keras", "tensorflow", "torch") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_networks_differ_where_gates_are_swapped(rng):
    """What the tests above rely on: no order of gates but the right one has these logits."""
    for cell, wrong in (("lstm", "figo"), ("gru", "zrg")):
        from charlm.interop.keras_files import pytorch

        state = state_dict(rng, cell, V, H)
        ids = rng.integers(V, size=(B, T))
        order, GH = pytorch.ORDER[cell], H * len(wrong)
        blocks = np.arange(GH).reshape(-1, H)[[order.index(g) for g in wrong]].ravel()
        swapped = {k: w[blocks] if k.startswith("rnn") else w for k, w in state.items()}
        expected = state_dicts.by_equations(state, cell, ids)
        assert np.abs(state_dicts.by_equations(swapped, cell, ids) - expected).max() > 0.01
