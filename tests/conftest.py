"""What the tests share. KERAS_BACKEND chooses the backend, TensorFlow if it is not set."""

import collections
import gc
import os
import signal
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

# JAX compiles the same functions in many tests and processes: it finds them here the next time
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # nor a worker of pytest-xdist
    compiled = tempfile.TemporaryDirectory(prefix="charlm-jax-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": compiled.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes started here inherit it

if os.environ.get("KERAS_BACKEND") == "torch":
    import torch

    torch.backends.cudnn.allow_tf32 = False  # on a GPU, where Keras's layers are cuDNN's


USUAL = "lstm", "gru"  # without options of their own; the other cells are in the full product


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leaves to the full product the cells beyond the usual ones, and rows beyond `usual(n)`.

    Rows beyond `product(n)` are left to the soak, unless they are usual ones.

    The tests of other backends take minutes, so they start first and no worker idles at the end.
    """
    items.sort(key=lambda item: item.path.name != "test_backends.py")
    rows = {"usual": collections.defaultdict(list), "product": collections.defaultdict(list)}
    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params
        if any(_is_unusual(name, value) for name, value in (values or {}).items()):
            item.add_marker(pytest.mark.full)
        for name in rows:
            for marker in item.iter_markers(name):
                rows[name][item.path, item.originalname, *marker.args].append(item)
    for name, other in (("usual", pytest.mark.full), ("product", pytest.mark.soak)):
        for (*_, n), found in rows[name].items():
            kept = {k * len(found) // n for k in range(n)}  # spread over all of them
            for k, item in enumerate(found):
                if k not in kept and (name == "usual" or item.get_closest_marker("full")):
                    item.add_marker(other)


def _is_unusual(name, value):
    if name in ("case", "kind"):
        return str(value) not in USUAL
    return name in ("cell", "name") and value in ("rnn", "coupled", "keras-rnn")


@pytest.fixture(scope="module", autouse=True)
def cheap_garbage_collection():
    """Excludes the objects that earlier test files left from later collections, to save time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def silence():
    """Shows no progress in this process: how long work takes depends on the machine."""
    from charlm import notes
    from charlm.kernels import generate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "note", lambda line: None)
        patch.setattr(notes, "SILENCE", 600)
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def speeches():
    """The State of the Union corpus; skips where it is missing, unless it is required."""
    import corpora

    if os.environ.get("CHARLM_REQUIRE_CORPUS") == "1":
        return corpora.load("state_union")
    from corpora import state_union

    if state_union.ARCHIVE.find() is None:
        pytest.skip("no State of the Union corpus in NLTK's data folders (set NLTK_DATA)")
    return corpora.load("state_union")


SMALL_TEXT = "It was the best of times, it was the worst of times.\n" * 40


@pytest.fixture
def text_file(tmp_path):
    """A small text to train on, 2120 characters."""
    path = tmp_path / "small.txt"
    path.write_text(SMALL_TEXT)
    return path
