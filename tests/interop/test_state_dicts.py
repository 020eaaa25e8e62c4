"""Law: a .safetensors file that anyone made is a network's, or is refused in one line, cheaply."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as to_bytes

from charlm.config import ModelConfig
from charlm.errors import InputError
from charlm.interop import keras_files
from charlm.interop.keras_files import pytorch
from charlm.reference.network import initial_weights
from charlm.runs import untrusted
from charlm.text.vocab import Vocab
from tests.interop.state_dicts import save, state_dict

V, D, H = 7, 3, 4
SECONDS, MEMORY = 2, 64 * 2**20  # that a refusal may take of the processor, and beside the file


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(path, match):
    """The refusal's line."""
    began = time.process_time()
    with pytest.raises(InputError, match=match) as raised:
        keras_files.read(Path(path))
    assert time.process_time() - began < SECONDS
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 900
    assert str(raised.value).startswith(f"{path}: expected ")
    return str(raised.value)


def read_or_refused(path):
    """What is in the file and None, or None and the refusal's line."""
    try:
        return keras_files.read(Path(path)), None
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    return None, line


def lost(*names):
    return dict.fromkeys(names)


def ones(*shape):
    return np.ones(shape, "f4")


TABLE, HEAD = "embedding.weight", "linear.weight"
IH, HH, B_IH, B_HH = (f"rnn.{x}_l0" for x in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
ONLY = r"nn.Linear \(V, H\) and at most an nn.Embedding \(V, D\), where H = 4 and D = 3.* found "

OTHERS = {
    "bidirectional": ({f"{x}_reverse": ones(2) for x in (IH, HH)}, "found bidirectional ones"),
    "a projection": ({"rnn.weight_hr_l0": ones(2, 4)}, r"\(proj_size\), found 'rnn.weight_hr_l0'"),
    "no recurrent layer": (lost(IH, HH, B_IH, B_HH), "no weight_ih_l0 in 'embedding.weight'"),
    "a convolution": ({"conv.weight": ones(4, 4, 3)}, ONLY + ".*'conv.weight' \\(4, 4, 3\\)"),
    "a norm": ({"norm.weight": ones(4), "norm.bias": ones(4)}, ONLY + ".*'norm.weight' \\(4,\\)"),
    "two Linear": ({"fc.weight": ones(4, 4), "fc.bias": ones(4)}, ONLY + ".*'fc.weight'"),
    "attention": ({"attn.in_proj_weight": ones(4, 4)}, "nn.Embedding, found 'attn.in_proj_weight'"),
    "first states": ({"h0": ones(1, 4)}, "at most an nn.Embedding, found 'h0'"),
    "a name with a line break": ({"a\nb": ones(3)}, r"found 'a\\nb'"),
    "a long name": ({"a" * 301: ones(3)}, "names of 300 characters at most, found 301"),
    "a lone bias": ({"fc.bias": ones(7)}, ONLY),
    "no Linear": (lost(HEAD, "linear.bias"), ONLY),
    "no Embedding": (lost(TABLE), ONLY + "'linear.bias'"),
    "a Linear of another width": ({HEAD: ones(7, 5)}, ONLY + ".*'linear.weight' \\(7, 5\\)"),
    "an Embedding of another vocabulary": ({TABLE: ones(6, 3)}, ONLY + "'embedding.weight'"),
    "an Embedding of another width": ({TABLE: ones(7, 2)}, ONLY + "'embedding.weight' \\(7, 2\\)"),
    "another vector of biases": (
        {"linear.bias": ones(6)}, r"'linear.bias' of shape \(7,\).*\(6,\)"),
    "an Embedding with a bias": ({"embedding.bias": ones(7)}, ONLY),
    "five gates": ({HH: ones(20, 4)}, r"\(H, H\) of an nn.RNN, found 'rnn.weight_hh_l0' \(20, 4\)"),
    "no units": ({HH: ones(0, 0)}, r"found 'rnn.weight_hh_l0' \(0, 0\)"),
    "a vector for a matrix": ({HH: ones(4)}, r"found 'rnn.weight_hh_l0' \(4,\)"),
    "gates that differ": ({IH: ones(12, 3)}, r"'rnn.weight_ih_l0' of shape \(16, 3\).*\(12, 3\)"),
    "a bias of other gates": ({B_HH: ones(12)}, r"'rnn.bias_hh_l0' of shape \(16,\).*\(12,\)"),
    "one bias": (lost(B_HH), "with both biases or none in each layer, found 'rnn.bias_ih_l0'"),
    "half a layer": (lost(HH), "expected weight_ih and weight_hh with both biases or none"),
    "a layer missing": (
        {"rnn.weight_ih_l2": ones(16, 4), "rnn.weight_hh_l2": ones(16, 4)},
        "layers l0 to l1 in 'rnn', found l0, l2"),
    "a second layer of another width": (
        {"rnn.weight_ih_l1": ones(16, 5), "rnn.weight_hh_l1": ones(16, 4)},
        r"'rnn.weight_ih_l1' of shape \(16, 4\)"),
    "a second layer of another kind": (
        {"rnn.weight_ih_l1": ones(12, 4), "rnn.weight_hh_l1": ones(12, 4)},
        r"'rnn.weight_hh_l1' of shape \(16, 4\)"),
    "a layer twice": (
        {"rnn.weight_ih": ones(16, 3)}, "one name a parameter, found 'rnn.weight_ih'"),
    "encoder and decoder": (
        {"decoder.weight_ih_l0": ones(16, 3), "decoder.weight_hh_l0": ones(16, 4)},
        "order of the recurrent modules, found 'decoder', 'rnn'; rename them to rnn.0, rnn.1"),
    "encoder 1 and decoder 2": (
        lost(IH, HH, B_IH, B_HH)
        | {f"{a}.weight_{b}": ones(16, n) for a in ("encoder1", "decoder2")
           for b, n in (("ih", 3), ("hh", 4))},
        "order of the recurrent modules, found 'decoder2', 'encoder1'"),
    "a number twice": (
        lost(IH, HH, B_IH, B_HH)
        | {f"{a}.weight_{b}": ones(16, n) for a in ("r1", "r.1")
           for b, n in (("ih", 3), ("hh", 4))},
        "order of the recurrent modules, found 'r.1', 'r1'"),
    "three with names": (
        {f"{a}.weight_{b}": ones(16, 4) for a in "xy" for b in ("ih", "hh")},
        "found 'rnn', 'x', 'y'"),
    "65 layers": (
        {f"r.{k}.weight_{b}": ones(16, 4) for k in range(64) for b in ("ih", "hh")},
        "64 recurrent layers at most, found 65"),
    "NaN": ({HEAD: np.full((7, 4), np.nan, "f4")}, "finite numbers in 'linear.weight', found NaN"),
    "too large for float32": ({HEAD: np.full((7, 4), 1e300)}, "finite numbers in 'linear.weight'"),
    "a sum that is too large": (
        {B_IH: np.full(16, 3e38, "f4"), B_HH: np.full(16, 3e38, "f4")},
        "finite numbers in 'rnn.bias_ih_l0'"),
    "integers": (
        {HEAD: np.ones((7, 4), "i8")}, "F16, BF16, F32 or F64 in 'linear.weight', found I64"),
    "truth values": ({HEAD: np.ones((7, 4), bool)}, "in 'linear.weight', found BOOL"),
    "a single character": (
        {TABLE: ones(1, 3), HEAD: ones(1, 4), "linear.bias": ones(1)}, "2 characters or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_refused_by_name(rng, name):
    changes, match = OTHERS[name]
    state = state_dict(rng, "lstm", V, H, D) | changes
    save({k: w for k, w in state.items() if w is not None})
    refused("x.safetensors", match)


def test_tables_that_nothing_tells_apart_are_refused(rng):
    state = state_dict(rng, "gru", V, H, H, bias=False)
    for names in (("a", "b"), ("emb_in", "emb_out")):
        state[f"{names[0]}.weight"] = state.pop(TABLE)
        state[f"{names[1]}.weight"] = state.pop(HEAD)
        save(state)
        refused("x.safetensors", "distinguish nn.Embedding and nn.Linear, found 'a|'emb_in.wei")
        state[TABLE], state[HEAD] = (state.pop(f"{n}.weight") for n in names)


@pytest.mark.parametrize("width", [None, H])  # one-hot vectors; a shared embedding
@pytest.mark.parametrize("own", [True, False])
def test_a_bias_of_no_module_is_refused_unless_it_is_the_only_one_of_shared_weights(
    rng, width, own
):
    state = state_dict(rng, "lstm", V, H, width)
    bias = state.pop("linear.bias")
    state.pop(TABLE, None)
    lone = {"linear.bias" if own else "a.bias": bias}
    save(state | lone | {"z.bias": bias})
    refused("x.safetensors", "expected an nn.Linear .* found .*'z.bias'")
    save(state | {"z.bias": bias})
    if width is None:
        refused("x.safetensors", "expected an nn.Linear .* found .*'z.bias'")
    else:
        np.testing.assert_array_equal(keras_files.read(Path("x.safetensors")).dense[1], bias)


def test_only_an_embedding_that_fits_is_shared(rng):
    """Without an embedding, D = 3 and H = 4: no weight can be both."""
    state = state_dict(rng, "lstm", V, H, D)
    del state[TABLE]
    save(state, **{TABLE: HEAD})
    refused("x.safetensors", ONLY)


# What a charlm's header says


def exported(rng, **options):
    config = ModelConfig(units=H, **options)
    weights = initial_weights(config, V, rng)
    return pytorch.to_bytes(config, weights, Vocab("abcdefg"), "ab" * 32, ["cd" * 32])


def edited(data, change):
    """The file with change(header)."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + n :]


def about(**changes):
    """A change of what charlm adds to the header."""

    def change(header):
        own = json.loads(header["__metadata__"]["charlm"]) | changes
        own = {k: v for k, v in own.items() if v is not None}
        header["__metadata__"]["charlm"] = json.dumps(own)

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (about(characters="abcdef"), "expected 7 characters in the file's header, found 6"),
        (about(characters=[*"abcdef", "gh"]), "a list of characters in the file's header"),
        (about(characters=[*"abcdef", 7]), "a list of characters in the file's header"),
        (about(characters=[*"abcdef", "a"]), "distinct characters in order"),
        (about(characters=[*"gfedcba"]), "distinct characters in order"),
        (about(characters=7), "damaged"),
        (about(characters=None), "damaged"),
        (about(activation="relu"), "an activation of nn.LSTM, found 'relu'"),
        (about(activation=["tanh"]), "an activation of nn.LSTM, found"),
        (about(corpus_sha256="AB" * 32), "expected SHA-256 of the texts in the file's header"),
        (about(corpus_sha256=7), "expected SHA-256 of the texts"),
        (about(learned_before="ab" * 32), "expected SHA-256 of the texts"),
        (about(learned_before=[7]), "expected SHA-256 of the texts"),
        (about(learned_before=7), "expected SHA-256 of the texts"),
        (lambda h: h["__metadata__"].update(charlm="["), "damaged"),
        (lambda h: h["__metadata__"].update(charlm="[" * 100_000), "damaged"),
        (lambda h: h["__metadata__"].update(charlm="[]"), "damaged"),
    ],
)
def test_a_header_that_contradicts_the_arrays_is_refused(rng, change, match):
    Path("x.safetensors").write_bytes(edited(exported(rng), change))
    refused("x.safetensors", match)


def test_an_rnn_s_activation_is_one_that_torch_has(rng):
    data = exported(rng, cell="rnn", activation="relu")
    Path("x.safetensors").write_bytes(data)
    assert keras_files.read(Path("x.safetensors")).activation == "relu"
    Path("x.safetensors").write_bytes(edited(data, about(activation="linear")))
    refused("x.safetensors", "an activation of nn.RNN, found 'linear'")


# Damaged and hostile files


def entry(name, **changes):
    def change(header):
        header[name] |= changes

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (entry(HH, data_offsets=[0, 2**40]), "damaged"),
        (entry(HH, data_offsets=[0, 64]), "damaged"),
        (entry(HH, data_offsets=[64, 0]), "damaged"),
        (entry(HH, data_offsets=[-4, 60]), "damaged"),
        (entry(HH, shape=[2**62, 2**62]), "damaged"),
        (entry(HH, shape=[16, 5]), "damaged"),
        (entry(HH, shape=[-16, -4]), "damaged"),
        (entry(HH, shape=[4.0, 16]), "damaged"),
        (entry(HH, dtype="F64"), "damaged"),
        (entry(HH, dtype="O"), "damaged"),
        (entry(HH, dtype=7), "damaged"),
        (lambda h: h.pop(HH), "damaged"),
        (lambda h: h.update({"x.weight": h[HH]}), "damaged"),
        (lambda h: h.update({"x.weight": 7}), "damaged"),
        (lambda h: h.update(__metadata__={"a": {"b": "c"}}), "damaged"),
        (lambda h: h.update(__metadata__=[]), "damaged"),
    ],
)
def test_headers_that_do_not_fit_the_file_are_refused(rng, change, match):
    data = to_bytes(state_dict(rng, "lstm", V, H, D))
    Path("x.safetensors").write_bytes(edited(data, change))
    refused("x.safetensors", match)


def with_header(text):
    return len(text).to_bytes(8, "little") + text


NONE = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
BOMBS = {
    "a length of all": (b"\xff" * 4 + b"\0\0\0\0{" + b" " * 99, "a header of .* at most"),
    "nine megabytes of blanks": (
        with_header(b"{" + b" " * 9 * 2**20 + b"}"), "a header of 8388608 bytes at most, found 94"),
    "many arrays": (
        with_header(b"{" + b",".join(b'"%d":' % k + NONE for k in range(20_000)) + b"}"),
        "5000 names at most, found 20001"),
    "many texts": (
        with_header(
            b'{"__metadata__":{' + b",".join(b'"%d":""' % k for k in range(500_000)) + b"}}"
        ),
        "300000 parts at most"),
    "many numbers": (
        with_header(
            b'{"a":{"dtype":"F32","shape":[0' + b",1" * 10**6 + b'],"data_offsets":[0,0]}}'
        ),
        "300000 parts at most"),
    "deep lists": (with_header(b'{"a":' + b"[" * 200_000), "damaged"),
    "most that is allowed": (
        with_header(
            b'{"__metadata__":{' + b",".join(b'"%020d":""' % k for k in range(200_000)) + b"},"
            + b",".join(b'"%d":' % k + NONE for k in range(4_900)) + b"}"
        ), "at most an nn.Embedding, found '"),
    "a wide character": (
        with_header(b'{"__metadata__":{"a":"\xf0\x9f\x98\x80' + b"a" * (2**23 - 50) + b'"}}'),
        "no weight_ih_l0 in nothing"),
}  # fmt: skip


def memory_of_a_refusal():
    """Bytes that a process takes to refuse x.safetensors."""
    program = """if True:
        from pathlib import Path
        from charlm.interop import keras_files as foreign
        from charlm.errors import InputError
        from charlm.benchmarks.worker import peak_memory
        before = peak_memory()
        try:
            foreign.read(Path("x.safetensors"))
        except InputError:
            print(peak_memory() - before)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.usual(3)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(name):
    data, match = BOMBS[name]
    Path("x.safetensors").write_bytes(data)
    refused("x.safetensors", match)
    assert memory_of_a_refusal() < 2 * len(data) + MEMORY


def test_a_file_cut_anywhere_is_refused(rng):
    path, data = Path("x.safetensors"), exported(rng)
    for size in np.linspace(0, len(data) - 1, 400).astype(int):
        path.write_bytes(data[:size])
        refused("x.safetensors", "damaged|none of them|at most")


def test_random_edits_crash_nothing(rng):
    path, data = Path("x.safetensors"), exported(rng, cell="gru")
    head = 8 + int.from_bytes(data[:8], "little")
    read = refusals = 0
    for k in range(1500):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at, new = int(rng.integers(head if k % 4 else len(data))), rng.bytes(rng.integers(1, 4))
            if rng.integers(2):  # overwritten
                changed[at : at + len(new)] = new
            elif rng.integers(2):
                changed[at:at] = new
            else:
                del changed[at : at + len(new)]
        path.write_bytes(changed)
        found, _ = read_or_refused(path)
        refusals += found is None
        if found:
            assert all(np.isfinite(w).all() for layer in found.layers for w in layer)
            read += 1
    assert read > 10  # a weight changed
    assert refusals > 500


def test_random_state_dicts_are_read_or_refused(rng):
    """Of random names and shapes, most of them nearly right."""
    read = refusals = 0
    for _ in range(600):
        state = state_dict(
            rng, rng.choice(["lstm", "gru", "rnn"]), int(rng.integers(2, 6)),
            int(rng.integers(1, 6)), rng.choice([None, 2, 5]), int(rng.integers(1, 4)),
            bool(rng.integers(2)),
        )  # fmt: skip
        names = list(state)
        for _ in range(rng.integers(3)):
            a, b = rng.choice(names, 2)
            kind = rng.integers(4)
            if kind == 0:
                state.pop(a, None)
            elif kind == 1 and a in state:
                state[a.replace("rnn", "cell").replace("l0", "l1")] = state.pop(a)
            elif kind == 2 and a in state and b in state:
                state[a], state[b] = state[b], state[a]
            elif a in state:
                state[a] = state[a][..., :-1]
        if not state:
            continue
        save(state)
        found, line = read_or_refused("x.safetensors")
        if not found:
            assert "damaged" not in line
            refusals += 1
            continue
        read += 1
        size = found.dense[1].size
        assert found.dense[0].shape == (len(found.layers[0][1]), size)
        width = size if found.embedding is None else found.embedding.shape[1]
        for kernel, recurrent_kernel, _ in found.layers:
            assert kernel.shape == (width, recurrent_kernel.shape[1])
            width = len(recurrent_kernel)
    assert read > 100
    assert refusals > 100


def test_a_large_file_takes_little_more_than_twice_itself(rng):
    state = state_dict(rng, "rnn", 4000, H, 8000)  # 128 MB in its table
    state["z.weight"] = ones(3)
    path = save(state)
    assert memory_of_a_refusal() < 2 * path.stat().st_size + MEMORY


def test_a_file_over_the_limit_is_not_read(rng, monkeypatch):
    path = save(state_dict(rng, "lstm", V, H, D))
    monkeypatch.setattr(untrusted, "MAX_BYTES", path.stat().st_size - 1)
    refused("x.safetensors", f"a file of {path.stat().st_size - 1} bytes at most")
