"""Law: no file hangs, crashes or exhausts whoever reads it; each is refused in one line, soon."""

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from charlm.errors import InputError
from charlm.interop import keras_files
from charlm.interop.keras_files import vocabulary
from charlm.runs import hdf5_child, safe_hdf5, untrusted
from tests.runs import fuzz
from tests.runs.test_hostile import MEMORY, SECONDS

D, H, V = 3, 4, 7
NUMBERS = {
    "layers/lstm/cell/vars/0": (V, 4 * H),
    "layers/lstm/cell/vars/1": (H, 4 * H),
    "layers/lstm/cell/vars/2": (4 * H,),
    "layers/dense/vars/0": (H, V),
    "layers/dense/vars/1": (V,),
}


def keras_3(rng, change=lambda file: None):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, shape in NUMBERS.items():
            file[path] = rng.normal(size=shape).astype("f4")
        change(file)
    return buffer.getvalue()


def keras_2(rng, names=None, attributes=0, **options):
    """In Keras 2's layout, with names of any number of layers and other attributes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        weights = {"lstm_1": NUMBERS_2[:3], "dense_1": NUMBERS_2[3:]}
        file.attrs["layer_names"] = names or [name.encode() for name in weights]
        file.attrs["keras_version"] = "2.2.4"
        for layer, arrays in weights.items():
            listed = [f"{layer}/{key}:0" for key, _ in arrays]
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array(listed, h5py.string_dtype())
            for k in range(attributes):
                group.attrs[f"a{k}"] = "x"
            for path, (_, shape) in zip(listed, arrays, strict=True):
                group[path] = rng.normal(size=shape).astype("f4")
    return buffer.getvalue()


NUMBERS_2 = [
    ("kernel", (V, 4 * H)), ("recurrent_kernel", (H, 4 * H)), ("bias", (4 * H,)),
    ("kernel", (H, V)), ("bias", (V,)),
]  # fmt: skip


def keras(members, how=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in ({"metadata.json": '{"keras_version": "3.15.1"}'} | members).items():
            archive.writestr(name, data)
    return buffer.getvalue()


def looping_heap(rng):
    """A heap whose list of free blocks points at itself."""
    data, at = bytearray(keras_3(rng)), -1
    while True:
        at = data.index(b"HEAP", at + 1)
        size, free, segment = struct.unpack_from("<QQQ", data, at + 8)
        if free < size:  # 1 says that there is none
            struct.pack_into("<Q", data, segment + free, free)
            return bytes(data)


def wrong_object(rng, size):
    """Another size of the first object in the heap of texts."""
    data = bytearray(keras_2(rng))
    struct.pack_into("<Q", data, data.index(b"GCOL") + 24, size)
    return bytes(data)


def long_text(rng):
    """An attribute whose text is said to have four billion characters."""
    data = bytearray(keras_2(rng))
    at = data.index(
        struct.pack("<I", len("lstm_1/kernel:0")) + struct.pack("<Q", data.index(b"GCOL"))
    )
    struct.pack_into("<I", data, at, 2**32 - 1)
    return bytes(data)


def own_child(rng):
    """A node of the tree of names that is its own child."""
    data = bytearray(keras_3(rng))
    at = data.index(b"TREE")
    data[at + 5] = 1  # its children are nodes
    struct.pack_into("<Q", data, at + 32, at)
    return bytes(data)


def shared_children(rng, depth):
    """Nodes of that tree, each with one and the same child 32 times."""
    data, size = bytearray(keras_3(rng)), 24 + 8 + 16 * 32
    at, begin = data.index(b"TREE"), len(data)
    leaf, first, last = data[at + 32 : at + 40], data[at + 24 : at + 32], data[at + 40 : at + 48]
    data += bytes(size * (depth - 1))
    nodes = [at, *range(begin, len(data), size)]
    for level, (here, below) in enumerate(zip(nodes, [*nodes[1:], None], strict=True)):
        head = b"TREE", 0, depth - 1 - level, 32, *[2**64 - 1] * 2
        struct.pack_into("<4sBBHQQ", data, here, *head)
        child = leaf if below is None else struct.pack("<Q", below)
        data[here + 24 : here + size] = (first + child) * 32 + last
    struct.pack_into("<Q", data, 40, len(data))
    return bytes(data)


def lying_member(rng, how):
    """A zip's member that says 1000 bytes and unpacks to 128 MB."""
    size = (128 << 20) | 0x12345
    data = keras({"config.json": bytes(size)}, how)
    return data.replace(struct.pack("<I", size), struct.pack("<I", 1000))


