"""Law: a weights file that anyone made is a run's, or is refused in one line, soon and cheaply.

Files of today's format are read without the HDF5 library; those of format 2, in another process.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from charlm import train
from charlm.errors import InputError
from charlm.reference.network import shapes
from charlm.runs import checkpoint, file_format
from charlm.text.vocab import Vocab
from charlm.training import network
from tests.runs.test_checkpoint import MODEL, VOCAB, made

# that a refusal may take of the processor, and beside the file itself
SECONDS, MEMORY = 4, 64 * 2**20
KERNEL, DENSE, META = "layers/lstm/cell/vars/0", "layers/dense/vars/0", "charlm/meta"


@pytest.fixture
def whole(rng):
    """A small run's file."""
    return checkpoint.to_bytes(made(rng))


def older(data):
    """The same run's file in format 2, which does not say where its arrays are."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "a") as file:
        about = json.loads(file[META][()].tobytes()) | {"format": 2}
        del about["arrays"], file[META], file["charlm/checksum"]
        file[META] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        mark = file_format.OLD_MARK + bytes(file_format.DIGEST)
        file["charlm/checksum"] = np.frombuffer(mark, np.uint8)
    return file_format.with_checksum(buffer.getvalue())


@pytest.fixture
def old(whole):
    return older(whole)


def refused(data, match=None):
    """The refusal's line."""
    began = time.process_time()
    with pytest.raises(InputError, match=match) as raised:
        read(data)
    assert time.process_time() - began < SECONDS
    assert "\n" not in str(raised.value)
    return str(raised.value)


def read(data):
    with checkpoint.untrusted.refusals("file", "a whole weights file"):
        return checkpoint.from_bytes(bytes(data))


@pytest.mark.full
def test_a_flip_of_every_third_byte_is_refused(whole):
    assert len(whole) < 40_000
    for at in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << (at % 8)
        refused(flipped, "damaged")