def many_members(rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for k in range(20_000):
            archive.writestr(f"{k}", "")
    return buffer.getvalue()


def long_members(rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for k in range(500):
            archive.writestr(f"{k}".rjust(30_000, "\xb0"), "")
    return buffer.getvalue()


def long_list(rng):
    """A zip of 40 MB, of which its list of members is said to take 39."""
    data = keras({"config.json": bytes(40 * 2**20)})
    at = data.rindex(b"PK\x05\x06")
    size, begin = struct.unpack_from("<II", data, at + 12)
    moved = 39 * 2**20
    end = bytearray(data[at:])
    struct.pack_into("<II", end, 12, size + moved, begin - moved)
    return data[:at] + bytes(end)


def layers(count):
    """A model's JSON of very many layers."""
    return json.dumps(
        {"class_name": "Functional", "config": {
            "layers": [{"class_name": "Dropout", "name": str(k), "config": {},
                        "inbound_nodes": [[[str(k - 1), 0, 0]]] if k else []}
                       for k in range(count)],
            "input_layers": [["0", 0, 0]], "output_layers": [[str(count - 1), 0, 0]]}}
    )  # fmt: skip


def described(rng, text):
    """Keras 2's layout with a model_config."""
    buffer = io.BytesIO(keras_2(rng))
    with h5py.File(buffer, "a") as file:
        file.attrs["model_config"] = text
    return buffer.getvalue()


DEFLATED = zipfile.ZIP_DEFLATED
PARTS = "[" + "[]," * 2_000_000 + "[]]"
FILES = {
    "a heap that points at itself": (looping_heap, "damaged"),
    "an object of the size of others": (lambda rng: wrong_object(rng, 256), "damaged"),
    "an object without a size": (lambda rng: wrong_object(rng, 0), "damaged"),
    "an object of all sizes": (lambda rng: wrong_object(rng, 2**64 - 1), "damaged"),
    "a node that is its own child": (own_child, "damaged .the HDF5 library crashed: SIG"),
    "nodes that share children": (lambda rng: shared_children(rng, 6), "did not finish within"),
    "a text of four billion characters": (long_text, "damaged|48 MB of memory"),
    "a member of bzip2": (lambda rng: lying_member(rng, zipfile.ZIP_BZIP2), "bzip2; unzip"),
    "a member of lzma": (lambda rng: lying_member(rng, zipfile.ZIP_LZMA), "lzma; unzip"),
    "a member of deflate": (lambda rng: lying_member(rng, DEFLATED), "damaged"),
    "many members": (many_members, "5000 members of a zip at most, found 20000"),
    "a long list of members": (long_list, "a zip's list of members of 2097152 bytes at most"),
    "zeros, deflated": (
        lambda rng: keras({"config.json": "{}", "model.weights.h5": bytes(150 * 2**20)}, DEFLATED),
        "damaged|class_name"),
    "zeros for weights, deflated": (
        lambda rng: keras({"config.json": layers(1), "model.weights.h5": bytes(150 * 2**20)},
                          DEFLATED), "33554432 bytes of model.weights.h5 compressed, found 1572"),
    "a description of many parts, deflated": (
        lambda rng: keras({"config.json": "[" + "[]," * 600_000 + "[]]"}, DEFLATED),
        "config.json of 300000 parts"),
    "a long description": (lambda rng: keras({"config.json": PARTS}, DEFLATED), "4194304 bytes"),
    "many parts in an attribute": (
        lambda rng: described(rng, "[" + "[]," * 600_000 + "[]]"), "model_config of 300000 parts"),
    "a long attribute": (lambda rng: described(rng, PARTS), "48 MB of memory in addition"),
    "many layers": (lambda rng: keras({"config.json": layers(15_000)}, DEFLATED), "1000 layers"),
    "one layer many times": (
        lambda rng: keras_2(rng, [b"lstm_1"] * 60_000, 3000, libver="latest"), "20000 texts of"),
    "two names of a layer": (
        lambda rng: keras_2(rng, [b"lstm_1", b"dense_1", b"lstm_1"]), "'lstm_1' twice"),
    "many attributes": (
        lambda rng: keras_2(rng, None, 6000, libver="latest"), "5000 attributes of a group at"),
    "many names": (
        lambda rng: keras_3(rng, lambda f: [f.create_group(f"g{k}") for k in range(6000)]),
        "5000 names at most"),
    "long names": (
        lambda rng: keras_3(rng, lambda f: f.create_group("g" * 2000)), "1000 characters at most"),
    "a long description, wide": (
        lambda rng: keras({"config.json": '{"a":' * 297_000 + '"\U0001f601"' + "}" * 297_000},
                          DEFLATED), "300000 parts"),
    "long names of members": (lambda rng: long_members(rng), "list of members of 2097152 bytes"),
    "deep groups": (lambda rng: keras_3(rng, lambda f: f.create_group("g/" * 400)), "20 deep"),
}  # fmt: skip

COST = """if True:
    import resource, sys, time
    from pathlib import Path
    from charlm.interop import keras_files as foreign
    from charlm.errors import InputError
    from charlm.benchmarks.worker import peak_memory
    def used(who):
        found = resource.getrusage(who)
        return found.ru_utime + found.ru_stime, 1024 * found.ru_maxrss
    (seconds, _), before, message = used(resource.RUSAGE_SELF), peak_memory(), None
    try:
        foreign.read(Path(sys.argv[1]))
    except InputError as error:
        message = str(error)
    here, there = used(resource.RUSAGE_SELF), used(resource.RUSAGE_CHILDREN)
    print(here[0] - seconds + there[0], peak_memory() - before, there[1])
    print(message)
"""


def cost(path):
    """Seconds of the processor, bytes in the reader and in its other process, and its message."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = [sys.executable, "-c", COST, str(path)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    numbers, message = done.stdout.split("\n", 1)
    seconds, *memory = map(float, numbers.split())
    return seconds, *memory, message.rstrip("\n")


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """What the other process takes in memory for a small file that is whole."""
    path = tmp_path_factory.mktemp("idle") / "x.weights.h5"
    path.write_bytes(keras_3(np.random.default_rng(0)))
    return cost(path)[2]


@pytest.mark.product(8)
@pytest.mark.usual(4)
@pytest.mark.parametrize("name", FILES)
def test_what_harms_readers_is_refused_soon_and_cheaply(rng, tmp_path, idle, name):
    make, match = FILES[name]
    path = tmp_path / "x"
    path.write_bytes(make(rng))
    size = path.stat().st_size
    seconds, here, there, message = cost(path)
    assert message.startswith(f"{path}: ")
    with pytest.raises(InputError, match=match):
        raise InputError(message)
    assert "\n" not in message
    assert seconds < SECONDS
    assert here < size + MEMORY
    if sys.platform == "linux":  # macOS keeps no limit of memory
        assert there - idle < size + MEMORY


@pytest.mark.full
def test_files_damaged_in_their_structures_are_read_or_refused():
    """The same 100 each time. Those that never end are stopped after a twentieth of the time."""
    run = [sys.executable, "-m", "tests.runs.fuzz", "--count", "100", "--seconds", "0.1"]
    root = Path(fuzz.__file__).parents[2]
    done = subprocess.run(run, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("100 files: ")


def test_vocabularies_of_many_parts_are_refused(tmp_path):
    path = tmp_path / "v.json"
    path.write_text("[" + '"",' * 300_000 + '""]')
    with pytest.raises(InputError, match="a vocabulary of 300000 parts at most, found 300001"):
        vocabulary.read(path)


def test_ctrl_c_ends_a_reader_at_once(rng, tmp_path):
    (tmp_path / "x.h5").write_bytes(shared_children(rng, 6))
    run = [sys.executable, "-m", "charlm.import_weights", "x.h5", "--vocab", "none.json"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    waiting = "import time; time.sleep(100)"  # in the place of the listing
    (tmp_path / "child.py").write_text(waiting)
    program = (
        "import sys; from charlm.runs import safe_hdf5; from charlm import import_weights; "
        f"safe_hdf5.CHILD = 'child.py'; sys.exit(import_weights.main({run[3:]!r}))"
    )
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("needs Linux, to see that the other process runs")
    while not (child := children.read_text().split()) and time.monotonic() < began + 30:
        time.sleep(0.05)
    program = Path(f"/proc/{child[0]}/cmdline")
    while b"child.py" not in program.read_bytes() and time.monotonic() < began + 30:
        time.sleep(0.05)  # a process that Python is about to start is not known to its parent
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "interrupted\n")
    ends = time.monotonic() + 10
    while _runs(child[0]) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not _runs(child[0])


def _runs(pid):
    """Whether a process runs; a killed one is listed until whoever adopted it has read its end."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_no_listing_is_no_damage(rng, tmp_path, monkeypatch):
    (tmp_path / "child.py").write_text("raise ImportError")
    monkeypatch.setattr(safe_hdf5, "CHILD", tmp_path / "child.py")
    with pytest.raises(InputError, match=r"ended with exit code 1; does .* work"):
        safe_hdf5.read(keras_3(rng))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"cannot run .*none: No such file"):
        safe_hdf5.read(keras_3(rng))


def test_an_answer_is_bounded(rng, tmp_path, monkeypatch):
    (tmp_path / "child.py").write_text("while True: print('a' * 9999)")
    monkeypatch.setattr(safe_hdf5, "CHILD", tmp_path / "child.py")
    with pytest.raises(InputError, match="a list of names of 16777216 bytes at most"):
        safe_hdf5.read(keras_3(rng))


def test_the_other_process_opens_no_file(tmp_path, monkeypatch):
    source = Path(hdf5_child.__file__).read_text()
    opens = "    open('/dev/null')\n    sys.stdout.buffer.write"
    assert source.count("    sys.stdout.buffer.write") == 1
    (tmp_path / "child.py").write_text(source.replace("    sys.stdout.buffer.write", opens))
    monkeypatch.setattr(safe_hdf5, "CHILD", tmp_path / "child.py")
    with pytest.raises(InputError, match="ended with exit code 1"):
        safe_hdf5.read(keras_3(np.random.default_rng(0)))


def test_modules_beside_the_file_or_the_program_are_not_imported(rng, tmp_path, monkeypatch):
    for name in ("h5py.py", "numpy.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert set(safe_hdf5.read(keras_3(rng)).arrays) == set(NUMBERS)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i8", "u1"])