@pytest.mark.full
def test_a_file_cut_anywhere_is_refused(whole):
    mark = whole.index(file_format.MARK)  # before it, each needs another process
    sizes = range(0, mark, mark // 30), range(mark + len(file_format.MARK), len(whole), 3)
    for size in itertools.chain(*sizes):
        refused(whole[:size], "damaged|no HDF5 file")


def test_random_edits_are_refused(rng, whole):
    for _ in range(1000):
        edited = bytearray(whole)
        for _ in range(rng.integers(1, 9)):
            at = int(rng.integers(len(edited)))
            kind, new = rng.integers(3), rng.bytes(int(rng.integers(1, 9)))
            if kind == 0:  # overwritten
                edited[at : at + len(new)] = new
            elif kind == 1:  # moved
                edited[at:at] = new
            else:
                del edited[at : at + len(new)]
        if bytes(edited) != whole:
            refused(edited)


@pytest.mark.full
def test_random_edits_with_the_right_checksum_crash_nothing(tmp_path, whole):
    """A process of its own may not die of what it reads then."""
    program = """if True:
        import sys
        import numpy as np
        from charlm.runs import file_format
        from charlm.errors import InputError
        from tests.runs.test_hostile import read
        whole, rng = open(sys.argv[1], "rb").read(), np.random.default_rng(int(sys.argv[2]))
        same = refused = 0
        for _ in range(300):
            edited = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                edited[int(rng.integers(len(edited)))] = int(rng.integers(256))
            if bytes(edited).count(file_format.MARK) != 1:
                continue
            try:
                read(file_format.with_checksum(bytes(edited)))
                same += 1
            except InputError as error:
                assert "\\n" not in str(error)
                refused += 1
        print(same, refused)
    """
    path = tmp_path / "whole.h5"
    path.write_bytes(whole)
    run = [sys.executable, "-c", program, str(path), "1"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    same, found = map(int, done.stdout.split())
    assert same > 20  # a weight changed, which a new checksum hides
    assert found > 20


# Trees: each change is made by someone who knows the format and signs what comes of it


def changed(old, change):
    """The file of format 2 after change(file), signed."""
    buffer = io.BytesIO(old)
    with h5py.File(buffer, "a") as file:
        change(file)
    data = buffer.getvalue()
    return file_format.with_checksum(data) if file_format.OLD_MARK in data else data


def described(whole, change):
    """The file of today's format after change(description), signed."""
    at = whole.rindex(file_format.MARK) + len(file_format.MARK) + file_format.DIGEST
    begin, size = file_format.PLACE.unpack_from(whole, at)
    about = json.loads(whole[begin : begin + size])
    text = change(about)
    if not isinstance(text, bytes):
        text = json.dumps(about).encode()
    data = bytearray(whole + text)
    file_format.PLACE.pack_into(data, at, len(whole), len(text))
    return file_format.with_checksum(bytes(data))


def replaced(name, make):
    """A change: what make(file, old array) returns in the place of `name`."""

    def change(file):
        old = file[name][()] if isinstance(file[name], h5py.Dataset) else None
        del file[name]
        new = make(file, old)
        if new is not None:
            file[name] = new

    return change


def meta(path, value):
    """A change: of one entry of the description."""

    def change(about):
        *parents, last = path.split(".")
        for name in parents:
            about = about[name]
        about[last] = value

    return change


def in_file(change):
    """A change of the description as one of the tree."""

    def of_file(file):
        about = json.loads(file[META][()].tobytes())
        text = change(about)
        if not isinstance(text, bytes):
            text = json.dumps(about).encode()
        del file[META]
        file[META] = np.frombuffer(text, np.uint8)

    return of_file


def create(**options):
    """A maker of a dataset of the old one's shape, with HDF5's `options`."""

    def make(file, old):
        about = {"shape": old.shape, "dtype": old.dtype} | options
        name = about.pop("name", KERNEL)
        if about.pop("filled", False):
            about["data"] = old
        file.create_dataset(name, **about)

    return make


def virtual(file, old):
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[:] = h5py.VirtualSource("pipe", KERNEL, old.shape)
    file.create_virtual_dataset(KERNEL, layout)


def nan(file, old):
    old = old.copy()
    old.flat[0] = np.nan
    return old


LINK, ELSEWHERE, WHOLE = "found a link at", "stored elsewhere", "stored as it is"
OTHERS, SHAPE, FLOATS = "found others", "of shape", "expected f4 in"
EXTRA = "only the arrays of a run"
PROGRESS, DAMAGED = "contradict each other", "damaged"


def chunk(file, old):
    """A piece of the file that says it is larger than the array, and is not all there."""
    made = file.create_dataset(KERNEL, old.shape, old.dtype, chunks=(1, 400), maxshape=(None, None))
    made[0, :] = 1


TREES = {
    "external link": (replaced(KERNEL, lambda *_: h5py.ExternalLink("pipe", KERNEL)), LINK),
    "external link at the top": (
        replaced("layers", lambda *_: h5py.ExternalLink("pipe", "layers")), LINK),
    "external description": (replaced(META, lambda *_: h5py.ExternalLink("pipe", "x")), LINK),
    "external group": (replaced("charlm", lambda *_: h5py.ExternalLink("pipe", "x")), LINK),
    "soft link": (replaced(KERNEL, lambda *_: h5py.SoftLink("/" + DENSE)), LINK),
    "soft link to nothing": (replaced("layers", lambda *_: h5py.SoftLink("/nowhere")), LINK),
    "a loop": (lambda f: f.update({"layers/lstm/again": f["layers"]}), "one name for each"),
    "two loops": (
        lambda f: f.update({"layers/a": f["layers"], "layers/b": f["layers"]}), "one name for"),
    "two names": (replaced(DENSE, lambda f, _: f["layers/dense/vars/1"]), "one name for"),
    "many names": (
        lambda f: [f.create_group(f"g{k}") for k in range(6000)], "names at most"),
    "external storage": (replaced(KERNEL, create(external="pipe")), ELSEWHERE),
    "virtual dataset": (replaced(KERNEL, virtual), ELSEWHERE),
    "compressed": (replaced(KERNEL, create(compression="gzip", filled=True)), WHOLE),
    "never written": (replaced(KERNEL, create(chunks=(1, 1))), WHOLE),
    "one piece, never written": (replaced(KERNEL, create()), WHOLE),
    "in a chunk": (replaced(KERNEL, create(chunks=True, filled=True)), WHOLE),
    "half written": (replaced(KERNEL, chunk), WHOLE),
    "a bomb of the right name": (replaced("charlm/carried/0", create(
        name="charlm/carried/0", shape=(2**20, 2**20), chunks=(1, 1))), "arrays of"),
    "a bomb of a description": (replaced(META, create(
        name=META, shape=(2**40,), dtype="u1", chunks=(2**20,))), "bytes at most"),
    "a compressed bomb": (replaced("charlm/carried/0", create(
        name="charlm/carried/0", shape=(2**28,), chunks=(2**24,), compression="gzip")), "arrays"),
    "another shape": (replaced(KERNEL, lambda _, old: old[:-1]), SHAPE),
    "transposed": (replaced(KERNEL, lambda _, old: old.T), SHAPE),
    "integers": (replaced(KERNEL, lambda _, old: old.astype("i4")), FLOATS),
    "float64": (replaced(KERNEL, lambda _, old: np.full(old.shape, 1e300)), FLOATS),
    "big-endian": (replaced(KERNEL, lambda _, old: old.astype(">f4")), FLOATS),
    "texts": (replaced(KERNEL, lambda *_: "text"), SHAPE),
    "complex numbers": (replaced(KERNEL, lambda _, old: np.zeros(old.shape, "c8")), FLOATS),
    "no space": (replaced(KERNEL, lambda *_: h5py.Empty("f4")), SHAPE),
    "NaN": (replaced(KERNEL, nan), "finite numbers in .layers/lstm"),
    "NaN in the optimizer": (replaced("charlm/optimizer/1", nan), "finite numbers in .charlm/opt"),
    "a group for one": (replaced(KERNEL, lambda f, _: f.create_group(KERNEL) and None), OTHERS),
    "a type for an array": (replaced(KERNEL, lambda *_: np.dtype("f4")), OTHERS),
    "an array less": (replaced(KERNEL, lambda *_: None), OTHERS),
    "an array more": (lambda f: f.update({"layers/lstm_9/cell/vars/0": np.zeros(3, "f4")}), OTHERS),
    "one more of ours": (lambda f: f.update({"charlm/pickle": np.zeros(3, "u1")}), EXTRA),
    "a gap in the numbers": (replaced("charlm/carried/3", lambda *_: None), EXTRA),
    "no layers": (lambda f: f.__delitem__("layers"), OTHERS),
    "no description": (lambda f: f.__delitem__(META), "no group 'charlm'"),
    "a description of numbers": (replaced(META, lambda *_: np.zeros(9)), "expected u1"),
}  # fmt: skip

DESCRIPTIONS = {
    "no JSON": (lambda _: b"{", DAMAGED),
    "deep JSON": (lambda _: b"[" * 10**5, DAMAGED),
    "JSON of many parts": (
        lambda _: b"[" + b"{}," * 10**6, "parts at most"),
    "JSON beyond ASCII": (
        lambda _: '{"a": "\u00e9"}'.encode(), "in ASCII"),
    "a list": (lambda _: b"[]", DAMAGED),
    "a format to come": (meta("format", 99), "a newer charlm"),
    "a format before the first": (meta("format", 0), "expected format"),
    "a format of another kind": (meta("format", "2"), "expected format"),
    "a format that is true": (meta("format", True), "expected format"),
    "a format before checksums": (meta("format", 1), "its checksum|its format"),
    "a setting to come": (meta("config.model.attention", True), "a newer charlm"),
    "an unknown cell": (meta("config.model.cell", "os.system"), "--cell to be one of"),
    "a text for a number": (meta("config.model.units", "2"), "expected units to be"),
    "a fraction for a count": (meta("config.model.units", 2.0), "expected units to be"),
    "more units": (meta("config.model.units", 3), SHAPE),
    "more layers": (meta("config.model.layers", 2), OTHERS),
    "no settings": (meta("config", None), DAMAGED),
    "hot": (meta("config.sample.sample_temperatures", ["hot"]), "sample_temperatures to be"),
    "a larger vocabulary": (meta("vocabulary", VOCAB.characters + "\U0001f601"), SHAPE),
    "a vocabulary out of order": (meta("vocabulary", VOCAB.characters[::-1]), "in order"),
    "no vocabulary": (meta("vocabulary", ""), "found it empty"),
    "a vocabulary of numbers": (meta("vocabulary", 7), "a vocabulary of characters or of"),
    "epochs before the first": (meta("progress.epoch", -1), PROGRESS),
    "epochs nobody counted": (meta("progress.epoch", 9), PROGRESS),
    "a best epoch to come": (meta("progress.best_epoch", 3), PROGRESS),
    "a step of text": (meta("progress.step", "3"), PROGRESS),
    "a step that is true": (meta("progress.step", True), PROGRESS),
    "rows of text": (meta("progress.history", [{"epoch": 1, "loss": "2"}, {}]), f"{PROGRESS}|KeyE"),
    "rows without bits": (meta("progress.history", [{"epoch": 1}, {"epoch": 2}]), PROGRESS),
    "progress to come": (meta("progress.momentum", 1), DAMAGED),
    "a best that is no number": (meta("progress.best", float("nan")), PROGRESS),
    "a best of text": (meta("progress.best", ""), PROGRESS),
    "a size of text": (meta("progress.samples_size", ""), PROGRESS),
    "a hash of numbers": (meta("corpus_sha256", 0), "expected texts"),
    "a hash of what was before": (meta("learned_before", "0"), "expected texts"),
    "a number of what was before": (meta("learned_before", 0), DAMAGED),
    "numbers of what was before": (meta("learned_before", [0]), "expected texts"),
    "versions of versions": (meta("versions", {"keras": {"a": "b"}}), "expected texts"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One with a named pipe in it: whoever opens that to read waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.product(16)
@pytest.mark.usual(6)
@pytest.mark.parametrize("name", TREES)
def test_a_tree_that_is_no_run_s_is_refused(old, folder, name):
    change, why = TREES[name]
    refused(changed(old, change), why)


def numbers_of(about, path=()):
    """The paths of all whole numbers in a description."""
    items = about.items() if isinstance(about, dict) else enumerate(about)
    for key, value in items:
        if type(value) is int:
            yield (*path, key)
        elif isinstance(value, dict | list):
            yield from numbers_of(value, (*path, key))


@pytest.mark.parametrize("number", [3 * 10**7, 10**10, 10**300, -1])
def test_any_number_of_a_description_may_be_wrong(whole, number):
    """It is refused, or means nothing to charlm (another seed); soon and in little memory."""
    paths = []
    described(whole, lambda about: paths.extend(numbers_of(about)))
    assert len(paths) > 50
    for path in paths:

        def change(about, path=path):
            for key in path[:-1]:
                about = about[key]
            about[path[-1]] = number

        began = time.process_time()
        with contextlib.suppress(InputError):
            read(described(whole, change))
        assert time.process_time() - began < SECONDS


@pytest.mark.product(16)
@pytest.mark.usual(6)
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_is_no_run_s_is_refused(whole, old, name):
    change, why = DESCRIPTIONS[name]
    refused(described(whole, change), why)
    refused(changed(old, in_file(change)), why)


def array(path, *place):
    """A change: of what the description says of one array, None for nothing."""

    def change(about):
        about["arrays"][path] = [
            old if new is Ellipsis else new
            for old, new in zip(about["arrays"].get(path, [...] * 3), place, strict=True)
        ]

    return change


def shared(about):
    """Arrays that lie in one place."""
    one = about["arrays"]["charlm/carried/0"]
    about["arrays"] |= {f"charlm/carried/{k}": ["<f4", [4000], one[2]] for k in range(12)}


WITHIN = "within the file"
PLACES = {
    "beyond the end": (array(KERNEL, ..., ..., 10**9), WITHIN),
    "far beyond": (array(KERNEL, ..., ..., 2**80), "something else"),
    "before the beginning": (array(KERNEL, ..., ..., -8), "something else"),
    "nowhere": (array(KERNEL, ..., ..., None), "something else"),
    "at a fraction": (array(KERNEL, ..., ..., 8.5), "something else"),
    "at what is true": (array(KERNEL, ..., ..., True), "something else"),
    "another shape": (array(KERNEL, ..., [2, 2], ...), SHAPE),
    "a negative shape": (array("charlm/carried/0", ..., [-1, 4], ...), "something else"),
    "a shape that is a number": (array(KERNEL, ..., 4, ...), DAMAGED),
    "a text for a shape": (array(KERNEL, ..., "33", ...), "something else"),
    "a bomb": (array("charlm/carried/0", ..., [2**30, 2**30], ...), "arrays of"),
    "another type": (array(KERNEL, "<i4", ..., ...), FLOATS),
    "twice the size": (array("charlm/carried/0", "<f8", ..., ...), FLOATS.replace("f4", ".*")),
    "the other order of bytes": (array(KERNEL, ">f4", ..., ...), FLOATS),
    "a type of objects": (array(KERNEL, "|O", ..., ...), FLOATS),
    "fields": (array(KERNEL, "f4,f4", ..., ...), FLOATS),
    "no type": (array(KERNEL, None, ..., ...), "something else"),
    "a type of the machine's words": (array(KERNEL, "<f16", ..., ...), FLOATS),
    "two arrays in one place": (shared, "arrays of"),
    "an array less": (lambda about: about["arrays"].__delitem__(KERNEL), OTHERS),
    "an array more": (array("layers/lstm_9/cell/vars/0", "<f4", [1], 0), OTHERS),
    "one more of ours": (array("charlm/pickle", "<f4", [1], 0), EXTRA),
    "a gap in the numbers": (
        lambda about: about["arrays"].__delitem__("charlm/carried/0"), EXTRA),
    "a shape of long numbers": (array(KERNEL, ..., [10**4000] * 300, ...), "something else"),
    "many dimensions": (array(KERNEL, ..., [1] * 9, ...), "something else"),
    "no arrays": (lambda about: about.__delitem__("arrays"), DAMAGED),
    "a list of arrays": (meta("arrays", [1]), DAMAGED),
    "two parts of a place": (lambda about: about["arrays"][KERNEL].pop(), DAMAGED),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_places_that_are_no_run_s_are_refused(whole, name):
    change, why = PLACES[name]
    refused(described(whole, change), why)


@pytest.mark.parametrize("place", [(0, 2**63), (2**63, 9), (10**9, 9), (0, 0), (0, 9)])
def test_a_description_that_is_elsewhere_is_refused(whole, place):
    data = bytearray(whole)
    at = whole.rindex(file_format.MARK) + len(file_format.MARK) + file_format.DIGEST
    file_format.PLACE.pack_into(data, at, *place)
    refused(file_format.with_checksum(bytes(data)), "damaged|a description (of|in)")


def test_a_file_of_today_s_format_without_its_checksum_is_refused(whole):
    refused(whole.replace(file_format.MARK, bytes(16)), "its checksum")


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_no_other_file_is_opened(old, folder):
    """Where a link points to, or a virtual array: `pipe`, as the system sees it."""
    names = [n for n in TREES if "link" in n or "external" in n or "virtual" in n]
    for k, name in enumerate(names):
        (folder / f"{k}.h5").write_bytes(changed(old, TREES[name][0]))
    program = """if True:
        import sys
        from pathlib import Path
        from charlm.runs import checkpoint
        from charlm.errors import InputError
        for name in sys.argv[1:]:
            try:
                checkpoint.read(Path(name))
            except InputError:
                print(name)
    """
    files = [f"{k}.h5" for k in range(len(names))]
    trace = ["strace", "-f", "-e", "trace=open,openat,openat2", "-o", "trace"]
    run = [*trace, sys.executable, "-c", program, *files]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=120)
    if "ptrace" in done.stderr.lower():
        pytest.skip("no process may be traced here")
    assert done.stdout.split() == files, done.stderr
    opened = Path("trace").read_text()
    assert all(f'"{file}"' in opened for file in files)
    assert '"pipe"' not in opened


def test_a_large_file_takes_little_more_than_itself(rng, tmp_path):
    big = [np.zeros((2**25,), "f4"), np.array([np.nan], "f4")]  # 128 MiB, and its last is no number
    path = tmp_path / "big.h5"
    path.write_bytes(checkpoint.to_bytes(made(rng, carried=big)))
    program = """if True:
        import sys
        from pathlib import Path
        from charlm.runs import checkpoint
        from charlm.errors import InputError
        from charlm.benchmarks.worker import peak_memory
        before = peak_memory()
        try:
            checkpoint.read(Path(sys.argv[1]))
        except InputError as error:
            print(peak_memory() - before, error)
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=120)
    grown, message = done.stdout.split(maxsplit=1)
    assert "finite numbers in 'charlm/carried/1'" in message
    assert 0.9 * path.stat().st_size < int(grown) < path.stat().st_size + MEMORY


def test_what_changes_nothing_is_read(whole, old):
    found = read(changed(old, lambda f: f["layers"].attrs.update({"note": "kept"})))
    assert found.meta() == read(old).meta() == read(whole).meta()
    assert read(described(whole, lambda _: None)).meta() == read(whole).meta()


def test_older_arrays_that_share_their_place_are_not_read_many_times(rng):
    """Twelve states, of which the file holds one: the others say that they lie there too."""
    n = 50_000
    buffer = io.BytesIO(older(checkpoint.to_bytes(made(rng, carried=[np.ones(n, "f4")]))))
    with h5py.File(buffer, "a") as file:
        place = file["charlm/carried/0"].id.get_offset()
        for k in range(1, 12):
            file.create_dataset(f"charlm/carried/{k}", (n,), "f4")  # without a place as yet
    nowhere, size = b"\xff" * 8, (4 * n).to_bytes(8, "little")
    data = buffer.getvalue()
    assert data.count(nowhere + size) == 11
    data = data.replace(nowhere + size, place.to_bytes(8, "little") + size)
    with h5py.File(io.BytesIO(data), "r") as file:
        assert file["charlm/carried/7"][n - 1] == 1
    refused(file_format.with_checksum(data), "arrays of .* bytes at most")


@pytest.mark.soak
def test_many_changes_at_once(rng, old, folder):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    changes = [change for change, _ in TREES.values()]
    changes += [in_file(change) for change, _ in DESCRIPTIONS.values()]
    both = 0
    for _ in range(50):
        pair = rng.choice(len(changes), 2, replace=False)
        try:  # where there is no pipe, for the second may follow a link of the first
            with contextlib.chdir(elsewhere):
                data = changed(old, lambda f, pair=pair: [changes[k](f) for k in pair])
        except (
            KeyError,
            ValueError,
            OSError,
            TypeError,
            AttributeError,
            Warning,
            RecursionError,
            MemoryError,
        ):
            continue  # the one leaves nothing that the other could change
        refused(data)
        both += 1
    assert both > 15


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink(p, p)])
def test_only_regular_files_are_opened(tmp_path, make):
    path = tmp_path / "x.weights.h5"
    make(path)
    with pytest.raises(InputError, match=r"x.weights.h5: (expected|cannot read) a file of weights"):
        checkpoint.read(path)


def test_devices_are_not_read():
    for path in ("/dev/zero", "/dev/tty"):
        with pytest.raises(InputError, match=r"(expected|cannot read) a file of weights"):
            checkpoint.read(Path(path))


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    path = tmp_path / "x.weights.h5"
    with open(path, "wb") as file:
        file.truncate(2**31 + 1)  # holes
    with pytest.raises(InputError, match="2147483648 bytes at most"):
        checkpoint.read(path)


def test_a_file_of_stock_keras_with_the_same_arrays_is_refused_by_name(rng, tmp_path):
    import keras

    V, H = len(VOCAB), MODEL.units
    stranger = keras.Sequential(
        [keras.Input((None, V)), keras.layers.LSTM(H, return_sequences=True), keras.layers.Dense(V)]
    )
    path = tmp_path / "x.weights.h5"
    stranger.save_weights(path)
    with pytest.raises(InputError, match="no group 'charlm'"):
        checkpoint.read(path)


def test_a_failed_load_changes_nothing(rng):
    net = network.build(MODEL, len(VOCAB))
    before = network.weights(net)
    values = {k: rng.normal(size=s).astype("f4") for k, s in shapes(MODEL, len(VOCAB)).items()}
    values[list(values)[-1]] = np.zeros(3, "f4")
    with pytest.raises(InputError):
        network.set_weights(net, values)
    for path, value in network.weights(net).items():
        np.testing.assert_array_equal(value, before[path])


def test_weights_of_another_vocabulary_of_the_same_size_do_not_go_on(
    rng, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("ab cab\n" * 300)
    argv = ["--corpus", "mine.txt", "--units", "2", "--batch-size", "2", "--window", "8"]
    assert train.main([*argv, "--epochs", "1", "--name", "a", "--sample-length", "0"]) == 0
    path = Path("saved_models/a/last.weights.h5")
    saved = checkpoint.read(path)
    saved.vocab = Vocab("\n xyz"[: len(saved.vocab)])
    path.write_bytes(checkpoint.to_bytes(saved))
    capsys.readouterr()
    assert train.main(["--resume", "a", "--epochs", "2"]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_nothing_that_was_read_is_ever_run():
    words = ("pickle", "load_model", "eval(", "exec(", "__import__", "unsafe_deserialization")
    sources = [p for name in ("charlm", "callbacks", "corpora") for p in Path(name).rglob("*.py")]
    root = Path(checkpoint.__file__).parents[2]
    sources = [
        p for name in ("charlm", "callbacks", "corpora") for p in (root / name).rglob("*.py")
    ]
    assert len(sources) > 50
    for path in sources:
        text = path.read_text()
        for word in words:
            if (path.name, word) in ALLOWED:
                continue
            harmless = text.replace("literal_eval(", "").replace("def_abstract_eval(", "")
            assert word not in harmless, f"{word} in {path}"


ALLOWED = {
    ("export.py", "load_model"),  # of the file that it has just written itself
    ("paths.py", "pickle"),  # Numba's, in comments
    ("disk.py", "pickle"),
    ("other_formats.py", "pickle"),  # in messages
    ("other_formats.py", "load_model"),
}