def test_arrays_are_what_h5py_reads(rng, dtype):
    expected = (100 * rng.normal(size=(3, 5))).astype(dtype)

    def change(file):
        file["a/b"], file["scalar"], file["none"] = expected, expected[0, 0], expected[:0]
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple((3, 5)), h5py.h5t.py_create(np.dtype(dtype))
        made = h5py.h5d.create(file.id, b"compact", kind, space, compact)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(expected))

    data = keras_3(rng, change)
    arrays = safe_hdf5.read(data).arrays
    for name in ("a/b", "compact"):
        found = safe_hdf5.stored(arrays[name], data)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert safe_hdf5.stored(arrays["scalar"], data) == expected[0, 0]
    assert safe_hdf5.stored(arrays["none"], data).shape == (0, 5)


@pytest.mark.parametrize(
    ("at", "ok"), [(0, True), (5, True), (-1, False), (6, False), (2**70, False)]
)
def test_arrays_end_within_the_file(at, ok):
    data = np.arange(13, dtype="u1").tobytes()
    array = safe_hdf5.Array("a", "<f4", (2,), at, 8)
    if ok:
        assert safe_hdf5.stored(array, data).tobytes() == data[at : at + 8]
    else:
        with pytest.raises(InputError, match="'a' within the file"):
            safe_hdf5.stored(array, data)


def test_texts_are_those_of_the_attributes(rng):
    def change(file):
        file["layers"].attrs["fixed"] = np.array([b"a", b"bc"])
        file["layers"].attrs["free"] = ["d", "\u00e9f"]
        file["layers"].attrs["one"] = "g"
        file["layers"].attrs["empty"] = np.zeros(0)
        file["layers"].attrs["numbers"] = np.ones(2)
        file.attrs["names0"], file.attrs["names1"] = [b"a"], [b"b", b"c"]

    groups = safe_hdf5.read(keras_3(rng, change)).groups
    found = {name: safe_hdf5.texts(groups["layers"], name) for name in ("fixed", "free", "one")}
    assert found == {"fixed": ["a", "bc"], "free": ["d", "\u00e9f"], "one": ["g"]}
    assert safe_hdf5.texts(groups["layers"], "empty") == safe_hdf5.texts(groups[""], "other") == []
    with pytest.raises(InputError, match="text in the attribute 'numbers', found float64"):
        safe_hdf5.texts(groups["layers"], "numbers")
    assert safe_hdf5.names(groups[""], "names") == ["a", "b", "c"]


def test_ten_copies_of_the_largest_whole_file_fit_the_limits(rng):
    """As many names as are allowed, long ones, in a tenth of the time that is given."""

    def change(file):
        for k in range(untrusted.MAX_NAMES // 2 - 10):
            file[f"layers/a_name_that_is_longer_than_keras_gives_{k}/0"] = np.ones(3, "f4")

    data, found = keras_3(rng, change), 0
    for _ in range(3):  # two threads of one core take up to twice the processor's time
        with contextlib.suppress(InputError):
            found = found or len(safe_hdf5.read(data).arrays)
    assert found == untrusted.MAX_NAMES // 2 - 10 + len(NUMBERS)


@pytest.mark.product(1)
@pytest.mark.usual(1)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_large_array_costs_no_more_than_itself(rng, tmp_path, idle, dtype):
    """128 MB, whose last number is none."""
    big = np.zeros((2**27 // np.dtype(dtype).itemsize // V, V), dtype)
    big[-1, -1] = np.nan
    path = tmp_path / "x.weights.h5"
    path.write_bytes(
        keras_3(rng, lambda file: file.create_dataset("layers/embedding/vars/0", data=big))
    )
    seconds, here, there, message = cost(path)
    assert "finite numbers in 'layers/embedding" in message
    size = path.stat().st_size
    assert size < here < size + MEMORY
    assert 0.9 * size < there - idle < size + MEMORY
    assert hdf5_child.MEMORY < MEMORY
    assert seconds < SECONDS


@pytest.mark.soak
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, DEFLATED])
def test_zips_of_stored_or_deflated_members_are_read(tmp_path, how):
    whole, path = fuzz.bases()["keras-3.keras"], tmp_path / "x.keras"
    path.write_bytes(whole)
    expected = keras_files.read(path)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(keras(members, how))
    assert path.read_bytes() != whole
    for a, b in zip(keras_files.read(path).layers, expected.layers, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
